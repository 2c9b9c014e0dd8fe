"""What a batch of pretraining is made of: single patches, or grids of patches that share a crop, and P's targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stadx.core.errors import DataError
from stadx.networks.patch_network import PatchNetwork
from stadx.networks.winograd import run_layers

from .pretrained import PretrainedNetwork, patch_features


@dataclass(frozen=True)
class PatchGrid:
    """side x side patches of p x p pixels, `step` pixels apart, in a square crop; one patch in a crop of its own size
    if side is 1.

    Attributes:
        patch_size: p.
        side: patches along a side of the crop.
        step: pixels between two patches, a multiple of the network's stride.
    """

    patch_size: int
    side: int
    step: int

    @property
    def crop(self) -> int:
        """Side of the crop in pixels."""
        return self.patch_size + self.step * (self.side - 1)

    @property
    def patches(self) -> int:
        """Patches in a crop."""
        return self.side**2

    def crops(self, batch: int) -> int:
        """How many crops hold a batch of patches.

        Raises:
            DataError: if they are not filled.
        """
        if batch % self.patches:
            raise DataError(f"a batch of {batch} patches does not fill crops of {self.patches}; give a multiple")
        return batch // self.patches

    def describe(self, net: PatchNetwork, crops: Tensor) -> Tensor:
        """Descriptors [n · patches, d] of normalised crops [n, 3, crop, crop], row by row of each crop."""
        maps = run_layers(net.layers, crops)
        every = max(1, self.step // net.stride)
        return maps[:, :, ::every, ::every].permute(0, 2, 3, 1).flatten(0, 2)

    def cut(self, crops: Tensor) -> Tensor:
        """The patches [n · patches, 3, p, p] of crops [n, 3, crop, crop], in the order of `describe`."""
        p, step = self.patch_size, max(1, self.step)
        windows = crops.unfold(2, p, step).unfold(3, p, step)
        return windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)

    def targets(self, network: PretrainedNetwork, crops: Tensor, size: int) -> Tensor:
        """P's features [n · patches, dim] of crops [n, 3, crop, crop] in [0, 1].

        One patch in a crop: P's pooled feature. Several: P sees the whole crop, resized such that a patch has `size`
        pixels a side, and the target is its inner map, interpolated at the patch's centre.
        """
        if self.side == 1:
            return patch_features(network, crops, size)
        assert network.dense_features is not None
        maps = network.dense_features(_resized(crops, round(self.crop * size / self.patch_size)))
        centres = torch.arange(self.side, device=maps.device) * self.step + self.patch_size / 2
        centres = centres / self.crop * 2 - 1
        rows, columns = torch.meshgrid(centres, centres, indexing="ij")
        places = torch.stack([columns, rows], -1).expand(len(crops), -1, -1, -1)
        sampled = F.grid_sample(maps, places.to(maps.dtype), padding_mode="border", align_corners=False)
        return sampled.permute(0, 2, 3, 1).flatten(0, 2)


def patch_grid(net: PatchNetwork, dense: bool) -> PatchGrid:
    """One patch a crop, or, for dense distillation, 4 x 4 patches about a quarter of p apart."""
    if not dense:
        return PatchGrid(net.patch_size, 1, 0)
    return PatchGrid(net.patch_size, 4, net.patch_size // 4 // net.stride * net.stride)


def target_size(network: PretrainedNetwork, dense: bool) -> int:
    """Length of the target vectors.

    Raises:
        DataError: if P has no inner map for dense distillation.
    """
    if dense and network.dense_features is None:
        raise DataError(
            f'{network.name}: has no inner map, which targets = "dense" needs; take efficientnet-lite0, or "pooled"'
        )
    return network.dense_dim if dense else network.dim


def _resized(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
