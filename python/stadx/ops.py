"""Typed wrappers of the native operators `torch.ops.stadx.*`; importing this module registers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stadx import _C, fake_kernels, reference
from stadx.dense_ops import dense_layer, dense_score, pack_weights, winograd_map, winograd_tiles

__all__ = [
    "build_info",
    "count_above",
    "defect_pixels",
    "dense_layer",
    "dense_score",
    "distinct_scores",
    "ensemble_score",
    "label_regions",
    "pack_weights",
    "phase_pool",
    "phase_score",
    "region_sums",
    "score_cut",
    "set_instruction_set",
    "weight_width",
    "winograd_map",
    "winograd_tiles",
]

build_info = _C.build_info
set_instruction_set = _C.set_instruction_set
weight_width = _C.weight_width


def ensemble_score(students: Tensor, teacher: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Regression error and predictive variance of a student ensemble, at every pixel (Eqs. 9 and 10).

    With ŷ = (T − µ)/σ and the ensemble mean S̄ = mean_i Sᵢ: e = ‖S̄ − ŷ‖² and v = mean_i ‖Sᵢ − S̄‖².
    One pass over memory; contiguous and channels-last maps are read in place. For scoring only: there is no
    gradient, and `backward` says so.

    Args:
        students: descriptors Sᵢ of M ≥ 1 students, [M, B, d, H, W], float32 or bfloat16; on a GPU also float16, and
            at most 63 of them.
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


def defect_pixels(
    maps: Sequence[Tensor], masks: Sequence[Tensor], connectivity: int = 8
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The scores of all non-zero mask pixels of a set of images, and the connected regions they lie in.

    Args:
        maps: anomaly scores, [H, W] each of any sizes, all float32 or all float64.
        masks: of the same sizes, bool or integer, non-zero = defect.
        connectivity: 4 (edges) or 8 (edges and corners).

    Returns:
        scores [n] of the maps' dtype, image by image and row by row; regions [n] int32, from 0 through the whole set;
        per region, by image and then in the raster order of their first pixels: areas [R] int64 and firsts [R] int64,
        the first pixel's index in its image; counts [N] int64, the regions of each image.

    Raises:
        RuntimeError: shapes, dtypes or connectivity are wrong, or there is no image.
    """
    scores, regions, areas, firsts, counts = torch.ops.stadx.defect_pixels(maps, masks, connectivity)
    return scores, regions, areas, firsts, counts


