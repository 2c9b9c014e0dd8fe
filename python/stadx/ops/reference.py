"""The plain-PyTorch reference of every operator: the definition that the native kernels are tested against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, fold, leaky_relu, max_pool2d, pad, unfold


def ensemble_score(students: Tensor, teacher: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Regression error e and predictive variance v of a student ensemble (Eqs. 9 and 10).

    Args and returns as `stadx.ops.ensemble_score`, any floating dtype: half precision is computed in float32.
    """
    if teacher.dtype in (torch.bfloat16, torch.float16):
        students, teacher = students.float(), teacher.float()
    mean, std = mean.to(teacher.dtype), std.to(teacher.dtype)
    target = (teacher - mean[:, None, None]) / std[:, None, None]  # [B, d, H, W]
    center = students.mean(dim=0)  # [B, d, H, W]
    error = (center - target).square().sum(dim=1)  # [B, H, W]
    variance = (students - center).square().sum(dim=2).mean(dim=0)  # [B, H, W]
    return error, variance


def label_regions(mask: Tensor, connectivity: int = 8) -> tuple[Tensor, Tensor]:
    """Connected regions of masks, numbered in raster order. Args and returns as `stadx.ops.label_regions`."""
    batch, height, width = mask.shape
    labels = torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
    counts = torch.zeros(batch, dtype=torch.int64, device=mask.device)
    if mask.numel() == 0:
        return labels, counts

    # Every pixel carries a number, falling in raster order; each region's highest one spreads until done.
    inside = mask != 0  # [B, H, W]
    first = torch.arange(height * width, 0, -1, device=mask.device, dtype=torch.float64)
    owner = first.reshape(1, height, width) * inside  # [B, H, W]; 0 outside
    while True:
        if connectivity == 8:
            spread = max_pool2d(owner, 3, stride=1, padding=1)
        else:
            spread = torch.maximum(
                max_pool2d(owner, (3, 1), stride=1, padding=(1, 0)),
                max_pool2d(owner, (1, 3), stride=1, padding=(0, 1)),
            )
        spread = spread * inside
        if torch.equal(spread, owner):
            break
        owner = spread

    for b in range(batch):
        owners = sorted(set(owner[b][inside[b]].tolist()), reverse=True)  # highest number = first in raster order
        for number, value in enumerate(owners, start=1):
            labels[b][owner[b] == value] = number
        counts[b] = len(owners)
    return labels, counts


def label_regions_out(mask: Tensor, connectivity: int, labels: Tensor) -> Tensor:
    """`label_regions` into given labels; returns the counts."""
    found, counts = label_regions(mask, connectivity)
    labels.copy_(found)
    return counts


