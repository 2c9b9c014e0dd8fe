"""label_regions beside scipy.ndimage.label."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import ndimage

from conftest import waited
from stadx import ops


def _mask(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "noise":
        return rng.random((1024, 1024)) < 0.5
    return ndimage.gaussian_filter(rng.standard_normal((1024, 1024)), 8) > 0.03


@pytest.mark.parametrize("kind", ["blobs", "noise"])
@pytest.mark.parametrize("how", ["stadx", "scipy"])
def test_label_regions(benchmark: BenchmarkFixture, how: str, kind: str, device: torch.device) -> None:
    mask = _mask(kind)
    benchmark.group = f"label_regions 1024x1024 {kind} {device}"
    if how == "stadx":
        benchmark(waited(ops.label_regions, device), torch.from_numpy(mask)[None].to(device))
    else:
        benchmark(ndimage.label, mask, np.ones((3, 3)))
