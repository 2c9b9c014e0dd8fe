"""From the scores of held-out good images to a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import StadxError

_LEVELS = 4096  # false-positive rates at which the held-out scores are kept


def threshold_levels(maps: Sequence[Tensor]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """False-positive rates, rising, and the thresholds that flag just that share of the pixels of good images.

    Args:
        maps: anomaly scores of held-out good images, any shapes.

    Returns:
        Both float32 [n], n at most 4096: a threshold of scores[i] flags the share fprs[i].

    Raises:
        StadxError: a score is not finite.
    """
    scores = np.sort(torch.cat([s.flatten() for s in maps]).numpy())[::-1]
    if not np.isfinite(scores).all():
        raise StadxError("training diverged: the scores of held-out images are not finite; give a lower learning rate")
    flagged = np.unique(np.geomspace(1, len(scores), _LEVELS).astype(np.int64)) - 1
    return (flagged / len(scores)).astype(np.float32), scores[flagged].astype(np.float32)


def threshold_at(target_fpr: float, fprs: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    """The lowest threshold that flags at most this share; `fprs` and `scores` from `threshold_levels`."""
    last = int(np.searchsorted(fprs, np.float32(target_fpr), side="right")) - 1
    return float(scores[last])
