"""AUPIMO (Bertoldo et al., BMVC 2024), exact."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx import ops
from stadx.errors import DataError

from .inputs import Maps, Pair, Pairs, check_are_images, groups
from .ranks import DefectPixels, count_all


def aupimo(maps: Maps, masks: Maps, *, fpr_bounds: tuple[float, float] = (1e-5, 1e-4)) -> NDArray[np.float64]:
    """Area under each image's overlap curve against the false-positive rate of the good images, on a log scale.

    An image's curve is the share of its defect pixels with a score ≥ the threshold; the x axis is the mean over good
    images of the share of their pixels that are. Exact: a defect pixel counts from the false-positive rate at its own
    score on, so that the integral over log(rate) is a sum over pixels.

    Args:
        maps, masks: as in `au_pro`; images whose mask is empty are the good ones.
        fpr_bounds: where the integral begins and ends, 0 < lower < upper ≤ 1.

    Returns:
        float64 [N] in [0, 1], NaN for good images.

    Raises:
        DataError: as `au_pro`, if no image is good or none has a defect, or if the bounds are no such numbers.
    """
    lower, upper = fpr_bounds
    if not 0 < lower < upper <= 1:
        raise DataError(f"fpr_bounds are {fpr_bounds}; give 0 < lower < upper ≤ 1")
    check_are_images(maps)
    pairs = list(Pairs(maps, masks))
    defective = [bool(truth.any()) for _, truth in pairs]
    good = [scores for (scores, _), bad in zip(pairs, defective, strict=True) if not bad]
    if not good or not any(defective):
        missing = "good images" if not good else "images with a defect"
        raise DataError(f"AUPIMO needs {missing}, but there are none; evaluate on a set that has both kinds")
    found = DefectPixels()
    for scores, truth in groups(pairs):
        found.add(scores, truth, 8)
    scores_of_defects = torch.cat([x.to(found.dtype()) for x in found.scores])
    values, at, _ = (x.numpy() for x in ops.distinct_scores(scores_of_defects))
    numbers = np.flatnonzero(~np.array(defective))  # of the good images
    reached = np.zeros(len(values))  # share of good pixels ≥ each value, summed over good images
    sizes = np.array([scores.numel() for scores in good])
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        above, equal = _count([good[k] for k in chosen], values, numbers[chosen])
        reached += (above + equal) / size
    rate = reached / len(good)
    with np.errstate(divide="ignore"):
        span = np.clip(np.log(upper) - np.log(np.maximum(rate, lower)), 0, None) / np.log(upper / lower)
    image = np.concatenate(found.images)[np.concatenate(found.regions)]
    pixels = np.bincount(image, minlength=len(pairs))
    total = np.bincount(image, span[at], len(pairs))
    return np.where(pixels > 0, total / np.maximum(pixels, 1), np.nan)


def _count(
    good: list[Tensor], values: NDArray[np.floating], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    same: list[Pair] = [(scores, scores) for scores in good]
    return count_all(lambda: same, values, len(same), lambda k: f"image {numbers[k]}")
