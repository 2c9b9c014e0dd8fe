"""Confidence intervals of AU-PRO over images: every image is counted once, replicates only weigh the counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stadx import ops
from stadx.core.errors import DataError

from .curve import area_up_to
from .ranks import NameOf, Ranks, Rescan, changed_error, nan_error

_THRESHOLDS = 4096
_AT_ONCE = 64  # replicates computed together: bounds memory


class Interval(NamedTuple):
    """A bootstrap confidence interval.

    Attributes:
        low, high: quantiles of the replicates.
        mean, std: of the replicates.
        resolution: how far at most each replicate is from exact; 0 if it is exact.
    """

    low: float
    high: float
    mean: float
    std: float
    resolution: float


def bootstrap_au_pro(
    ranks: Ranks, images: Rescan, name_of: NameOf, fpr_limit: float, *, replicates: int, confidence: float, seed: int
) -> Interval:
    """See `PixelMetrics.bootstrap`. Replicates without a region or without background are drawn again."""
    if replicates < 2 or not 0 < confidence < 1:
        raise DataError(f"replicates is {replicates}, confidence {confidence}; give at least 2, and one within (0, 1)")
    chosen = _choose(ranks)
    background, shares = _image_counts(ranks, images, name_of, chosen)
    num_images = len(ranks.sizes)
    regions = np.bincount(ranks.images, minlength=num_images).astype(np.float64)
    defect = np.bincount(ranks.images, ranks.areas, num_images)
    rng = np.random.default_rng(seed)
    found: list[float] = []
    errors = [0.0]
    while len(found) < replicates:
        drawn = rng.multinomial(num_images, np.full(num_images, 1 / num_images), _AT_ONCE).astype(np.float64)
        num_regions, num_background = drawn @ regions, drawn @ (ranks.sizes - defect)
        usable = (num_regions > 0) & (num_background > 0)
        drawn, num_regions, num_background = drawn[usable], num_regions[usable], num_background[usable]
        fpr = drawn @ background / num_background[:, None]
        pro = drawn @ shares / num_regions[:, None]
        for x, y in zip(fpr, pro, strict=True):
            found.append(area_up_to(x, y, fpr_limit))
            if len(chosen) < len(ranks.values):
                inside = x[:-1] < fpr_limit
                errors.append(float(np.sum((np.diff(x) * np.diff(y))[inside]) / 2 / fpr_limit))
    values = np.array(found[:replicates])
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), float(values.mean()), float(values.std(ddof=1)), max(errors))


def _choose(ranks: Ranks) -> NDArray[np.int64]:
    """Indices of the values that serve as thresholds, ascending: all, or such that neither axis has a wide gap."""
    count = len(ranks.values)
    if count <= _THRESHOLDS:
        return np.arange(count)
    gain = np.bincount(ranks.at, 1.0 / ranks.areas[ranks.region], count)[::-1].cumsum()[::-1]
    steps = np.linspace(0, 1, _THRESHOLDS // 2)
    by_pro = count - 1 - np.searchsorted(gain[::-1], steps * gain[0]).clip(0, count - 1)
    passed = (ranks.above + ranks.equal)[::-1]
    by_fpr = count - 1 - np.searchsorted(passed, steps * ranks.num_background).clip(0, count - 1)
    return np.unique(np.concatenate([by_pro, by_fpr, [0, count - 1]]))


def _image_counts(
    ranks: Ranks, images: Rescan, name_of: NameOf, chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per image and corner of the curve: background pixels, and sum of its regions' shares, float64 [N, 2 T + 2].

    Corners are, from the highest threshold to the lowest, those of the whole set's curve: before and after its ties.
    """
    values = ranks.values[chosen]
    num_images, size = len(ranks.sizes), len(values)
    image = ranks.images[ranks.region]
    above = np.searchsorted(values, ranks.values, side="left")  # thresholds below each value
    not_below = np.searchsorted(values, ranks.values, side="right")
    cell = image * (size + 1)
    weight = 1.0 / ranks.areas[ranks.region]

    def summed(places: NDArray[np.int64], weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Per image and threshold: over the defect pixels that lie above so many thresholds."""
        table = np.bincount(cell + places[ranks.at], weights, num_images * (size + 1)).reshape(num_images, size + 1)
        return table[:, ::-1].cumsum(1)[:, :-1].astype(np.float64)  # from the highest threshold on

    own_above, own_reached = summed(above, None), summed(not_below, None)
    background = np.zeros((num_images, 2 * size + 2))
    shares = np.zeros((num_images, 2 * size + 2))
    shares[:, 1:-1:2], shares[:, 2::2] = summed(above, weight), summed(not_below, weight)
    edges = torch.from_numpy(values)
    count = 0
    for i, (scores, _) in enumerate(images()):
        count += 1
        if i >= num_images or scores.numel() != ranks.sizes[i]:
            raise changed_error()
        now_above, now_equal, nans = ops.count_above([scores.to(edges.dtype)], edges)
        if nans.any():
            raise nan_error(name_of(i))
        higher = now_above.numpy()[::-1]
        background[i, 1:-1:2] = higher - own_above[i]
        background[i, 2::2] = higher + now_equal.numpy()[::-1] - own_reached[i]
    if count != num_images:
        raise changed_error()
    defect = np.bincount(ranks.images, ranks.areas, num_images)
    background[:, -1] = ranks.sizes - defect
    shares[:, -1] = np.bincount(ranks.images, minlength=num_images)
    return background, shares
