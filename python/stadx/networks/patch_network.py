"""Patch networks, and their dense form in plain PyTorch: one descriptor for every pixel of an image of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stadx.core.torch_state import drawn_apart

from .choices import PATCH_SIZES, Padding

Network = TypeVar("Network", bound=nn.Module)

SLOPE = 5e-3  # of every LeakyReLU
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# (kernel, output channels, pooled afterwards); "c3" stands for `conv3_channels`, "d" for `descriptor_size`
_LAYERS: dict[int, tuple[tuple[int, int | str, bool], ...]] = {
    17: ((6, 128, False), (5, 256, False), (5, 256, False), (4, "d", False)),
    33: ((5, 128, True), (5, 256, True), (2, 256, False), (4, "d", False)),
    65: ((5, 128, True), (5, 128, True), (5, "c3", True), (4, 256, False), (1, "d", False)),
}


class PatchNetwork(nn.Module):
    """The network of teacher and student: an RGB patch in, its descriptor out.

    Only unpadded convolutions, 2x2 max-pools (floor) and LeakyReLU(0.005), so that `dense_features` can evaluate
    it at every pixel (Bergmann et al. 2020, Tables 4 and 5).

    Args:
        patch_size: side p of the receptive field in pixels: 17, 33 or 65.
        descriptor_size: d, the length of a descriptor.
        conv3_channels: channels of the third convolution of p = 65 (the paper prints both 128 and 256).
        last_activation: LeakyReLU after the last convolution too; by default descriptors are linear.
        padding: how `dense_features` continues the image beyond its border.

    Raises:
        ValueError: for another patch size or padding.
    """

    def __init__(
        self,
        patch_size: int,
        *,
        descriptor_size: int = 128,
        conv3_channels: int = 128,
        last_activation: bool = False,
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        if patch_size not in PATCH_SIZES:
            raise ValueError(f"patch_size is {patch_size!r}; the method has networks for {PATCH_SIZES}")
        if padding not in get_args(Padding):
            raise ValueError(f"padding is {padding!r}; choose one of {get_args(Padding)}")
        self.patch_size = patch_size
        self.descriptor_size = descriptor_size
        self.conv3_channels = conv3_channels
        self.last_activation = last_activation
        self.padding: Padding = padding
        layers: list[nn.Module] = []
        channels = 3
        named = {"c3": conv3_channels, "d": descriptor_size}
        for kernel, out, pooled in _LAYERS[patch_size]:
            width = named[out] if isinstance(out, str) else out
            layers.append(nn.Conv2d(channels, width, kernel))
            channels = width
            if pooled:  # before the activation: it is increasing, so the maximum is the same and there is less of it
                layers.append(nn.MaxPool2d(2))
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        if not last_activation:
            layers.pop()
        self.layers = nn.Sequential(*layers)

    @property
    def settings(self) -> dict[str, int | bool | str]:
        """The constructor's arguments, as stored in a model file."""
        return {
            "patch_size": self.patch_size,
            "descriptor_size": self.descriptor_size,
            "conv3_channels": self.conv3_channels,
            "last_activation": self.last_activation,
            "padding": self.padding,
        }

    @property
    def stride(self) -> int:
        """Side of the pooling grid in pixels: 1, 4 or 8 for p = 17, 33, 65; it has stride**2 phases."""
        return int(2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in self.layers))

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors [N, d] of normalised patches [N, 3, p, p]."""
        p = self.patch_size
        if patches.ndim != 4 or tuple(patches.shape[1:]) != (3, p, p):
            raise ValueError(f"patches have shape {list(patches.shape)}, expected [N, 3, {p}, {p}]")
        descriptors: Tensor = self.layers(patches)
        return descriptors.flatten(1)

    def grid(self, padded: Tensor) -> Tensor:
        """Descriptors [B, d, h, w] of every stride-th pixel of an image that is padded already.

        Position (i, j) is the patch whose upper left corner is pixel (stride * i, stride * j) of `padded`, which is
        [B, 3, p + stride * (h - 1), p + stride * (w - 1)]; `phase` cuts such a part out.
        """
        descriptors: Tensor = self.layers(padded)
        return descriptors

    def phase(self, padded: Tensor, row: int, column: int) -> Tensor:
        """The part of a padded image [B, 3, H + p - 1, W + p - 1] that `grid` needs for the pixels
        (row + stride * i, column + stride * j) of the image."""
        p, s = self.patch_size, self.stride
        height, width = padded.shape[2] - p + 1, padded.shape[3] - p + 1
        bottom, right = row + (height - row - 1) // s * s + p, column + (width - column - 1) // s * s + p
        return padded[:, :, row:bottom, column:right]

    @torch.no_grad()
    def init_from_data(self, patches: Tensor, generator: torch.Generator | None = None) -> None:
        """Draw new weights such that every channel of every convolution has mean 0 and variance 1 on `patches`.

        With PyTorch's default initialisation the descriptors shrink to a standard deviation of about 0.02 and
        training stalls (data-dependent initialisation: Mishkin and Matas 2016, Krähenbühl et al. 2016).

        Args:
            patches: normalised patches [N, 3, p, p], N >= 32 or so.
            generator: source of the random weights.
        """
        x = patches
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                weight = torch.randn(layer.weight.shape, generator=generator)
                layer.weight.copy_(weight / layer.weight[0].numel() ** 0.5)
                assert layer.bias is not None
                layer.bias.zero_()
                y = layer(x)
                std, mean = torch.std_mean(y, dim=(0, 2, 3), correction=0)
                scale = 1 / std.clamp_min(1e-6)
                layer.weight.mul_(scale[:, None, None, None])
                layer.bias.copy_(-mean * scale)
                x = (y - mean[:, None, None]) * scale[:, None, None]
            else:
                x = layer(x)


def loaded_network(make: Callable[[], Network], weights: Mapping[str, Tensor]) -> Network:
    """The network that `make` builds, with these weights and frozen; random numbers of others stay as they are.

    Raises:
        RuntimeError: if they are not the weights of such a network.
    """
    with drawn_apart():  # initial weights are drawn in vain
        network = make()
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def channels_last(network: nn.Module) -> None:
    """Lay out the weights as PyTorch's fastest convolutions on a CPU want them."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def normalize_images(images: Tensor) -> Tensor:
    """RGB images [B, 3, H, W], uint8 or floating in [0, 1], as the networks want them: ImageNet mean and deviation.

    Returns float32 (float64 for float64 input) of the same shape.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images have shape {list(images.shape)}, expected [B, 3, H, W]")
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    x = images.to(dtype)
    if images.dtype == torch.uint8:
        x = x / 255
    elif not images.dtype.is_floating_point:
        raise ValueError(f"images are {images.dtype}, expected uint8 or floating point in [0, 1]")
    mean = torch.tensor(IMAGENET_MEAN, dtype=dtype, device=x.device)[:, None, None]
    std = torch.tensor(IMAGENET_STD, dtype=dtype, device=x.device)[:, None, None]
    return (x - mean) / std


def split_phases(layers: nn.Sequential, x: Tensor, p: int, height: int, width: int) -> tuple[Tensor, int, int, int]:
    """All layers on padded images, a pool as four pools whose phases lie on the batch axis, the last pool's first.

    Args:
        layers: of a network whose receptive field is p x p pixels.
        x: [B, C, height + p - 1, width + p - 1], whole multiples of the network's stride high and wide.

    Returns:
        Maps [4^pools · B, d, h, w], how many pools there were, and the positions h and w of each phase.
    """
    side, h, w, pools = p, height, width, 0  # of the map of one single patch; positions per phase
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            side, h, w, pools = side // 2, h // 2, w // 2, pools + 1
            rows, columns = 2 * (h + side - 1), 2 * (w + side - 1)
            pooled = F.max_pool2d(x, 2, stride=1)
            x = torch.cat([pooled[:, :, a : a + rows - 1 : 2, b : b + columns - 1 : 2] for a in (0, 1) for b in (0, 1)])
        else:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                side -= layer.kernel_size[0] - 1
    return x, pools, h, w


def dense_features_padded(net: PatchNetwork, padded: Tensor) -> Tensor:
    """Descriptors of images that are padded already, in plain PyTorch: [B, 3, H + p - 1, W + p - 1] -> [B, d, H, W].

    Equal to cropping every patch and calling `net` on it, at 1/59 of the multiplications for p = 33: each pooling
    becomes four pools, one per phase, laid on the batch axis (Bailer et al. 2017). Channels-last in memory.
    """
    batch, _, height, width = padded.shape
    side = net.patch_size
    height, width = height - side + 1, width - side + 1
    grid_h, grid_w = -(-height // net.stride) * net.stride, -(-width // net.stride) * net.stride
    x = F.pad(padded, (0, grid_w - width, 0, grid_h - height))  # every phase gets equally many positions
    x = x.contiguous(memory_format=torch.channels_last)
    x, pools, h, w = split_phases(net.layers, x, side, grid_h, grid_w)
    # batch axis: (a_n, b_n, …, a_1, b_1, image); pixel row: a_1 + 2 (a_2 + 2 (… + 2 i)). Channels stay innermost.
    n = 2 * pools
    channels = x.shape[1]
    x = x.reshape(*(2,) * n, batch, channels, h, w)
    x = x.permute(n, n + 2, *range(0, n, 2), n + 3, *range(1, n, 2), n + 1)
    return x.reshape(batch, grid_h, grid_w, channels)[:, :height, :width].permute(0, 3, 1, 2)