def defect_pixels(
    maps: Sequence[Tensor], masks: Sequence[Tensor], connectivity: int = 8
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Scores and regions of all defect pixels of a set. Args and returns as `stadx.ops.defect_pixels`."""
    scores: list[Tensor] = []
    regions: list[Tensor] = []
    areas: list[int] = []
    firsts: list[int] = []
    counts: list[int] = []
    for scored, mask in zip(maps, masks, strict=True):
        labels, count = label_regions(mask[None], connectivity)
        inside = labels[0][labels[0] > 0]  # [n of the image], from 1
        flat = labels[0].flatten()
        firsts += [int((flat == k).nonzero()[0]) for k in range(1, int(count) + 1)]
        areas += [int((inside == k).sum()) for k in range(1, int(count) + 1)]
        scores.append(scored[labels[0] > 0])
        regions.append(inside - 1 + sum(counts))
        counts.append(int(count))

    def numbers(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=maps[0].device)

    return torch.cat(scores), torch.cat(regions).to(torch.int32), numbers(areas), numbers(firsts), numbers(counts)


def count_above(scores: Sequence[Tensor], thresholds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores above and equal to thresholds. Args and returns as `stadx.ops.count_above`."""
    nans = [x.isnan().sum() for x in scores]
    values = torch.cat([thresholds[:0], *(x.flatten() for x in scores)])
    values, thresholds = values[~values.isnan()].sort().values, thresholds.contiguous()
    not_above = torch.searchsorted(values, thresholds, right=True)
    below = torch.searchsorted(values, thresholds, right=False)
    counts = torch.stack(nans) if nans else thresholds.new_empty(0, dtype=torch.int64)
    return len(values) - not_above, not_above - below, counts


def distinct_scores(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct scores. Args and returns as `stadx.ops.distinct_scores`."""
    values, at, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    return values, at.to(torch.int32), counts


def phase_pool(x: Tensor, bias: Tensor, slope: float, shifts: int) -> Tensor:
    """Bias, leaky ReLU and pools. Args and returns as `stadx.ops.phase_pool`."""
    wide = x if x.dtype == torch.float64 else x.float()
    if shifts == 1:
        wide = max_pool2d(wide, 2)
    if shifts == 2:
        rows, columns = 2 * ((x.shape[2] - 1) // 2), 2 * ((x.shape[3] - 1) // 2)
        parts = [wide[:, :, a : a + rows, b : b + columns] for a in (0, 1) for b in (0, 1)]
        wide = torch.cat([max_pool2d(part, 2) for part in parts])  # [4 B, C, rows / 2, columns / 2]
    y = leaky_relu(wide + bias[:, None, None], slope).to(x.dtype)
    return y.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def phase_score(
    maps: Sequence[Tensor],
    bias: Tensor,
    mean: Tensor,
    std: Tensor,
    slope: float,
    pools: int,
    normalization: Sequence[float],
    weight: float,
    add: bool,
    out: Tensor,
) -> None:
    """The anomaly map of one scale. Args as `stadx.ops.phase_score`."""
    descriptors = []
    for x, b in zip(maps, bias, strict=True):
        y = leaky_relu((x if x.dtype == torch.float64 else x.float()) + b[:, None, None], slope)
        descriptors.append(interleave_phases(y, pools)[:, :, : out.shape[1], : out.shape[2]])  # [B, d, H, W]
    e, v = ensemble_score(torch.stack(descriptors[1:]), descriptors[0], mean, std)
    e_mean, e_std, v_mean, v_std = normalization
    score = weight * ((e - e_mean) / e_std + (v - v_mean) / v_std)
    out.copy_(out + score if add else score)


def interleave_phases(x: Tensor, pools: int) -> Tensor:
    """Phases [4^pools B, d, h, w], last pool first, as maps [B, d, 2^pools h, 2^pools w]."""
    n = 2 * pools
    batch, channels, height, width = x.shape[0] >> n, *x.shape[1:]
    # batch axis: (a_n, b_n, …, a_1, b_1, image); pixel row: a_1 + 2 (a_2 + 2 (… + 2 i))
    x = x.reshape(*(2,) * n, batch, channels, height, width)
    x = x.permute(n, n + 1, n + 2, *range(0, n, 2), n + 3, *range(1, n, 2))
    return x.reshape(batch, channels, height << pools, width << pools)


def score_cut(scores: Sequence[Tensor], wanted: int) -> Tensor:
    """A score that enough others reach. Args and returns as `stadx.ops.score_cut`."""
    values = torch.cat([x.flatten() for x in scores])
    values = values[~values.isnan()]
    if wanted <= 0 or wanted > len(values):
        return values.new_full((1,), float("inf") if wanted <= 0 else float("-inf"))
    return values.topk(wanted).values[-1:].clone()


def region_sums(values: Tensor, at: Tensor, region: Tensor, regions: int) -> Tensor:
    """Sums by region. Args and returns as `stadx.ops.region_sums`."""
    return values.new_zeros(regions).index_add_(0, region, values[at])


def dense_layer(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    pool_shifts: int,
    step: int,
    offset: tuple[int, int],
    size: tuple[int, int],
    slope: float,
    image: tuple[int, int] | None = None,
) -> Tensor:
    """One convolution over all phases: as `stadx.ops.dense_layer`, but with plain weights.

    Args:
        x: maps [P, P, rows, columns, C], any floating dtype.
        weight, bias: [O, C, k, k], [O].
        pool_shifts, step, offset, size, slope, image: as there.

    Returns:
        [P', P', *size, O], or for an image [H, W, O].
    """
    phases, _, rows, columns, channels = x.shape
    maps = x.permute(0, 1, 4, 2, 3)  # [P, P, C, rows, columns]
    if pool_shifts:
        rows, columns = (rows - 1) // 2, (columns - 1) // 2
        shifts = [(a, b) for a in range(pool_shifts) for b in range(pool_shifts)]
        parts = [maps[..., a : a + 2 * rows, b : b + 2 * columns].flatten(0, 1) for a, b in shifts]
        pooled = torch.stack([max_pool2d(part, 2) for part in parts])  # [shifts², P², C, rows, columns]
        pooled = pooled.reshape(pool_shifts, pool_shifts, phases, phases, channels, rows, columns)
        phases *= pool_shifts  # shift and old phase together number the new phases
        maps = pooled.transpose(1, 2).reshape(phases, phases, channels, rows, columns)
    ends = [o + (n - 1) * step + weight.shape[2] for o, n in zip(offset, size, strict=True)]
    maps = pad(maps, (0, max(ends[1] - columns, 0), 0, max(ends[0] - rows, 0)))  # zeros beyond the end
    windows = maps[..., offset[0] : ends[0], offset[1] : ends[1]].flatten(0, 1)
    y = conv2d(windows, weight, bias, stride=step)  # [P'², O, *size]
    y = leaky_relu(y, slope).reshape(phases, phases, -1, *size).permute(0, 1, 3, 4, 2)
    if image is None:
        return y
    interleaved = y.permute(2, 0, 3, 1, 4).reshape(size[0] * phases, size[1] * phases, -1)
    return interleaved[: image[0], : image[1]]


def dense_score(
    xs: list[Tensor],
    weights: list[Tensor],
    biases: list[Tensor],
    mean: Tensor,
    std: Tensor,
    **layer: Any,
) -> tuple[Tensor, Tensor]:
    """As `stadx.ops.dense_score`, with plain weights: `dense_layer` of every network, then `ensemble_score`.

    Args:
        xs, weights, biases, mean, std: as there.
        layer: the keywords of `dense_layer`, `image` among them.
    """
    descriptors = [
        dense_layer(x, w, b, **layer).permute(2, 0, 1)[None] for x, w, b in zip(xs, weights, biases, strict=True)
    ]
    e, v = ensemble_score(torch.stack(descriptors[1:]), descriptors[0], mean, std)
    return e[0], v[0]


WINOGRAD_POINTS = {8: (1 / 2, 1.0, 2.0), 10: (5 / 12, 4 / 5, 5 / 4, 12 / 5)}  # and their negatives, 0 and infinity


def winograd_matrices(tile: int, kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bᵀ [n, n], G [n, k] and Aᵀ [m, n] in float64 for n = tile points and m = n − k + 1 outputs (Cook and Toom).

    y = Aᵀ (G g ∘ Bᵀ d) gives y_i = Σ_j d_{i+j} g_j.
    """
    points = [0.0, *(sign * a for a in WINOGRAD_POINTS[tile] for sign in (1, -1))]
    outputs = tile - kernel + 1
    bt, g, at = torch.zeros(tile, tile), torch.zeros(tile, kernel), torch.zeros(outputs, tile)
    bt, g, at = bt.double(), g.double(), at.double()
    for k, point in enumerate([*points, None]):
        others = [p for p in points if p != point]
        row = torch.ones(1, dtype=torch.float64)  # coefficients of Π (x − p), lowest power first
        for p in others:
            row = pad(row, (1, 0)) - p * pad(row, (0, 1))
        bt[k, : len(row)] = row
        if point is None:  # infinity: the highest powers
            g[k, -1] = at[-1, k] = 1
        else:
            divisor = torch.tensor([point - p for p in others], dtype=torch.float64).prod()
            g[k] = torch.tensor([point**j for j in range(kernel)], dtype=torch.float64) / divisor
            at[:, k] = torch.tensor([point**i for i in range(outputs)], dtype=torch.float64)
    return bt, g, at


def winograd_tiles(x: Tensor, tile: int, kernel: int, *, output: bool = False) -> Tensor:
    """As `stadx.ops.winograd_tiles`, in the dtype of `x`, any kernel below `tile`."""
    bt, _, at = (matrix.to(x.dtype) for matrix in winograd_matrices(tile, kernel))
    apart = tile - kernel + 1
    side, transform = (apart, at.T) if output else (tile, bt)
    maps = x.permute(0, 3, 1, 2)
    below, right = (-(length - side) % apart for length in maps.shape[2:])
    windows = unfold(pad(maps, (0, right, 0, below)), side, stride=apart)  # [N, C side², tiles of an image]
    windows = windows.view(len(x), -1, side, side, windows.shape[2])
    tiles = torch.einsum("ki, lj, ncijt -> klntc", transform, transform, windows)
    return tiles.reshape(tile * tile, -1, x.shape[3])


def winograd_map(tiles: Tensor, size: Sequence[int], tile: int, kernel: int, *, bias: Tensor | None = None) -> Tensor:
    """As `stadx.ops.winograd_map`, in the dtype of `tiles`, any kernel below `tile`."""
    bt, _, at = (matrix.to(tiles.dtype) for matrix in winograd_matrices(tile, kernel))
    apart = tile - kernel + 1
    side, transform = (tile, bt.T) if bias is None else (apart, at)
    images, height, width = size
    whole = height + -(height - side) % apart, width + -(width - side) % apart
    values = tiles.reshape(tile, tile, images, -1, tiles.shape[2])
    windows = torch.einsum("ik, jl, klntc -> ncijt", transform, transform, values).flatten(1, 3)
    maps = fold(windows, whole, side, stride=apart)[:, :, :height, :width].permute(0, 2, 3, 1)
    return maps if bias is None else maps + bias


def matrix_products(left: Tensor, right: Tensor, left_transposed: bool, right_transposed: bool) -> Tensor:
    """As `stadx.ops.matrix_products`, in any dtype."""
    return torch.bmm(left.mT if left_transposed else left, right.mT if right_transposed else right)


def winograd_weights(weights: Tensor, tile: int, kernel: int, transposed: bool) -> Tensor:
    """As `stadx.ops.winograd_weights`, in the dtype of `weights`."""
    g = winograd_matrices(tile, kernel)[1].to(weights.dtype)
    if transposed:
        return torch.einsum("ki, lj, kloc -> oijc", g, g, weights.reshape(tile, tile, *weights.shape[1:]))
    return torch.einsum("ki, lj, oijc -> kloc", g, g, weights).flatten(0, 1)
