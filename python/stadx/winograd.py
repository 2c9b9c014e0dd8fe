"""Convolutions for training on a CPU: Winograd's method with gradients, in plain PyTorch.

A tile of n x n inputs gives m x m outputs of an r x r kernel, n = m + r - 1, with n² multiplications per pair of
channels instead of (m r)²: 100 instead of 900 for 5 x 5. Forward and backward are then n² matrix products each. The
transforms are those of the native engine (csrc/kernels/winograd.h); its operators score and have no gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# finite points by n; the last one is infinity. Chosen for small rounding errors, see csrc/kernels/winograd.h.
_POSITIVE = {8: (1 / 2, 1, 2), 10: (5 / 12, 4 / 5, 5 / 4, 12 / 5)}
_TILES = 800  # transformed at once: bounds the memory beside what the backward pass keeps
_OVERHEAD = 1.35  # of a multiplication here over one in PyTorch's convolution: copies between the products


def run_layers(net: nn.Sequential, x: Tensor) -> Tensor:
    """`net(x)` of a patch network's layers, to about 3e-5 of the result's norm, faster where gradients follow.

    Args:
        net: unpadded convolutions of stride 1, pools and activations.
        x: [N, C, H, W].

    Returns:
        What `net` returns; gradients flow to `x` and the weights, once.
    """
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            x = convolve(x, layer.weight, layer.bias)
        elif isinstance(layer, nn.LeakyReLU):
            x = F.leaky_relu(x, layer.negative_slope)  # not in place: x may be a view of what a convolution returned
        else:
            x = layer(x)
    return x


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.conv2d(x, weight, bias)`, by Winograd's method where that is less work; channels-last in memory.

    Args:
        x: [N, C, H, W]; weight: [O, C, r, r]; bias: [O]. Another dtype than float32, another device than the CPU or
            autocast: PyTorch's convolution. NaN and infinity spread over the tile that they are in.

    Returns:
        [N, O, H - r + 1, W - r + 1].
    """
    r = weight.shape[2]
    height, width = x.shape[2] - r + 1, x.shape[3] - r + 1
    sizes = len(x), height, width, weight.shape[0], weight.shape[1], r
    n = _tile_side(*sizes) if _serves(x, weight) else 0
    if n == 0:
        return F.conv2d(x, weight, bias)
    m = n - r + 1
    below, right = -height % m, -width % m
    rows = x.permute(0, 2, 3, 1)
    rows = F.pad(rows, (0, 0, 0, right, 0, below)) if below or right else rows.contiguous()
    y: Tensor = _Convolution.apply(rows, weight, bias, n)  # type: ignore[no-untyped-call]
    return y[:, :height, :width].permute(0, 3, 1, 2)


