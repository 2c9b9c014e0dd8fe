"""Typed wrappers of the native operators `torch.ops.stadx.*`; importing this module registers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stadx import _C, reference

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
    "set_instruction_set",
    "weight_width",
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


def pack_weights(weight: Tensor, tile: int, channels: int) -> Tensor:
    """A convolution's weights as `dense_layer` and `dense_score` want them, transformed in float64.

    Args:
        weight: float32 [O, C, k, k].
        tile: 10 or 8 for Winograd's form on tiles of that side, G w Gᵀ; 0 for the direct form.
        channels: of the maps it will be applied to, at least C.

    Returns:
        float32 [⌈O / 64⌉, tile², 64 / w, channels, w], or for tile 0 [⌈O / 64⌉, 1, 64 / w, k² channels, w]; w depends
        on the instruction set (AVX-512: 64, AVX2: 16), and the result serves that one alone.

    Raises:
        RuntimeError: wrong shape, dtype or tile.
    """
    packed: Tensor = torch.ops.stadx.pack_weights(weight, tile, channels)
    return packed


def dense_layer(
    x: Tensor,
    weights: Tensor,
    bias: Tensor,
    *,
    kernel: int,
    tile: int,
    pool_shifts: int,
    step: int,
    offset: Sequence[int],
    size: Sequence[int],
    slope: float,
    image: Sequence[int] = (),
    out: Tensor | None = None,
) -> Tensor:
    """One convolution with bias and leaky ReLU, over all phases of an image.

    Args:
        x: maps float32 [phases, phases, rows, columns, channels]. Winograd reads zeros beyond their end. A value that
            is not finite spoils the whole of its tiles, and a pool may lose a NaN.
        weights, bias: from `pack_weights`; [O'], O' a multiple of 16.
        kernel, tile: of the convolution, and for which tile its weights are packed.
        pool_shifts: 0: as is. 1: through 2 x 2 max-pools of stride 2. 2: through these and those shifted by one
            pixel, which doubles the number of phases per axis: phase a + shift · phases.
        step: from window to window; not 1 only for tile 0.
        offset, size: where in the (pooled) input the first window begins, and how many outputs, per axis.
        slope: of the leaky ReLU, at most 1, which means none.
        image: if given (H, W), the phases are interleaved: pixel (a + phases · i, b + phases · j).
        out: where to write, of the shape below, contiguous, at a multiple of 64 bytes; by default a new tensor.

    Returns:
        float32 [phases', phases', *size, O'], or for an image [H, W, O'].

    Raises:
        RuntimeError: shapes, dtypes or settings do not fit together, or a direct window leaves the maps.
    """
    if out is None:
        phases = x.shape[0] * max(pool_shifts, 1)
        out = x.new_empty((*image, len(bias)) if image else (phases, phases, *size, len(bias)))
    torch.ops.stadx.dense_layer(x, weights, bias, kernel, tile, pool_shifts, step, offset, size, slope, image, out)
    return out


def dense_score(
    xs: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    mean: Tensor,
    std: Tensor,
    *,
    kernel: int,
    tile: int,
    pool_shifts: int,
    step: int,
    offset: Sequence[int],
    size: Sequence[int],
    slope: float,
    image: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """`ensemble_score` of the descriptors that `dense_layer` would give, without ever storing a map of them.

    Args:
        xs, weights, biases: of the last layer of the teacher, then of each student.
        mean, std: µ and σ [O'], padded with zeros and ones.
        kernel, tile, pool_shifts, step, offset, size, slope, image: as in `dense_layer`.

    Returns:
        e and v, float32 [H, W].

    Raises:
        RuntimeError: shapes, dtypes or settings do not fit together.
    """
    e, v = torch.ops.stadx.dense_score(
        xs, weights, biases, mean, std, kernel, tile, pool_shifts, step, offset, size, slope, image
    )
    return e, v


def _ensemble_score_fake(students: Tensor, teacher: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, height, width = teacher.shape
    e = teacher.new_empty((batch, height, width), dtype=torch.float32)
    return e, torch.empty_like(e)


def _label_regions_fake(mask: Tensor, connectivity: int = 8) -> tuple[Tensor, Tensor]:
    return mask.new_empty(mask.shape, dtype=torch.int32), mask.new_empty(mask.shape[:1], dtype=torch.int64)


def _defect_pixels_fake(
    maps: Sequence[Tensor], masks: Sequence[Tensor], connectivity: int = 8
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    pixels, regions = context.new_dynamic_size(), context.new_dynamic_size()
    first = maps[0]
    return (
        first.new_empty((pixels,)),
        first.new_empty((pixels,), dtype=torch.int32),
        first.new_empty((regions,), dtype=torch.int64),
        first.new_empty((regions,), dtype=torch.int64),
        first.new_empty((len(maps),), dtype=torch.int64),
    )


def _count_above_fake(scores: Sequence[Tensor], thresholds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    above = torch.empty_like(thresholds, dtype=torch.int64)
    return above, torch.empty_like(above), thresholds.new_empty((len(scores),), dtype=torch.int64)


def _distinct_scores_fake(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    values = scores.new_empty((torch.library.get_ctx().new_dynamic_size(),))
    return values, torch.empty_like(scores, dtype=torch.int32), torch.empty_like(values, dtype=torch.int64)


def _pack_weights_fake(weight: Tensor, tile: int, channels: int) -> Tensor:
    outputs, _, kernel, _ = weight.shape
    points, depth = (tile * tile, channels) if tile else (1, kernel * kernel * channels)
    width = _C.weight_width()
    return weight.new_empty((-(-outputs // 64), points, 64 // width, depth, width))


def _dense_layer_fake(
    input: Tensor,
    weights: Tensor,
    bias: Tensor,
    kernel: int,
    tile: int,
    pool_shifts: int,
    step: int,
    offset: Sequence[int],
    size: Sequence[int],
    slope: float,
    image: Sequence[int],
    out: Tensor,
) -> None: ...


def _dense_score_fake(
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    mean: Tensor,
    std: Tensor,
    kernel: int,
    tile: int,
    pool_shifts: int,
    step: int,
    offset: Sequence[int],
    size: Sequence[int],
    slope: float,
    image: Sequence[int],
) -> tuple[Tensor, Tensor]:
    return inputs[0].new_empty(tuple(image)), inputs[0].new_empty(tuple(image))


def _no_gradient(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError(
        "stadx.ops.ensemble_score is for scoring and has no gradient; "
        "use stadx.reference.ensemble_score to differentiate it"
    )


torch.library.register_fake("stadx::ensemble_score", _ensemble_score_fake)
torch.library.register_fake("stadx::label_regions", _label_regions_fake)
torch.library.register_fake("stadx::defect_pixels", _defect_pixels_fake)
torch.library.register_fake("stadx::count_above", _count_above_fake)
torch.library.register_fake("stadx::distinct_scores", _distinct_scores_fake)
torch.library.register_fake("stadx::pack_weights", _pack_weights_fake)
torch.library.register_fake("stadx::dense_layer", _dense_layer_fake)
torch.library.register_fake("stadx::dense_score", _dense_score_fake)
torch.library.register_autograd("stadx::ensemble_score", _no_gradient)

if not _C.build_info()["cuda_architectures"]:  # without CUDA kernels, plain PyTorch serves the GPU
    torch.library.impl("stadx::ensemble_score", "CUDA")(reference.ensemble_score)
    torch.library.impl("stadx::label_regions", "CUDA")(reference.label_regions)
    torch.library.impl("stadx::defect_pixels", "CUDA")(reference.defect_pixels)
    torch.library.impl("stadx::count_above", "CUDA")(reference.count_above)
    torch.library.impl("stadx::distinct_scores", "CUDA")(reference.distinct_scores)
