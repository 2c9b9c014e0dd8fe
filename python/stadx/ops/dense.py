"""Typed wrappers of the operators for dense convolutions on a CPU; they are part of `stadx.ops`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stadx import _C as _C  # registers the operators


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


def winograd_tiles(x: Tensor, tile: int, kernel: int, *, output: bool = False) -> Tensor:
    """Maps as Winograd's tiles: what a convolution reads, Bᵀ d B, or the gradient of what it gives, A y Aᵀ.

    Args:
        x: float32 [N, H, W, C], contiguous, C a multiple of 16; taken as zero beyond its end.
        tile: n, 8 or 10, the pixels that a tile reads along each side; it gives m = n - kernel + 1.
        kernel: 2, 4 or 5.
        output: the map is of a convolution's outputs: tiles of m x m pixels. Else of n x n, m apart.

    Returns:
        float32 [n², tiles, C], the tiles image by image and row by row; between the n² matrices lie a few numbers.

    Raises:
        RuntimeError: shapes, dtypes or settings do not fit together.
    """
    tiles: Tensor = torch.ops.stadx.winograd_tiles(x, tile, kernel, output)
    return tiles


def matrix_products(
    left: Tensor, right: Tensor, *, left_transposed: bool = False, right_transposed: bool = False
) -> Tensor:
    """Products of n pairs of matrices, as `torch.bmm` without gradients; for those of Winograd's method faster.

    Args:
        left: float32 [n, R, K], or [n, K, R] of which the transpose is taken; each matrix contiguous.
        right: float32 [n, K, C], or [n, C, K]; C a multiple of 16.
        left_transposed, right_transposed: which of them.

    Returns:
        float32 [n, R, C]; between the n matrices lie a few numbers.

    Raises:
        RuntimeError: shapes, dtypes or layouts do not fit together.
    """
    products: Tensor = torch.ops.stadx.matrix_products(left, right, left_transposed, right_transposed)
    return products


def winograd_map(tiles: Tensor, size: Sequence[int], tile: int, kernel: int, *, bias: Tensor | None = None) -> Tensor:
    """Maps from Winograd's tiles: with a bias what a convolution gives, Aᵀ v A + bias, else, summed where tiles
    overlap, the gradient of what it reads, B v Bᵀ.

    Args:
        tiles: float32 [n², tiles, C] as from `winograd_tiles`.
        size: N, H and W of the map.
        tile, kernel: as in `winograd_tiles`.
        bias: float32 [C].

    Returns:
        float32 [N, H, W, C].

    Raises:
        RuntimeError: shapes, dtypes or settings do not fit together.
    """
    result: Tensor = torch.ops.stadx.winograd_map(tiles, bias, *size, tile, kernel, bias is not None)
    return result


def winograd_weights(weights: Tensor, tile: int, kernel: int, *, transposed: bool = False) -> Tensor:
    """A convolution's weights as Winograd's, G w Gᵀ, or the gradient's way back, Gᵀ u G.

    Args:
        weights: float32 [O, r, r, C], contiguous, C a multiple of 16; transposed [n², O, C], each matrix contiguous.
        tile: n, 8 or 10.
        kernel: r: 2, 4 or 5.
        transposed: the way back.

    Returns:
        float32 [n², O, C], between whose matrices lie a few numbers; transposed [O, r, r, C].

    Raises:
        RuntimeError: shapes, dtypes or settings do not fit together.
    """
    result: Tensor = torch.ops.stadx.winograd_weights(weights, tile, kernel, transposed)
    return result
