"""Grids of patches in a crop are described and targeted as the patches alone are."""

from __future__ import annotations

import pytest
import torch
from pretrain_photos import P_NET
from small import random_teacher
from torch import Tensor

from stadx import DataError
from stadx.teachers.diagnostics import effective_rank
from stadx.teachers.distillation import PatchGrid, patch_grid, target_size
from stadx.teachers.pretrained import PretrainedNetwork, patch_features

pytestmark = pytest.mark.arithmetic


@pytest.mark.parametrize("p, step", [(17, 4), (33, 8), (65, 16)])
def test_a_grid_has_the_descriptors_of_its_patches(p: int, step: int) -> None:
    net = random_teacher(p)
    grid = patch_grid(net, dense=True)
    assert (grid.side, grid.step, grid.crop, grid.patches) == (4, step, p + 3 * step, 16)
    crops = torch.randn(1, 3, grid.crop, grid.crop, generator=torch.Generator().manual_seed(0))
    patches = grid.cut(crops)
    assert patches.shape == (16, 3, p, p)
    assert torch.equal(patches[6], crops[0, :, step : step + p, 2 * step : 2 * step + p])
    torch.testing.assert_close(grid.describe(net, crops), net(patches), rtol=1e-3, atol=1e-3)


def test_one_patch_to_a_crop() -> None:
    net = random_teacher(17)
    grid = patch_grid(net, dense=False)
    assert (grid.crop, grid.patches, grid.crops(10)) == (17, 1, 10)
    x = torch.rand(5, 3, 17, 17, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grid.describe(net, x), net(x), rtol=1e-3, atol=1e-3)
    assert torch.equal(grid.cut(x), x)
    assert torch.equal(grid.targets(P_NET, x, 20), patch_features(P_NET, x, 20))


def test_dense_targets_are_the_map_at_the_centres() -> None:
    seen: list[int] = []

    def positions(images: Tensor) -> Tensor:  # every 4th pixel's own place, in pixels of the resized crop
        seen.append(images.shape[-1])
        at = torch.arange(0, images.shape[-1], 4) + 2.0
        rows, columns = torch.meshgrid(at, at, indexing="ij")
        return torch.stack([rows, columns]).expand(len(images), -1, -1, -1)

    network = PretrainedNetwork("places", 1, "none", lambda x: x, positions, 2)
    grid = PatchGrid(17, 4, 4)  # crops of 29
    target = grid.targets(network, torch.zeros(2, 3, 29, 29), 34).view(2, 4, 4, 2)
    assert seen == [58]
    centres = torch.tensor([17.0, 25, 33, 41])  # (4 i + 17 / 2) · 2; the map covers 60 of 58 pixels
    torch.testing.assert_close(target[1, :, 0, 0], centres * 60 / 58)
    torch.testing.assert_close(target[0, 2, :, 1], centres * 60 / 58)


def test_networks_without_a_map() -> None:
    assert target_size(P_NET, dense=False) == 12
    with pytest.raises(DataError, match="mean-colours: has no inner map"):
        target_size(P_NET, dense=True)


def test_effective_rank() -> None:
    assert effective_rank(torch.full((5,), 0.2, dtype=torch.float64).numpy()) == pytest.approx(5)
    assert effective_rank(torch.tensor([1.0, 0, 0], dtype=torch.float64).numpy()) == 1
