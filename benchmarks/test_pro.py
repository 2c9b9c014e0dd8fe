"""au_pro beside the same definition written in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import ndimage

from stadx.metrics import au_pro


def numpy_au_pro(maps: NDArray[np.float32], masks: NDArray[np.bool_], limit: float = 0.3) -> float:
    share, regions = np.zeros(maps.shape), 0
    for i, mask in enumerate(masks):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())
        share[i][mask] = 1.0 / sizes[labels[mask]]
        regions += count
    order = np.argsort(maps.ravel())[::-1]
    scores = maps.ravel()[order]
    last = np.append(scores[1:] != scores[:-1], True)
    fpr = np.append(0.0, (np.cumsum(~masks.ravel()[order]) / (~masks).sum())[last])
    pro = np.append(0.0, (np.cumsum(share.ravel()[order]) / regions)[last])
    inside = int(np.searchsorted(fpr, limit, side="right"))
    fpr_in, pro_in = np.append(fpr[:inside], limit), np.append(pro[:inside], np.interp(limit, fpr, pro))
    return float((np.diff(fpr_in) * (pro_in[1:] + pro_in[:-1])).sum() / 2 / limit)


@pytest.mark.parametrize("how", ["stadx", "numpy"])
def test_au_pro(benchmark: BenchmarkFixture, how: str, device: torch.device) -> None:
    rng = np.random.default_rng(0)
    masks = np.stack([ndimage.gaussian_filter(rng.standard_normal((256, 256)), 9) > 0.06 for _ in range(80)])
    maps = (rng.standard_normal(masks.shape) + masks).astype(np.float32)
    benchmark.group = f"au_pro 80 x 256 x 256 {device}"
    given = [torch.from_numpy(x).to(device) for x in (maps, masks)] if how == "stadx" else [maps, masks]
    value = benchmark(au_pro if how == "stadx" else numpy_au_pro, *given)
    assert value == pytest.approx(numpy_au_pro(maps, masks), abs=1e-12)
