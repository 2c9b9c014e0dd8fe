"""SSIM-AE: structural similarity, and the network of the published table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from stadx.detectors.baselines.ssim_autoencoder import _autoencoder, ssim

pytestmark = pytest.mark.arithmetic


def test_ssim_is_that_of_the_definition() -> None:
    x, y = torch.rand(2, 1, 1, 20, 23, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = ssim(x, y, 11)
    for row, column in ((9, 12), (0, 0), (19, 3)):
        window = slice(max(row - 5, 0), row + 6), slice(max(column - 5, 0), column + 6)
        a, b = (v[0, 0][window].flatten().numpy() for v in (x, y))
        covariance = np.mean(a * b) - a.mean() * b.mean()
        want = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
        want *= (2 * covariance + 9e-4) / (a.var() + b.var() + 9e-4)
        assert found[0, 0, row, column].item() == pytest.approx(want)
    torch.testing.assert_close(ssim(x, x, 11), torch.ones_like(x))


@pytest.mark.parametrize("side", [32, 128, 256])
def test_the_autoencoder_is_that_of_the_table(side: int) -> None:
    network = _autoencoder(side, 100)
    convolutions = [m for m in network if isinstance(m, nn.Conv2d)]
    table = [(32, 4), (32, 4), (32, 3), (64, 4), (64, 3), (128, 4), (64, 3), (32, 3), (100, 8)]
    table = {32: table[2:], 128: table, 256: [(32, 4), *table]}[side]
    assert [(m.out_channels, m.kernel_size[0]) for m in convolutions] == table
    mirrored = [m for m in network if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.kernel_size[0]) for m in mirrored] == table[::-1]
    x = torch.rand(1, 1, side, side)
    code = network[: 2 * len(table) - 1](x)
    assert code.shape == (1, 100, 1, 1) and network(x).shape == x.shape


@pytest.mark.parametrize("side", [32, 128, 256])
def test_what_an_image_is_comes_through_an_untrained_autoencoder(side: int) -> None:
    x = (
        torch.rand(8, 1, side, side, generator=torch.Generator().manual_seed(0))
        * torch.linspace(0.1, 1, 8)[:, None, None, None]
    )
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        *layers, last = _autoencoder(side, 100)
        for layer in layers:
            x = layer(x)
            assert x.std(0).mean() > 0.03
        assert (last(x) - 0.5).abs().max() < 0.1
