"""Exact metrics of anomaly maps: AU-PRO, AU-sPRO, PRO curve, AUROC, AUPR, F1, AUPIMO. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

from stadx.core.errors import DataError

from .aupimo import aupimo
from .bootstrap import Interval
from .evaluator import ProEvaluator, check_connectivity, evaluate_maps
from .inputs import Maps, Pairs, Regions, check_are_images
from .pixel_metrics import FPR_LIMIT, PixelMetrics, ProCurve, Region, check_limit

__all__ = [
    "FPR_LIMIT",
    "SPRO_LIMITS",
    "Interval",
    "Maps",
    "PixelMetrics",
    "ProCurve",
    "ProEvaluator",
    "Region",
    "Regions",
    "au_pro",
    "au_spro",
    "aupimo",
    "aupr",
    "auroc",
    "evaluate_maps",
    "f1_max",
    "pro_curve",
    "spro_curve",
]

SPRO_LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
"""The false-positive rates up to which the authors of MVTec LOCO AD take AU-sPRO."""

MasksOfRegions: TypeAlias = "Sequence[Maps | None]"
Saturation: TypeAlias = "Sequence[Sequence[float] | NDArray[Any] | None]"


def au_pro(maps: Maps, masks: Maps, *, fpr_limit: float = FPR_LIMIT, connectivity: int = 8) -> float:
    """Area under the PRO curve up to a false-positive rate, divided by that rate: 1 is perfect.

    Per-region overlap against false-positive rate over every distinct score of the whole set, by the trapezoid rule
    with linear interpolation at the limit. Regions are the connected regions of the masks, of any size; images without
    any count as background. The value does not change under any strictly increasing transform of the scores.

    Args:
        maps: anomaly scores, [N, H, W], or a sequence of [H, W] of any sizes; NumPy or PyTorch, any real dtype.
        masks: ground truth of the same shapes, bool or integer, non-zero = defect.
        fpr_limit: in (0, 1].
        connectivity: 8 or 4, what makes defect pixels one region.

    Raises:
        DataError: maps and masks do not fit together, a score is NaN, there is no defect or no background, or
            `fpr_limit` or `connectivity` is something else.
    """
    check_limit(fpr_limit)
    return _measured(maps, masks, connectivity, fpr_limit).au_pro(fpr_limit)


def pro_curve(maps: Maps, masks: Maps, *, connectivity: int = 8) -> ProCurve:
    """The exact PRO curve as its corners. Args and errors as in `au_pro`."""
    return _measured(maps, masks, connectivity).pro_curve()


def au_spro(
    maps: Maps,
    regions: MasksOfRegions,
    saturation: Saturation | None = None,
    *,
    fpr_limits: Sequence[float] = SPRO_LIMITS,
) -> dict[float, float]:
    """Area under the saturated PRO curve up to each of some false-positive rates, divided by that rate: 1 is perfect.

    The saturated overlap (sPRO) of a region is min(pixels with a score ≥ threshold / saturation area, 1); the curve is
    its mean over all regions against the share of the pixels outside of all regions that are ≥ threshold. As exact as
    `au_pro`, which it is where every saturation is the region's area and regions are the connected ones.

    Args:
        maps: as in `au_pro`.
        regions: per image, a mask for each region, [R, H, W] or a sequence of [H, W], bool or integer, non-zero =
            inside; empty or None for a good image. Regions may overlap: a pixel counts in each.
        saturation: per image, the saturation area of each region in pixels, above 0; above a region's area it is the
            area. None: the areas.
        fpr_limits: each in (0, 1].

    Returns:
        The area by limit.

    Raises:
        DataError: as `au_pro`, if a region has no pixel, or saturation areas are missing or not above 0.
    """
    for limit in fpr_limits:
        check_limit(limit)
    metrics = evaluate_maps(_with_regions(maps, regions, saturation), fpr_limit=max(fpr_limits))
    return {limit: metrics.au_spro(limit) for limit in fpr_limits}


def spro_curve(maps: Maps, regions: MasksOfRegions, saturation: Saturation | None = None) -> ProCurve:
    """The exact saturated PRO curve as its corners. Args and errors as in `au_spro`."""
    return evaluate_maps(_with_regions(maps, regions, saturation)).spro_curve()


def auroc(scores: Maps | Sequence[float], labels: Maps | Sequence[int]) -> float:
    """Area under the ROC curve, exact: the share of (anomalous, good) pairs in the right order, ties being half.

    Args:
        scores: any shape, or a sequence of arrays (image scores, or maps of any sizes); no NaN.
        labels: the same shapes, bool or integer, non-zero = anomalous.

    Raises:
        DataError: scores and labels do not fit together, a score is NaN, or only one class is present.
    """
    return _classified(scores, labels, "AUROC").auroc


def aupr(scores: Maps | Sequence[float], labels: Maps | Sequence[int]) -> float:
    """Average precision: the sum over every distinct score of precision times the gain in recall. As `auroc`."""
    return _classified(scores, labels, "AUPR").aupr


def f1_max(scores: Maps | Sequence[float], labels: Maps | Sequence[int]) -> tuple[float, float]:
    """The highest F1 score over every distinct score, and the threshold (score ≥ it is anomalous). As `auroc`."""
    metrics = _classified(scores, labels, "F1")
    return metrics.f1_max, metrics.best_threshold


def _with_regions(maps: Maps, regions: MasksOfRegions, saturation: Saturation | None) -> Pairs:
    check_are_images(maps)
    if saturation is not None and len(saturation) != len(regions):
        raise DataError(
            f"regions of {len(regions)} images but saturation areas of {len(saturation)}; give both for each"
        )
    areas = [None] * len(regions) if saturation is None else saturation
    return Pairs(maps, [Regions([] if r is None else r, a) for r, a in zip(regions, areas, strict=True)])


def _measured(maps: Maps, masks: Maps, connectivity: int, fpr_limit: float = 1.0) -> PixelMetrics:
    check_connectivity(connectivity)
    check_are_images(maps)
    return evaluate_maps(Pairs(maps, masks), fpr_limit=fpr_limit, connectivity=connectivity)


def _classified(scores: Maps | Sequence[float], labels: Maps | Sequence[int], metric: str) -> PixelMetrics:
    pairs = Pairs(scores, labels, ("scores", "labels"))
    anomalous = sum(int(label.count_nonzero()) for _, label in pairs.of_masks())
    missing = (
        "anomalous" if not anomalous else "good" if anomalous == sum(x.numel() for _, x in pairs.of_masks()) else None
    )
    if missing:
        raise DataError(
            f"{metric} needs both classes, but no label is {missing}; evaluate on a set that has good and "
            "anomalous samples"
        )
    return evaluate_maps(pairs)
