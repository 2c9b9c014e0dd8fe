"""Thresholds from the files of good images that the model did not learn from, such as a set's validation images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from stadx.core.errors import DataError
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.data.roi import Roi
from stadx.evaluation.image_scores import scores_looked_at
from stadx.evaluation.looked_at import region_for
from stadx.evaluation.prediction import Failure
from stadx.metrics.image_score import HighestValues

from .base import Calibrated
from .thresholds import HeldOutScores, joined_scores, threshold_levels

_MOST_PIXELS = 2**26  # of one image that are sorted


@keep_freed_memory()
def calibrate_on_files(
    detector: Calibrated, paths: Sequence[Path], *, roi: Roi | None = None, progress: Progress = silent
) -> list[Failure]:
    """Set both thresholds by the scores of good images, which take the place of those that judged until now.

    The pixel threshold follows from `target_fpr`, the image threshold from `image_fpr`; `false_alarms` tells what is
    known of the true share. Images are scored as `predict` scores files, with the detector's own stride, and for image
    scores with the coarser ones too. Every image counts as many pixels as any other; of one with more than 2**26 that
    are looked at every n-th counts. One image is held at a time.

    Args:
        detector: fitted.
        paths: files of good images that it did not learn from.
        roi: which pixels are looked at; None: the detector's own `roi_`.
        progress: told how far it is.

    Returns:
        The images that could not be scored; the others set the thresholds.

    Raises:
        DataError: if none could be scored.
    """
    roi = region_for(detector, roi)
    found: list[HeldOutScores] = []
    failures: list[Failure] = []
    progress("Validation images", 0, len(paths), {})
    for done, path in enumerate(paths, start=1):
        try:
            found.append(_scores_of(detector, path, roi))
        except DataError as error:
            failures.append(Failure(path, str(error)))
        progress("Validation images", done, len(paths), {})
    if not found:
        why = f" ({failures[0].message})" if failures else ""
        raise DataError(f"there are no validation images that could be scored{why}; give one or more")
    detector._calibrate(joined_scores(*found))
    return failures


def _scores_of(detector: Calibrated, path: Path, roi: Roi | None) -> HeldOutScores:
    """Of one image file; its score at a stride finer than the detector's own is that of the own."""
    own = detector.stride if detector.strided else 1
    score, kept = _highest(detector, path, own, roi, [])
    scores = [score]
    for stride in (2, 4, 8):
        scores.append(_highest(detector, path, stride, roi)[0] if detector.strided and stride > own else scores[-1])
    return HeldOutScores(*threshold_levels(kept), np.array(scores, np.float32)[:, None])


def _highest(
    detector: Calibrated, path: Path, stride: int, roi: Roi | None, kept: list[Tensor] | None = None
) -> tuple[float, list[Tensor]]:
    """The image score, and the scores of pixels where they are to be kept."""
    count, parts = scores_looked_at(detector, path, stride, roi)
    step, highest = math.ceil(count / _MOST_PIXELS), HighestValues(count, detector.top_share)
    for part in parts:
        highest.add(part)
        if kept is not None:
            kept.append(part.flatten()[::step].clone())
    return highest.score(), kept or []