def _serves(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def _tile_side(batch: int, height: int, width: int, out: int, channels: int, r: int) -> int:
    """n with the fewest multiplications, those of the transforms counted; 0 where direct convolution has fewer."""
    best, side = float(batch * height * width * r * r * channels * out), 0
    for n in _POSITIVE:
        m = n - r + 1
        if m < 2 or height < 1 or width < 1:
            continue
        tiles = batch * -(-height // m) * -(-width // m)
        work = _OVERHEAD * n * n * (tiles * (channels * out + n * n * channels + m * m * out) + r * r * channels * out)
        if work < best:
            best, side = work, n
    return side


@lru_cache
def _transforms(n: int, r: int) -> tuple[Tensor, Tensor, Tensor]:
    """Aᵀ ⊗ Aᵀ [m², n²], G ⊗ G [n², r²] and Bᵀ ⊗ Bᵀ [n², n²] of y = Aᵀ (G g ∘ Bᵀ d), float32."""
    points = [0.0] + [sign * a for a in _POSITIVE[n] for sign in (1.0, -1.0)]
    m = n - r + 1
    a, g, b = np.zeros((m, n)), np.zeros((n, r)), np.zeros((n, n))
    for k, point in enumerate(points):
        others = [p for p in points if p != point]
        a[:, k] = point ** np.arange(m)
        g[k] = point ** np.arange(r) / np.prod([point - p for p in others])
        b[k, : n - 1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(points)[::-1]
    at, gg, bt = (torch.from_numpy(np.kron(t, t)).float() for t in (a, g, b))
    return at, gg, bt


def _pieces(batch: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Which images and which rows of tiles are transformed together."""
    images = max(1, _TILES // (rows * columns))
    step = rows if rows * columns <= _TILES else max(1, _TILES // columns)
    for first in range(0, batch, images):
        for top in range(0, rows, step):
            yield slice(first, min(first + images, batch)), slice(top, min(top + step, rows))


class _Convolution(torch.autograd.Function):
    """[N, t m + r - 1, u m + r - 1, C] -> [N, t m, u m, O], contiguous, t x u tiles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, n: int) -> Tensor:
        out, channels, r, _ = weight.shape
        m = n - r + 1
        a, g, b = _transforms(n, r)
        rows, columns = (x.shape[1] - r + 1) // m, (x.shape[2] - r + 1) // m
        u = (g @ weight.permute(2, 3, 1, 0).reshape(r * r, channels * out)).view(n * n, channels, out)
        y = torch.empty(len(x), rows, m, columns, m, out)
        kept: list[Tensor] = []
        for images, tiles in _pieces(len(x), rows, columns):
            d = _overlapping(x[images], n, m, tiles, columns)
            v = (b @ d.reshape(n * n, -1)).view(n * n, -1, channels)
            product = torch.bmm(v, u)
            part = y[images, tiles]
            result = (a @ product.view(n * n, -1)).view(m, m, *part.shape[:2], columns, out)
            torch.add(result.permute(2, 3, 0, 4, 1, 5), bias, out=part)
            if any(ctx.needs_input_grad):
                kept.append(v)
        ctx.save_for_backward(u, *kept)
        ctx.sizes = n, r, rows, columns
        return y.view(len(x), rows * m, columns * m, out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        u, *kept = ctx.saved_tensors
        n, r, rows, columns = ctx.sizes
        _, channels, out = u.shape
        m = n - r + 1
        a, g, b = _transforms(n, r)
        batch = len(grad)
        tiled = grad.reshape(batch, rows, m, columns, m, out)
        grad_u = torch.zeros_like(u)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.zeros(batch, rows * m + r - 1, columns * m + r - 1, channels)
        for v, (images, tiles) in zip(kept, _pieces(batch, rows, columns), strict=True):
            part = tiled[images, tiles]
            product = (a.T @ part.permute(2, 4, 0, 1, 3, 5).reshape(m * m, -1)).view(n * n, -1, out)
            grad_u.baddbmm_(v.transpose(1, 2), product)
            if grad_x is not None:
                d = (b.T @ torch.bmm(product, u.transpose(1, 2)).view(n * n, -1)).view(n, n, -1)
                _add_overlapping(grad_x[images], d, n, m, tiles, columns)
        grad_weight = (g.T @ grad_u.view(n * n, -1)).view(r, r, channels, out).permute(3, 2, 0, 1)
        return grad_x, grad_weight, grad.sum((0, 1, 2)), None


def _overlapping(x: Tensor, n: int, m: int, tiles: slice, columns: int) -> Tensor:
    """A view [n, n, N, rows, columns, C] of x [N, H, W, C]: tiles of n x n, m apart."""
    s = x.stride()
    size = (n, n, len(x), tiles.stop - tiles.start, columns, x.shape[3])
    return x.as_strided(size, (s[1], s[2], s[0], s[1] * m, s[2] * m, s[3]), x.storage_offset() + tiles.start * m * s[1])


def _add_overlapping(x: Tensor, d: Tensor, n: int, m: int, tiles: slice, columns: int) -> None:
    """Add tiles d [n, n, ...] to where `_overlapping` took them from; by parts of m x m, which do not overlap."""
    view = _overlapping(x, n, m, tiles, columns)
    d = d.view(view.shape)
    for i in range(0, n, m):
        for j in range(0, n, m):
            view[i : i + m, j : j + m] += d[i : i + m, j : j + m]
