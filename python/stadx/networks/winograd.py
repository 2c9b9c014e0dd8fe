"""Convolutions for training on a CPU: Winograd's method with gradients.

A tile of n x n inputs gives m x m outputs of an r x r kernel, n = m + r - 1, with n² multiplications per pair of
channels instead of (m r)²: 100 instead of 900 for 5 x 5. Forward and backward are then n² matrix products each
between transforms, both native (csrc/cpu/winograd.h). The engine that scores has no gradients.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stadx import ops
from stadx.ops.reference import WINOGRAD_POINTS

from .patch_network import PatchNetwork

_KERNELS, _CHANNELS = (2, 4, 5), 16  # that the transforms serve; multiples of so many channels
# In multiplications of PyTorch's convolution: one here; and, in tiles, what passing over the weights' transform costs
_OVERHEAD, _WEIGHTS = 1.3, 40


def run_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """`x` through a patch network's layers, to about 3e-5 of the result's norm, faster where gradients follow.

    Args:
        layers: unpadded convolutions of stride 1, pools and activations.
        x: [N, C, H, W].

    Returns:
        What the last of them returns; gradients flow to `x` and the weights, once.
    """
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            x = convolve(x, layer.weight, layer.bias)
        elif isinstance(layer, nn.LeakyReLU):
            x = F.leaky_relu(x, layer.negative_slope)  # not in place: x may be a view of what a convolution returned
        else:
            x = layer(x)
    return x


def training_grid(net: PatchNetwork, x: Tensor, stride: int) -> Tensor:
    """Descriptors of every stride-th pixel of images that are padded already, as `PatchNetwork.grid`.

    Args:
        net: a patch network.
        x: [B, 3, p + net.stride * (h - 1), p + net.stride * (w - 1)] or up to that much larger.
        stride: `net.stride`, or half of it: then the last pool is taken in its four phases, and x is half a stride
            larger on each side.

    Returns:
        [B, d, h, w], for half the stride [B, d, 2 h, 2 w].
    """
    layers = list(net.layers)
    if stride == net.stride:
        return run_layers(layers, x)
    last = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d))
    pooled = F.max_pool2d(run_layers(layers[:last], x), 2, stride=1)
    rows, columns = (n // 2 * 2 for n in pooled.shape[2:])
    phases = [pooled[:, :, a:rows:2, b:columns:2] for a in (0, 1) for b in (0, 1)]
    y = run_layers(layers[last + 1 :], torch.cat(phases))
    y = y.view(2, 2, len(x), *y.shape[1:]).permute(2, 3, 4, 0, 5, 1)  # [B, d, h, 2, w, 2]
    return y.flatten(4).flatten(2, 3)


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.conv2d(x, weight, bias)`, by Winograd's method where that is less work; channels-last in memory.

    Args:
        x: [N, C, H, W]; weight: [O, C, r, r]; bias: [O]. Other kernels than 2, 4 and 5, channels that are no multiples
            of 16, another dtype than float32, another device than the CPU, autocast: PyTorch's convolution. NaN and
            infinity spread over the tile that they are in.

    Returns:
        [N, O, H - r + 1, W - r + 1].
    """
    n = _tile_side(x.shape, weight.shape) if _serves(x, weight) else 0
    if n == 0:
        return F.conv2d(x, weight, bias)
    y: Tensor = _Convolution.apply(x.permute(0, 2, 3, 1).contiguous(), weight, bias, n)  # type: ignore[no-untyped-call]
    return y.permute(0, 3, 1, 2)


def _serves(x: Tensor, weight: Tensor) -> bool:
    out, channels, r, _ = weight.shape
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and min(x.shape[2:]) >= r
        and r in _KERNELS
        and channels % _CHANNELS == out % _CHANNELS == 0
        and not torch.is_autocast_enabled("cpu")
    )


def _tile_side(shape: torch.Size, weight: torch.Size) -> int:
    """n that takes the least time; 0 where direct convolution does."""
    r = weight[2]
    height, width = shape[2] - r + 1, shape[3] - r + 1
    best, side = float(shape[0] * height * width * r * r), 0
    for n in WINOGRAD_POINTS:
        m = n - r + 1
        tiles = shape[0] * -(-height // m) * -(-width // m)
        work = _OVERHEAD * n * n * (tiles + _WEIGHTS)
        if work < best:
            best, side = work, n
    return side


class _Convolution(torch.autograd.Function):
    """[N, H, W, C] -> [N, H - r + 1, W - r + 1, O], contiguous."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, n: int) -> Tensor:
        r = weight.shape[2]
        u = ops.winograd_weights(weight.permute(0, 2, 3, 1).contiguous(), n, r)
        ctx.save_for_backward(x, u)
        ctx.sizes = n, r
        size = len(x), x.shape[1] - r + 1, x.shape[2] - r + 1
        products = ops.matrix_products(ops.winograd_tiles(x, n, r), u, right_transposed=True)
        return ops.winograd_map(products, size, n, r, bias=bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor, None]:
        x, u = ctx.saved_tensors
        n, r = ctx.sizes
        grad = grad.contiguous()
        tiles = ops.winograd_tiles(grad, n, r, output=True)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = ops.winograd_map(ops.matrix_products(tiles, u), x.shape[:3], n, r)
        if ctx.needs_input_grad[1]:
            # the inputs' tiles anew: they are nearly three times as large as x, and cost little
            grad_u = ops.matrix_products(tiles, ops.winograd_tiles(x, n, r), left_transposed=True)
            grad_weight = ops.winograd_weights(grad_u, n, r, transposed=True).permute(0, 3, 1, 2)
        return grad_x, grad_weight, grad.sum((0, 1, 2)), None
