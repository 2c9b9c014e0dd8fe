"""Shapes of what the operators return, for `torch.compile`, export and the meta device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stadx import _C


def _ensemble_score_fake(students: Tensor, teacher: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, height, width = teacher.shape
    e = teacher.new_empty((batch, height, width), dtype=torch.float32)
    return e, torch.empty_like(e)


def _label_regions_fake(mask: Tensor, connectivity: int = 8) -> tuple[Tensor, Tensor]:
    return mask.new_empty(mask.shape, dtype=torch.int32), mask.new_empty(mask.shape[:1], dtype=torch.int64)


def _label_regions_out_fake(mask: Tensor, connectivity: int, labels: Tensor) -> Tensor:
    if labels.device != mask.device:
        raise RuntimeError("label_regions: out must be on the mask's device")
    return mask.new_empty(mask.shape[:1], dtype=torch.int64)


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


def _dense_layer_fake(*arguments: object) -> None:
    """Returns nothing: it writes into its last argument."""


def _dense_score_fake(inputs: Sequence[Tensor], *others: Any) -> tuple[Tensor, Tensor]:
    height, width = others[-1]
    return inputs[0].new_empty((height, width)), inputs[0].new_empty((height, width))


def _new_matrices(like: Tensor, count: int, rows: int, columns: int) -> Tensor:
    """Numbers lie between them, as in csrc/ops/matrices.h."""
    return like.new_empty((count, rows * columns + 16))[:, : rows * columns].view(count, rows, columns)


def _matrix_products_fake(left: Tensor, right: Tensor, left_transposed: bool, right_transposed: bool) -> Tensor:
    return _new_matrices(left, len(left), left.shape[2 - (not left_transposed)], right.shape[2 - right_transposed])


def _winograd_tiles_fake(map: Tensor, tile: int, kernel: int, output: bool) -> Tensor:
    apart, reach = tile - kernel + 1, 0 if output else kernel - 1
    images, height, width, channels = map.shape
    count = images * ((height - reach + apart - 1) // apart) * ((width - reach + apart - 1) // apart)
    return _new_matrices(map, tile * tile, count, channels)


def _winograd_map_fake(
    tiles: Tensor, bias: Tensor | None, images: int, height: int, width: int, tile: int, kernel: int, output: bool
) -> Tensor:
    return tiles.new_empty((images, height, width, tiles.shape[2]))


def _winograd_weights_fake(weights: Tensor, tile: int, kernel: int, transposed: bool) -> Tensor:
    if transposed:
        return weights.new_empty((weights.shape[1], kernel, kernel, weights.shape[2]))
    return _new_matrices(weights, tile * tile, len(weights), weights.shape[3])


def _phase_pool_fake(x: Tensor, bias: Tensor, slope: float, shifts: int) -> Tensor:
    batch, channels, height, width = x.shape
    sizes = [n if shifts == 0 else n // 2 if shifts == 1 else (n - 1) // 2 for n in (height, width)]
    return x.new_empty((4 * batch if shifts == 2 else batch, *sizes, channels)).permute(0, 3, 1, 2)


_phase_score_fake = _dense_layer_fake


def _score_cut_fake(scores: Sequence[Tensor], wanted: int) -> Tensor:
    return scores[0].new_empty((1,))


def _region_sums_fake(values: Tensor, at: Tensor, region: Tensor, regions: int) -> Tensor:
    return values.new_empty((regions,))


def register() -> None:
    """Tell PyTorch of all of them."""
    for name, function in globals().copy().items():
        if name.endswith("_fake"):
            torch.library.register_fake(f"stadx::{name[1:].removesuffix('_fake')}", function)