def count_above(scores: Sequence[Tensor], thresholds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many scores lie above each threshold and how many are equal to it: one pass, no sort; −0 equals +0.

    Args:
        scores: contiguous, of any shapes, float32 or float64.
        thresholds: [E], E ≥ 1, of the same dtype, strictly ascending, no NaN.

    Returns:
        above and equal [E] int64, and how many NaN each tensor of `scores` has [N] int64; NaN count nowhere else.

    Raises:
        RuntimeError: dtypes differ, scores are not contiguous, thresholds do not ascend.
    """
    above, equal, nans = torch.ops.stadx.count_above(scores, thresholds)
    return above, equal, nans


def distinct_scores(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`torch.unique` with inverse and counts, several times as fast for what fits into memory caches.

    Args:
        scores: [n], float32 or float64, n < 2^31, no NaN; −0 equals +0.

    Returns:
        values [E], ascending; at [n] int32, index into them of every score; counts [E] int64.

    Raises:
        RuntimeError: wrong shape or dtype.
    """
    values, at, counts = torch.ops.stadx.distinct_scores(scores)
    return values, at, counts


def phase_pool(x: Tensor, bias: Tensor, slope: float, shifts: int) -> Tensor:
    """Bias, leaky ReLU and 2 x 2 max-pools of stride 2 of a convolution's result, in one read on a GPU.

    Args:
        x: [B, C, H, W], float32, bfloat16 or float16; read in place where channels are innermost in memory.
        bias: float32 [C].
        slope: of the leaky ReLU.
        shifts: 0: no pool. 1: one. 2: four, shifted by 0 or 1 pixel in both directions (the phases of Bailer et al.
            2017), of equal size.

    Returns:
        [B, C, H, W], [B, C, ⌊H / 2⌋, ⌊W / 2⌋] or [4 B, C, ⌊(H - 1) / 2⌋, ⌊(W - 1) / 2⌋], the shifts (0, 0), (0, 1),
        (1, 0), (1, 1) one after the other; dtype of x, rounded once, channels innermost. NaN wins.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit together.
    """
    pooled: Tensor = torch.ops.stadx.phase_pool(x, bias, slope, shifts)
    return pooled


def phase_score(
    maps: Sequence[Tensor],
    bias: Tensor,
    mean: Tensor,
    std: Tensor,
    *,
    slope: float,
    pools: int,
    normalization: Sequence[float],
    weight: float,
    add: bool,
    out: Tensor,
) -> None:
    """The anomaly map of one scale (Eqs. 9 to 12) from the last convolutions of all networks, still in phases.

    Args:
        maps: of the teacher, then of the students, [4^pools B, d, h, w], float32, bfloat16 or float16, channels
            innermost; the batch counts the shift of the last pool, …, of the first, then the image, as `phase_pool`
            leaves them.
        bias: of these convolutions, float32 [M + 1, d].
        mean, std: µ and σ, float32 [d].
        slope: of a leaky ReLU after the bias; 1 for none.
        pools: how many pools had four shifts, 0 to 3.
        normalization: e_mean, e_std, v_mean, v_std.
        weight: of this scale.
        add: to what `out` holds; else overwrite it.
        out: float32 [B, H, W], contiguous; H and W at most 2^pools times those of the maps.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit together.
    """
    torch.ops.stadx.phase_score(maps, bias, mean, std, slope, pools, normalization, weight, add, out)


def score_cut(scores: Sequence[Tensor], wanted: int) -> Tensor:
    """A score that at least `wanted` of all scores reach: for a GPU, without a sort and without waiting for it.

    Args:
        scores: contiguous, of any shapes, all float32 or all float64; NaN count nowhere.
        wanted: how many scores are to lie at or above the cut.

    Returns:
        The cut, [1] of the same dtype: +inf if none is wanted, -inf if there are fewer. The kernel's is the lowest
        score whose bits begin as those of the wanted-th highest; the twin gives that one itself.

    Raises:
        RuntimeError: there is no image, or dtypes or devices differ.
    """
    cut: Tensor = torch.ops.stadx.score_cut(scores, wanted)
    return cut


def region_sums(values: Tensor, at: Tensor, region: Tensor, regions: int) -> Tensor:
    """Sums of whole numbers over the pixels of every region: Σ values[at[i]] over all i with region[i] = r.

    Args:
        values: int64 [E].
        at: index into it of every pixel, int32 [n].
        region: of every pixel, int32 [n], below `regions`.
        regions: R.

    Returns:
        int64 [R].

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit together.
    """
    sums: Tensor = torch.ops.stadx.region_sums(values, at, region, regions)
    return sums


def _no_gradient(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError(
        "stadx.ops.ensemble_score is for scoring and has no gradient; "
        "use stadx.reference.ensemble_score to differentiate it"
    )


fake_kernels.register()
torch.library.register_autograd("stadx::ensemble_score", _no_gradient)

_TWINS = ("CUDA",) if not _C.build_info()["cuda_architectures"] else ()  # without kernels PyTorch serves the GPU
for _name in ("ensemble_score", "label_regions", "defect_pixels", "count_above"):
    for _key in _TWINS:
        torch.library.impl(f"stadx::{_name}", _key)(getattr(reference, _name))
for _name in ("phase_pool", "phase_score", "score_cut", "region_sums"):
    for _key in ("CPU", *_TWINS):
        torch.library.impl(f"stadx::{_name}", _key)(getattr(reference, _name))
torch.library.impl("stadx::distinct_scores", "CUDA")(reference.distinct_scores)  # a sort, which PyTorch does well
