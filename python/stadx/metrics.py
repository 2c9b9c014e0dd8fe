"""Exact metrics of anomaly maps: PRO curve, AU-PRO and AUROC. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx import ops
from stadx.errors import DataError

__all__ = ["Maps", "ProCurve", "au_pro", "auroc", "pro_curve"]

Maps: TypeAlias = "NDArray[Any] | Tensor | Sequence[NDArray[Any] | Tensor]"


class ProCurve(NamedTuple):
    """Points of a PRO curve, float64, from (0, 0) to (1, 1).

    Attributes:
        fpr: share of all background pixels with a score ≥ threshold.
        pro: mean over all ground-truth regions of the region's share with a score ≥ threshold.
        thresholds: falling; +inf at the first point stands for "no pixel", −inf at the last for "every pixel".
    """

    fpr: NDArray[np.float64]
    pro: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def pro_curve(maps: Maps, masks: Maps, *, connectivity: int = 8) -> ProCurve:
    """Per-region overlap against false-positive rate, over every distinct score of the whole set.

    Regions are the connected regions of the masks, of any size; images without any count as background.

    Args:
        maps: anomaly scores, [N, H, W], or a sequence of [H, W] of any sizes.
        masks: ground truth of the same shapes, bool or integer, non-zero = defect.
        connectivity: 8 or 4, what makes defect pixels one region.

    Raises:
        DataError: maps and masks do not fit together, a score is NaN, or there is no defect or no background.
    """
    return _curve(maps, masks, connectivity, drop_collinear=False)


def au_pro(maps: Maps, masks: Maps, *, fpr_limit: float = 0.3, connectivity: int = 8) -> float:
    """Area under the PRO curve up to a false-positive rate, divided by that rate: 1 is perfect.

    The trapezoid rule on `pro_curve`, with linear interpolation at the limit. The value does not change under
    any strictly increasing transform of the scores.

    Args:
        maps, masks, connectivity: as in `pro_curve`.
        fpr_limit: in (0, 1].

    Raises:
        DataError: as `pro_curve`, or the limit is outside (0, 1].
    """
    if not 0.0 < fpr_limit <= 1.0:
        raise DataError(f"fpr_limit is {fpr_limit}; it must lie in (0, 1]")
    curve = _curve(maps, masks, connectivity, drop_collinear=True)
    inside = int(np.searchsorted(curve.fpr, fpr_limit, side="right"))  # points with fpr ≤ limit
    fpr, pro = curve.fpr[:inside], curve.pro[:inside]
    if fpr[-1] < fpr_limit:  # then a next point exists, since the curve ends at fpr = 1 ≥ limit
        part = (fpr_limit - fpr[-1]) / (curve.fpr[inside] - fpr[-1])
        end = pro[-1] + part * (curve.pro[inside] - pro[-1])
        fpr, pro = np.append(fpr, fpr_limit), np.append(pro, end)
    area = float(np.sum(np.diff(fpr) * (pro[1:] + pro[:-1])) / 2.0)
    return area / fpr_limit


def auroc(scores: Maps | Sequence[float], labels: Maps | Sequence[int]) -> float:
    """Area under the ROC curve, exact: the share of (anomalous, good) pairs in the right order, ties being half.

    Args:
        scores: any shape, or a sequence of arrays (image scores, or maps of any sizes); no NaN.
        labels: the same shapes, bool or integer, non-zero = anomalous.

    Raises:
        DataError: scores and labels do not fit together, a score is NaN, or only one class is present.
    """
    flat, label = _pairs(_as_list(scores), _as_list(labels), "scores", "labels")
    values = np.concatenate([x.ravel() for x in flat]) if flat else np.empty(0)
    anomalous = np.concatenate([x.ravel() != 0 for x in label]) if label else np.empty(0, dtype=bool)
    positive, negative = np.sort(values[anomalous]), np.sort(values[~anomalous])
    if not len(positive) or not len(negative):
        missing = "anomalous" if not len(positive) else "good"
        raise DataError(
            f"AUROC needs both classes, but no label is {missing}; evaluate on a set that has good and "
            "anomalous samples"
        )
    below = int(np.searchsorted(negative, positive, side="left").sum(dtype=np.int64))
    not_above = int(np.searchsorted(negative, positive, side="right").sum(dtype=np.int64))
    return (below + not_above) / (2 * len(positive) * len(negative))


def _curve(maps: Maps, masks: Maps, connectivity: int, *, drop_collinear: bool) -> ProCurve:
    if connectivity not in (4, 8):
        raise DataError(f"connectivity is {connectivity}; it must be 4 or 8")
    scores, truth = _pairs(_as_list(maps), _as_list(masks), "maps", "masks")
    regions: list[NDArray[np.int32]] = []
    num_regions = 0
    for i, (score, mask) in enumerate(zip(scores, truth, strict=True)):
        if score.ndim != 2:
            raise DataError(f"map {i} has shape {score.shape}; every map must be [H, W]")
        # nonzero → bool, since torch has no kernels for some of NumPy's integers
        labels, counts = ops.label_regions(torch.from_numpy(mask != 0)[None], connectivity)
        region = labels[0].numpy()
        if num_regions:
            region[region > 0] += num_regions
        regions.append(region.ravel())
        num_regions += int(counts[0])
    if num_regions == 0:
        raise DataError("the masks contain no defect pixel, so AU-PRO is undefined; evaluate on a set with defects")
    region_of = np.concatenate(regions)
    if not np.any(region_of == 0):
        raise DataError(
            "the masks mark every pixel as a defect: there is no background, so AU-PRO is undefined; "
            "check the masks, or add good images"
        )
    flat = np.concatenate([x.ravel() for x in scores])
    points = ops.pro_curve(
        torch.from_numpy(flat), torch.from_numpy(region_of), num_regions, drop_collinear=drop_collinear
    )
    return ProCurve(*(x.numpy() for x in points))


def _as_list(items: Maps | Sequence[float]) -> list[NDArray[Any]]:
    """The set as NumPy arrays, one per image (or the one array that plain numbers make)."""
    if isinstance(items, (np.ndarray, Tensor)):
        array = _as_array(items)
        return list(array) if array.ndim == 3 else [array]
    if not items:
        return []
    if any(isinstance(x, (np.ndarray, Tensor)) and x.ndim > 0 for x in items):
        return [_as_array(x) for x in items]
    return [np.asarray(items)]


def _as_array(item: Any) -> NDArray[Any]:
    if not isinstance(item, Tensor):
        return np.asarray(item)
    item = item.detach().cpu()
    return np.asarray((item.float() if item.dtype == torch.bfloat16 else item).numpy())  # NumPy has no bfloat16


def _pairs(
    scores: list[NDArray[Any]], labels: list[NDArray[Any]], scores_name: str, labels_name: str
) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Checks that scores and labels fit together; scores come back as float32 or float64, in native order."""
    if len(scores) != len(labels):
        raise DataError(f"{len(scores)} {scores_name} but {len(labels)} {labels_name}; give one for each image")
    checked = []
    for i, (score, label) in enumerate(zip(scores, labels, strict=True)):
        if score.shape != label.shape:
            raise DataError(
                f"image {i}: {scores_name} have shape {score.shape} but {labels_name} {label.shape}; "
                "resize one to the other"
            )
        if label.dtype.kind not in "bui":
            raise DataError(f"image {i}: {labels_name} are {label.dtype}; give bool or integers, non-zero = defect")
        if score.dtype.kind not in "buif":
            raise DataError(f"image {i}: {scores_name} are {score.dtype}; give real numbers")
        single = score.dtype.kind == "f" and score.dtype.itemsize <= 4
        score = score.astype(np.float32 if single else np.float64, copy=False)
        if np.isnan(score).any():
            raise DataError(f"image {i}: {scores_name} contain NaN; the detector or its input is broken there")
        checked.append(score)
    return checked, labels
