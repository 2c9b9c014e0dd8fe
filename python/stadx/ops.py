"""Typed wrappers of the native operators `torch.ops.stadx.*`; importing this module registers them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stadx import _C, reference

__all__ = ["build_info", "ensemble_score", "label_regions", "pro_curve", "set_instruction_set"]

build_info = _C.build_info
set_instruction_set = _C.set_instruction_set


def ensemble_score(students: Tensor, teacher: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Regression error and predictive variance of a student ensemble, at every pixel (Eqs. 9 and 10).

    With ŷ = (T − µ)/σ and the ensemble mean S̄ = mean_i Sᵢ: e = ‖S̄ − ŷ‖² and v = mean_i ‖Sᵢ − S̄‖².
    One pass over memory; contiguous and channels-last maps are read in place. For scoring only: there is no
    gradient, and `backward` says so.

    Args:
        students: descriptors Sᵢ of M ≥ 1 students, [M, B, d, H, W], float32 or bfloat16.
        teacher: descriptors T, [B, d, H, W], same dtype.
        mean: µ per channel, [d].
        std: σ per channel, [d]; zeros follow IEEE rules (inf or NaN).

    Returns:
        e and v, [B, H, W], float32, accumulated in float32; v is zero for M = 1.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit together.
    """
    # µ and σ have d elements: converting them costs nothing beside the maps.
    e, v = torch.ops.stadx.ensemble_score(students, teacher, mean.float(), std.float())
    return e, v


def label_regions(mask: Tensor, connectivity: int = 8) -> tuple[Tensor, Tensor]:
    """Connected regions of non-zero pixels, numbered per image in the raster order of their first pixels.

    Args:
        mask: [B, H, W], bool or integer, non-zero = inside.
        connectivity: 4 (edges) or 8 (edges and corners).

    Returns:
        labels [B, H, W] int32 (0 outside, regions from 1) and counts [B] int64.

    Raises:
        RuntimeError: wrong shape, dtype or connectivity.
    """
    labels, counts = torch.ops.stadx.label_regions(mask, connectivity)
    return labels, counts


def pro_curve(
    scores: Tensor, regions: Tensor, num_regions: int, drop_collinear: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Exact per-region-overlap curve over every distinct score; `stadx.metrics` wraps it for maps and masks.

    Args:
        scores: [n], float32 or float64, no NaN.
        regions: [n] int32, 0 = background, 1 … num_regions = ground-truth region of the pixel.
        num_regions: R ≥ 1; every region and the background have at least one pixel.
        drop_collinear: leave out points inside level and upright stretches; the curve stays the same.

    Returns:
        fpr, pro and thresholds, float64, from (0, 0, +inf) to (1, 1, −inf).

    Raises:
        RuntimeError: wrong shape or dtype, NaN, an empty region or no background.
    """
    fpr, pro, thresholds = torch.ops.stadx.pro_curve(scores, regions, num_regions, drop_collinear)
    return fpr, pro, thresholds


def _ensemble_score_fake(students: Tensor, teacher: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, height, width = teacher.shape
    e = teacher.new_empty((batch, height, width), dtype=torch.float32)
    return e, torch.empty_like(e)


def _label_regions_fake(mask: Tensor, connectivity: int = 8) -> tuple[Tensor, Tensor]:
    return mask.new_empty(mask.shape, dtype=torch.int32), mask.new_empty(mask.shape[:1], dtype=torch.int64)


def _pro_curve_fake(
    scores: Tensor, regions: Tensor, num_regions: int, drop_collinear: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    points = torch.library.get_ctx().new_dynamic_size(min=2)  # as many as there are distinct scores
    fpr = scores.new_empty((points,), dtype=torch.float64)
    return fpr, torch.empty_like(fpr), torch.empty_like(fpr)


def _no_gradient(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError(
        "stadx.ops.ensemble_score is for scoring and has no gradient; "
        "use stadx.reference.ensemble_score to differentiate it"
    )


torch.library.register_fake("stadx::ensemble_score", _ensemble_score_fake)
torch.library.register_fake("stadx::label_regions", _label_regions_fake)
torch.library.register_fake("stadx::pro_curve", _pro_curve_fake)
torch.library.register_autograd("stadx::ensemble_score", _no_gradient)

if not _C.build_info()["cuda_architectures"]:  # without CUDA kernels, plain PyTorch serves the GPU
    torch.library.impl("stadx::ensemble_score", "CUDA")(reference.ensemble_score)
    torch.library.impl("stadx::label_regions", "CUDA")(reference.label_regions)
    torch.library.impl("stadx::pro_curve", "CUDA")(reference.pro_curve)
