"""The dense form equals the patch network at every pixel; initialisation and padding do what they say."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from rounding import rounded
from torch import Tensor, nn

from stadx import PatchNetwork, dense_features, normalize_images
from stadx.networks.choices import PATCH_SIZES
from stadx.networks.padding import pad_images

pytestmark = pytest.mark.arithmetic


SIZES = [(1, 1), (7, 64), (65, 33), (128, 129)]
# Sums of up to 128 x 5 x 5 products in each of six layers, both ways.
LIMIT = {torch.float32: 2 * rounded(6 * 3200), torch.float64: 1e-9}


def make_network(p: int, dtype: torch.dtype, channels: int | None = None) -> PatchNetwork:
    """A network with unit-variance descriptors; `channels` replaces the widths, the geometry stays."""
    return copy.deepcopy(_made(p, channels)).to(dtype)


@cache
def _made(p: int, channels: int | None) -> PatchNetwork:
    generator = torch.Generator().manual_seed(p)
    net = PatchNetwork(p)
    if channels is not None:
        convolutions = [i for i, layer in enumerate(net.layers) if isinstance(layer, nn.Conv2d)]
        for i in convolutions:
            inputs = 3 if i == 0 else channels
            net.layers[i] = nn.Conv2d(inputs, channels, net.layers[i].kernel_size)
    net.init_from_data(torch.randn(64, 3, p, p, generator=generator), generator)
    return net.requires_grad_(False)


def patches_at(images: Tensor, p: int, rows: Tensor, columns: Tensor) -> Iterator[Tensor]:
    """The p x p crops [B * k, 3, p, p] of the padded images at the given pixels, a few hundred at a time."""
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (p // 2,) * 2, (p // 2,) * 2), mode="reflect")
    windows = torch.from_numpy(padded).unfold(2, p, 1).unfold(3, p, 1)  # [B, 3, H, W, p, p]
    for part in torch.arange(len(rows)).split(256):
        yield windows[:, :, rows[part], columns[part]].transpose(1, 2).flatten(0, 1)


def assert_dense_is_patchwise(net: PatchNetwork, images: Tensor, pixels: int | None = None) -> None:
    batch, _, height, width = images.shape
    dense = dense_features(net, images, method="direct")
    index = torch.arange(height * width)
    if pixels is not None:
        index = torch.randperm(height * width, generator=torch.Generator().manual_seed(1))[:pixels]
    rows, columns = index // width, index % width
    parts = [net(patches).unflatten(0, (batch, -1)) for patches in patches_at(images, net.patch_size, rows, columns)]
    expected = torch.cat(parts, dim=1)  # [B, k, d]
    found = dense[:, :, rows, columns].transpose(1, 2)
    assert dense.shape == (batch, expected.shape[2], height, width)
    scale = 1 + float(net.layers[-1].bias.abs().max())  # descriptors are what it leaves of sums as large as itself
    assert (found - expected).abs().max() <= LIMIT[images.dtype] * scale


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_dense_equals_patch(p: int, size: tuple[int, int]) -> None:
    # Four channels wide: every kernel, pool and phase as in the real network, at a fraction of the work. Up to 600
    # pixels: every pixel of the small images, every one of up to 64 phases of the large ones.
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_dense_is_patchwise(make_network(p, torch.float64, channels=4), images, pixels=600)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_dense_equals_patch_at_full_width(p: int, size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert_dense_is_patchwise(make_network(p, torch.float32), images, pixels=20)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_dense_equals_patch_at_full_width_and_every_pixel(p: int, size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert_dense_is_patchwise(make_network(p, torch.float32), images)


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_grid_gives_the_descriptors_of_its_phase(p: int) -> None:
    net = make_network(p, torch.float64, channels=4)
    images = torch.randn(2, 3, 21, 34, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dense = dense_features(net, images, method="direct")
    padded = pad_images(images, p // 2)
    for row, column in [(0, 0), (1 % net.stride, 2 % net.stride), (net.stride - 1, net.stride // 2)]:
        grid = net.grid(net.phase(padded, row, column))
        torch.testing.assert_close(grid, dense[:, :, row :: net.stride, column :: net.stride], rtol=0, atol=1e-12)


@pytest.mark.parametrize("p, multiplications", [(17, 3.0), (33, 1.62), (65, 1.40)])
def test_cost_per_pixel_is_the_stated_one(p: int, multiplications: float) -> None:
    total, pools = 0.0, 0
    for layer in PatchNetwork(p).layers:
        if isinstance(layer, nn.Conv2d):
            total += layer.weight.numel()  # the phases together are as many positions as the image has pixels
        pools += isinstance(layer, nn.MaxPool2d)
    assert total / 1e6 == pytest.approx(multiplications, abs=0.06)


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_default_is_linear_at_the_end_and_options_change_the_layers(p: int) -> None:
    assert isinstance(PatchNetwork(p).layers[-1], nn.Conv2d)
    assert isinstance(PatchNetwork(p, last_activation=True).layers[-1], nn.LeakyReLU)
    assert PatchNetwork(p, descriptor_size=16)(torch.zeros(2, 3, p, p)).shape == (2, 16)
    wide = [m.out_channels for m in PatchNetwork(p, conv3_channels=256).layers if isinstance(m, nn.Conv2d)]
    assert wide[2] == 256


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 2, 2, 7), (1, 1, 5, 3)], ids=str)
def test_reflection_is_numpys_for_any_size(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape)
    for margin in (0, 1, 8, 32):
        width = ((0, 0), (0, 0), (margin, margin), (margin, margin))
        for ours, numpys in (("reflect", "reflect"), ("replicate", "edge"), ("zeros", "constant")):
            expected = np.pad(images.numpy(), width, mode=numpys)  # type: ignore[call-overload]
            np.testing.assert_array_equal(pad_images(images, margin, ours).numpy(), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_initialisation_gives_unit_variance(p: int) -> None:
    patches = torch.rand(128, 3, p, p, generator=torch.Generator().manual_seed(0))
    plain, net = PatchNetwork(p), PatchNetwork(p)
    net.init_from_data(patches, torch.Generator().manual_seed(1))
    with torch.no_grad():
        descriptors = net(patches)
        assert plain(patches).std() < 0.1  # why it is needed
    torch.testing.assert_close(descriptors.mean(0), torch.zeros(128), atol=1e-3, rtol=0)
    torch.testing.assert_close(descriptors.std(0, correction=0), torch.ones(128), atol=1e-3, rtol=0)


def test_empty_batch() -> None:
    assert dense_features(PatchNetwork(17), torch.zeros(0, 3, 5, 6)).shape == (0, 128, 5, 6)


def test_gradients_reach_the_weights_through_the_dense_form() -> None:
    net = make_network(33, torch.float32, channels=4).requires_grad_(True)
    dense_features(net, torch.randn(1, 3, 9, 10)).square().sum().backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in net.parameters())


def test_normalisation() -> None:
    levels = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalize_images(levels)[0, :, 0, 0], expected)
    torch.testing.assert_close(normalize_images(torch.ones(1, 3, 2, 2)), normalize_images(levels))
    assert normalize_images(torch.ones(1, 3, 2, 2, dtype=torch.float64)).dtype == torch.float64


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="patch_size is 31"):
        PatchNetwork(31)
    with pytest.raises(ValueError, match="padding is 'wrap'"):
        PatchNetwork(33, padding="wrap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected \[N, 3, 33, 33\]"):
        PatchNetwork(33)(torch.zeros(1, 3, 32, 33))
    for shape in ((1, 1, 4, 4), (3, 4, 4), (1, 3, 0, 4)):
        with pytest.raises(ValueError, match="expected"):
            dense_features(PatchNetwork(17), torch.zeros(shape))
    with pytest.raises(ValueError, match="expected uint8 or floating"):
        normalize_images(torch.zeros(1, 3, 2, 2, dtype=torch.int32))
