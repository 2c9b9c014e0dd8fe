"""Smoothed maps are SciPy's, whole or by bands."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from stadx.detectors.student_teacher.smoothing import smooth, smooth_bands

pytestmark = pytest.mark.arithmetic


SIZES = [(40, 31), (3, 50), (1, 1), (17, 2)]


@pytest.mark.parametrize("sigma", [0.4, 1.0, 4.0])
@pytest.mark.parametrize("size", SIZES)
def test_smoothing_is_scipys(size: tuple[int, int], sigma: float) -> None:
    maps = torch.randn(2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = gaussian_filter(maps.numpy(), sigma, mode="mirror", axes=(1, 2), truncate=4)
    if (4 * sigma) % 1 == 0:  # SciPy rounds where the Gaussian is cut off, stadx takes the next pixel too
        torch.testing.assert_close(smooth(maps, sigma), torch.from_numpy(expected), rtol=0, atol=1e-12)
    else:
        torch.testing.assert_close(smooth(maps, sigma), torch.from_numpy(expected), rtol=0, atol=2e-3)


@pytest.mark.parametrize("heights", [(40,), (8, 16, 16), (1,) * 40, (39, 1)])
@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_bands_give_the_whole(heights: tuple[int, ...], sigma: float) -> None:
    maps = torch.randn(2, 40, 31, generator=torch.Generator().manual_seed(0))
    bands = list(smooth_bands(torch.split(maps, list(heights), 1), 40, sigma))
    torch.testing.assert_close(torch.cat(bands, 1), smooth(maps, sigma), rtol=0, atol=1e-6)
    if len(heights) == 40:
        assert max(band.shape[1] for band in bands) <= 12 + 1  # what waits is what the Gaussian reaches


def test_no_smoothing_changes_nothing() -> None:
    maps = torch.randn(2, 5, 6)
    assert smooth(maps, 0.0) is maps
