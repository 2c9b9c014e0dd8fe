"""Patch networks at every stride-th pixel, as a graph of plain convolutions and pools of fixed size."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stadx.networks.border import Computed
from stadx.networks.padding import padded_positions
from stadx.networks.patch_network import SLOPE, PatchNetwork


class Window(nn.Module):
    """The part of normalised images [B, 3, H, W] that the computed pixels' patches cover, continued beyond the border.

    Args:
        net: the network, for its patch size and padding.
        size: height and width of the images.
        computed: the pixels.
        unit: how many of them a row is filled up to a multiple of, see `DenseNetwork.unit`.
    """

    def __init__(self, net: PatchNetwork, size: tuple[int, int], computed: Computed, unit: int) -> None:
        super().__init__()
        self._margin, self._padding = net.patch_size // 2, net.padding
        for name, span, length in zip(("row", "column"), computed, size, strict=True):
            last = span.begin + (span.count - 1) * span.stride
            index = padded_positions(span.begin, last + net.patch_size, length, self._margin, self._padding)
            filled = -span.count % unit * span.stride  # whatever is there: these pixels are dropped
            self.register_buffer(name, torch.cat([index, index[-1:].expand(filled)]))

    def forward(self, images: Tensor) -> Tensor:
        for dim, index in ((2, self.row), (3, self.column)):
            assert isinstance(index, Tensor)
            part = images.index_select(dim, index.clamp_min(0))
            images = part * (index >= 0).view(-1, *(1,) * (3 - dim)) if self._padding == "zeros" else part
        return images


class DenseNetwork(nn.Module):
    """A patch network at every stride-th pixel.

    Pools whose steps the stride leaves stay pools of step 2; each of the others becomes four, one per phase, laid on
    the batch axis. Beyond the pools' own stride the last convolution takes steps.

    Args:
        net: the network.
        stride: a power of two.
    """

    def __init__(self, net: PatchNetwork, stride: int) -> None:
        super().__init__()
        self.layers = net.layers
        self._patch = net.patch_size
        self._stride = stride
        self.phased = phased_pools(net, stride)
        kernels = [layer.kernel_size[0] for layer in convolutions(net.layers)]
        self._last = max(i for i, kernel in enumerate(kernels) if kernel > 1)

    def forward(self, window: Tensor) -> Tensor:
        """Descriptors [4^phased · B, d, h, w] of a `Window`, the last pool's phases first."""
        height, width = ((n - self._patch) // self._stride + 1 for n in window.shape[2:])
        x, side, step, number = window, self._patch, self._stride, 0
        for layer in _activated_first(self.layers):
            if isinstance(layer, nn.Conv2d):
                kernel = layer.kernel_size[0]
                x = F.conv2d(x, layer.weight, layer.bias, stride=step if number == self._last else 1)
                side, number = side - kernel + 1, number + 1
            elif isinstance(layer, nn.MaxPool2d):
                side //= 2
                if step > 1:
                    x, step = F.max_pool2d(x, 2), step // 2
                    continue
                height, width = height // 2, width // 2
                rows, columns = 2 * (height + side - 1), 2 * (width + side - 1)
                parts = [x[:, :, a : a + rows, b : b + columns] for a in (0, 1) for b in (0, 1)]
                x = torch.cat([F.max_pool2d(part, 2) for part in parts])
            else:
                x = F.leaky_relu(x, SLOPE)
        return x


def phased_pools(net: PatchNetwork, stride: int) -> int:
    """How many of a network's pools need four phases each at this stride."""
    return (max(net.stride // stride, 1)).bit_length() - 1


def convolutions(layers: Iterable[nn.Module]) -> list[nn.Conv2d]:
    """The convolutions among layers."""
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]


def _activated_first(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """The layers with each pool after its activation, which runtimes fuse with the convolution: the same maxima."""
    ordered = list(layers)
    for i, layer in enumerate(ordered[:-1]):
        if isinstance(layer, nn.MaxPool2d):
            ordered[i : i + 2] = [ordered[i + 1], layer]
    return ordered
