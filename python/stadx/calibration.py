"""From held-out good images to the scores' normalisation and a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .data.source import ImageSource
from .errors import StadxError
from .progress import Progress
from .scoring import Ensemble, Normalization, fuse
from .smoothing import smooth

_LEVELS = 4096  # false-positive rates at which the held-out scores are kept


def held_out_scores(
    ensembles: Sequence[Ensemble], source: ImageSource, indices: Sequence[int], smoothing: float, progress: Progress
) -> tuple[list[Normalization], list[Tensor]]:
    """Score statistics (Eq. 11) per scale, and with them the anomaly maps [H, W] of the images `indices`."""
    maps: list[list[tuple[Tensor, Tensor]]] = [[] for _ in ensembles]
    for done, index in enumerate(indices, 1):
        for kept, ensemble in zip(maps, ensembles, strict=True):
            kept.append(ensemble.error_and_variance(source[index][None]))
        progress("Held-out images", done, len(indices), {})
    normalizations = [Normalization.of(kept) for kept in maps]
    fused = [
        fuse([n.score(*pair) for n, pair in zip(normalizations, pairs, strict=True)])
        for pairs in zip(*maps, strict=True)
    ]
    return normalizations, [smooth(scores[None], smoothing)[0] for scores in fused]


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
