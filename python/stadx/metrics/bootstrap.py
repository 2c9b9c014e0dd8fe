"""Confidence intervals of AU-PRO over images: every image is counted once, replicates only weigh the counts."""

from __future__ import annotations

from collections.abc import Sequence
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
    """See `PixelMetrics.bootstrap`."""
    if replicates < 2 or not 0 < confidence < 1:
        raise DataError(f"replicates is {replicates}, confidence {confidence}; give at least 2, and one within (0, 1)")
    (values,), resolution = au_pro_replicates(ranks, images, name_of, fpr_limit, replicates=replicates, seed=seed)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), float(values.mean()), float(values.std(ddof=1)), resolution)


def au_pro_replicates(
    ranks: Ranks,
    images: Rescan,
    name_of: NameOf,
    fpr_limit: float,
    *,
    replicates: int,
    seed: int,
    groups: Sequence[NDArray[np.bool_]] | None = None,
) -> tuple[list[NDArray[np.float64]], float]:
    """AU-PRO of sets drawn with replacement from the images; two sets of maps with the same seed have the same draws.

    Draws without a region or without background are drawn again.

    Args:
        ranks, images, name_of: of the set.
        fpr_limit: in (0, 1].
        replicates: how many, at least 2.
        seed: of the draws.
        groups: bool [R] each, which regions count; None: all of them.

    Returns:
        float64 [replicates] for each group, and how far at most one is from exact.
    """
    if replicates < 2:
        raise DataError(f"replicates is {replicates}; give at least 2")
    chosen = _choose(ranks)
    background = _background_counts(ranks, images, name_of, chosen)
    found, errors = [], [0.0]
    for group in [np.ones(len(ranks.areas), np.bool_)] if groups is None else groups:
        values, error = _replicates(ranks, chosen, background, group, fpr_limit, replicates, seed)
        found.append(values)
        errors.append(error)
    return found, max(errors)


def _replicates(
    ranks: Ranks,
    chosen: NDArray[np.int64],
    background: NDArray[np.float64],
    group: NDArray[np.bool_],
    fpr_limit: float,
    replicates: int,
    seed: int,
) -> tuple[NDArray[np.float64], float]:
    num_images = len(ranks.sizes)
    shares = _region_shares(ranks, chosen, group)
    regions = np.bincount(ranks.images[group], minlength=num_images).astype(np.float64)
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
    return np.array(found[:replicates]), max(errors)


class Bands(NamedTuple):
    """Where curves lie in so many replicates of a bootstrap over images, float64 [len(at)] each.

    Attributes:
        at: false-positive rates, and recalls.
        pro, roc, pr: lower and upper end: overlap and recall by false-positive rate, precision by recall.
    """

    at: NDArray[np.float64]
    pro: tuple[NDArray[np.float64], NDArray[np.float64]]
    roc: tuple[NDArray[np.float64], NDArray[np.float64]]
    pr: tuple[NDArray[np.float64], NDArray[np.float64]]


def curve_bands(
    ranks: Ranks,
    images: Rescan,
    name_of: NameOf,
    at: NDArray[np.float64],
    *,
    replicates: int,
    confidence: float,
    seed: int,
) -> Bands:
    """See `PixelMetrics.bands`."""
    if replicates < 2 or not 0 < confidence < 1:
        raise DataError(f"replicates is {replicates}, confidence {confidence}; give at least 2, and one within (0, 1)")
    chosen = _choose(ranks)
    background = _background_counts(ranks, images, name_of, chosen)
    group = np.ones(len(ranks.areas), np.bool_)
    shares, hits = _region_shares(ranks, chosen, group), np.zeros_like(background)
    hits[:, 1:-1:2], hits[:, 2::2] = _summed(ranks, chosen, None)
    num_images = len(ranks.sizes)
    hits[:, -1] = np.bincount(ranks.images, ranks.areas, num_images)
    regions = np.bincount(ranks.images, minlength=num_images).astype(np.float64)
    rng = np.random.default_rng(seed)
    found: list[tuple[NDArray[np.float64], ...]] = []
    while len(found) < replicates:
        drawn = rng.multinomial(num_images, np.full(num_images, 1 / num_images)).astype(np.float64)
        negatives, positives = drawn @ background, drawn @ hits
        if not (drawn @ regions and negatives[-1]):
            continue
        fpr, recall, pro = negatives / negatives[-1], positives / positives[-1], drawn @ shares / (drawn @ regions)
        total = positives + negatives
        precision = np.divide(positives, total, out=np.ones_like(total), where=total > 0)
        found.append((np.interp(at, fpr, pro), np.interp(at, fpr, recall), np.interp(at, recall, precision)))
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    pro_band, roc_band, pr_band = (np.quantile(np.stack(curves), ends, axis=0) for curves in zip(*found, strict=True))
    return Bands(at, (pro_band[0], pro_band[1]), (roc_band[0], roc_band[1]), (pr_band[0], pr_band[1]))


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


def _summed(
    ranks: Ranks, chosen: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per image and threshold, over its defect pixels that lie above, and that lie at or above: float64 [N, T] each.

    Thresholds fall; `weights` [n] are of the pixels, 1 by default.
    """
    values = ranks.values[chosen]
    num_images, size = len(ranks.sizes), len(values)
    cell = ranks.images[ranks.region] * (size + 1)

    def summed(places: NDArray[np.int64]) -> NDArray[np.float64]:
        table = np.bincount(cell + places[ranks.at], weights, num_images * (size + 1)).reshape(num_images, size + 1)
        return table[:, ::-1].cumsum(1)[:, :-1].astype(np.float64)  # from the highest threshold on

    # how many thresholds lie below each value, and how many not above it
    return summed(np.searchsorted(values, ranks.values, "left")), summed(np.searchsorted(values, ranks.values, "right"))


def _region_shares(ranks: Ranks, chosen: NDArray[np.int64], group: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Per image and corner of the curve, the sum of the shares of its regions in `group`: float64 [N, 2 T + 2].

    Corners are, from the highest threshold to the lowest, those of the whole set's curve: before and after its ties.
    """
    num_images = len(ranks.sizes)
    shares = np.zeros((num_images, 2 * len(chosen) + 2))
    weight = (group / ranks.areas)[ranks.region]
    shares[:, 1:-1:2], shares[:, 2::2] = _summed(ranks, chosen, weight)
    shares[:, -1] = np.bincount(ranks.images[group], minlength=num_images)
    return shares


def _background_counts(ranks: Ranks, images: Rescan, name_of: NameOf, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Per image and corner of the curve, background pixels: float64 [N, 2 T + 2]."""
    num_images = len(ranks.sizes)
    own_above, own_reached = _summed(ranks, chosen, None)
    background = np.zeros((num_images, 2 * len(chosen) + 2))
    edges = torch.from_numpy(ranks.values[chosen])
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
    background[:, -1] = ranks.sizes - np.bincount(ranks.images, ranks.areas, num_images)
    return background
