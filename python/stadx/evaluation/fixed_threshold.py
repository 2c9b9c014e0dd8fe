"""F1 at one fixed threshold, of pixels and of images: SegF1 and ClassF1 of MVTec AD 2."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .scored_images import TestScore

DEVIATIONS = 3
"""Of the scores of good validation images above their mean: the threshold of MVTec AD 2's baselines."""


@dataclass(frozen=True)
class FixedF1:
    """F1 of all test images at one threshold.

    Attributes:
        threshold: pixels above it are anomalous.
        seg_f1: of all pixels that count.
        class_f1: of the images.
    """

    threshold: float
    seg_f1: float
    class_f1: float


def f1_of_model(images: Sequence[TestScore], threshold: float, image_threshold: float) -> FixedF1 | None:
    """At the model's own thresholds: pixels above the one, images whose score is above the other."""
    flagged = np.array([image.score > image_threshold for image in images], np.bool_)
    return _fixed(images, threshold, flagged)


def f1_at(images: Sequence[TestScore], threshold: float) -> FixedF1 | None:
    """At one threshold for both: an image is anomalous if any of its pixels is above it."""
    flagged = np.array([bool((image.counted[0] > threshold).any()) for image in images], np.bool_)
    return _fixed(images, threshold, flagged)


def _fixed(images: Sequence[TestScore], threshold: float, flagged: NDArray[np.bool_]) -> FixedF1 | None:
    """None where it is not known of all images which pixels are defective, or none is."""
    defective = np.array([not image.is_good for image in images], np.bool_)
    if not defective.any() or not all(image.marked for image in images):
        return None
    hits = found = wanted = 0
    for image in images:
        scores, mask = image.counted
        above = scores > threshold
        hits += int(np.count_nonzero(above & mask))
        found += int(np.count_nonzero(above))
        wanted += int(np.count_nonzero(mask))
    if not wanted:
        return None
    right = int(np.count_nonzero(flagged & defective))
    class_f1 = 2 * right / int(flagged.sum() + defective.sum())
    return FixedF1(threshold, 2 * hits / (found + wanted), class_f1)


def validation_threshold(maps: Iterable[NDArray[np.float32]]) -> float:
    """Mean and three standard deviations of all scores of good validation images, maps of any shapes read once each."""
    count, mean, squares = 0, 0.0, 0.0
    for scores in maps:  # centred, image by image: sums of squares would cancel
        values = scores.astype(np.float64)
        here, size = float(values.mean()), values.size
        step = here - mean
        squares += float(np.square(values - here).sum()) + step**2 * count * size / (count + size)
        mean += step * size / (count + size)
        count += size
    return mean + DEVIATIONS * math.sqrt(squares / count)
