"""Dense descriptors in plain PyTorch, five ways, and what they cost. Nothing here uses stadx, so a change there shows.

Each takes the layers of a patch network (unpadded convolutions, 2 x 2 max-pools, activations), its patch size p and
normalised images [B, 3, H, W] of at least one pixel, and returns [B, d, H, W]: at every pixel what the layers make of
the patch around it. At the border the image is reflected.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stadx.networks.patch_network import split_phases

Peer = Callable[[nn.Sequential, int, Tensor], Tensor]


def reflect(images: Tensor, margin: int) -> Tensor:
    """Continue images by `margin` pixels on each side, bouncing as often as it takes."""
    for dim in (-2, -1):
        size = images.shape[dim]
        index = torch.arange(-margin, size + margin).remainder(max(2 * (size - 1), 1))
        images = images.index_select(dim, torch.minimum(index, 2 * (size - 1) - index))
    return images


def crops(images: Tensor, p: int, count: int | None = None) -> Tensor:
    """The patches [B * count, 3, p, p] around the first `count` pixels of each image in raster order; None: all."""
    windows = reflect(images, p // 2).unfold(2, p, 1).unfold(3, p, 1)  # [B, 3, H, W, p, p]
    index = torch.arange(images.shape[2] * images.shape[3] if count is None else count)
    rows, columns = index // images.shape[3], index % images.shape[3]
    patches = windows[:, :, rows, columns].transpose(1, 2).flatten(0, 1)
    return patches.contiguous(memory_format=torch.channels_last)


def patch_by_patch(layers: nn.Sequential, p: int, images: Tensor, count: int | None = None) -> Tensor:
    """(a) Every patch on its own, all in one batch: [B, d, n] at the first `count` pixels, or at all of them."""
    descriptors: Tensor = layers(crops(images, p, count)).flatten(1)  # [B * n, d]
    return descriptors.reshape(images.shape[0], -1, descriptors.shape[1]).transpose(1, 2)


def dilated(layers: nn.Sequential, p: int, images: Tensor) -> Tensor:
    """(b) Pools of stride 1; each doubles the dilation of all that follows. Channels-last: planar is slower."""
    height, width = images.shape[2:]
    x = reflect(images, p // 2).contiguous(memory_format=torch.channels_last)
    dilation = 1
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            x = F.max_pool2d(x, 2, stride=1, dilation=dilation)
            dilation *= 2
        elif isinstance(layer, nn.Conv2d):
            x = F.conv2d(x, layer.weight, layer.bias, dilation=dilation)
        else:
            x = layer(x)
    return x[:, :, :height, :width]  # a pool that drops a row of the patch leaves a row too many here


def phase_split_planar(layers: nn.Sequential, p: int, images: Tensor) -> Tensor:
    """(c) A pool becomes four pools, one per phase, stacked on the batch axis; NCHW throughout."""
    return _phase_split(layers, p, images, torch.contiguous_format)


def phase_split_channels_last(layers: nn.Sequential, p: int, images: Tensor) -> Tensor:
    """(d) The same, channels-last."""
    return _phase_split(layers, p, images, torch.channels_last)


def _phase_split(layers: nn.Sequential, p: int, images: Tensor, layout: torch.memory_format) -> Tensor:
    batch, _, height, width = images.shape
    stride = _stride(layers)
    grid_h, grid_w = -(-height // stride) * stride, -(-width // stride) * stride
    x = F.pad(reflect(images, p // 2), (0, grid_w - width, 0, grid_h - height)).contiguous(memory_format=layout)
    x, pools, h, w = split_phases(layers, x, p, grid_h, grid_w)
    n, channels = 2 * pools, x.shape[1]  # phase axes within the batch
    x = x.reshape(*(2,) * n, batch, channels, h, w)  # phases of the last pool first: row, column, row, column, …
    row_axes, column_axes = (n + 2, *range(0, n, 2)), (n + 3, *range(1, n, 2))
    if layout == torch.channels_last:
        x = x.permute(n, *row_axes, *column_axes, n + 1).reshape(batch, grid_h, grid_w, channels).permute(0, 3, 1, 2)
    else:
        x = x.permute(n, n + 1, *row_axes, *column_axes).reshape(batch, channels, grid_h, grid_w)
    return x[:, :, :height, :width]


def compiled(function: Callable[..., object]) -> Callable[..., object]:
    """(e) The function under torch.compile, at its best: with weights as constants Inductor packs them for oneDNN."""
    fast = torch.compile(function, dynamic=False)

    def run(*args: object) -> object:
        from torch._inductor import config  # here: where Inductor does not work, only this peer is lost

        with config.patch(freezing=True):  # given to torch.compile as an option it does not reach the packing
            return fast(*args)

    return run


# By the names in the tables: the function, and the layout of weights that suits it.
PEERS: dict[str, tuple[Peer, torch.memory_format]] = {
    "dilated convolutions": (dilated, torch.channels_last),
    "phase-split planar": (phase_split_planar, torch.contiguous_format),
    "phase-split channels-last": (phase_split_channels_last, torch.channels_last),
}


def laid_out(layers: nn.Sequential, layout: torch.memory_format) -> nn.Sequential:
    """A copy of the layers with their weights in a layout."""
    copied = copy.deepcopy(layers)
    copied.to(memory_format=layout)  # type: ignore[call-overload]
    return copied


def multiply_adds(layers: nn.Sequential, p: int, height: int, width: int) -> int:
    """Of the convolutions for one image in the phase-split form, at every pixel, without any padding to whole phases.

    After k pools an axis has 2**k phases; together they hold the pixels of the axis, and each side - 1 positions more,
    where `side` is the side of one patch's map.
    """
    side, phases, total = p, 1, 0
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            side, phases = side // 2, phases * 2
        elif isinstance(layer, nn.Conv2d):
            side -= layer.kernel_size[0] - 1
            extra = phases * (side - 1)
            total += (height + extra) * (width + extra) * layer.weight.numel()
    return total


def peak_bytes(layers: nn.Sequential, p: int, height: int, width: int, batch: int = 1) -> int:
    """About what a dense peer needs at most: a layer's input and output, each once more in another layout."""
    channels, largest = 3, 0
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            largest = max(largest, channels + layer.out_channels)
            channels = layer.out_channels
        elif isinstance(layer, nn.MaxPool2d):
            largest = max(largest, 2 * channels)
    return 2 * batch * largest * (height + p - 1) * (width + p - 1) * next(layers.parameters()).element_size()


def available_bytes() -> int:
    """Memory that can be had without swapping."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _stride(layers: nn.Sequential) -> int:
    return int(2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in layers))
