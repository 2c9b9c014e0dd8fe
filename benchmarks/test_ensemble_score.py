"""ensemble_score beside eager PyTorch and beside merely reading the same bytes."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from conftest import waited
from sections import score_inputs
from stadx import ops
from stadx.ops import reference

SIDE = 256


@pytest.mark.parametrize("layout", ["planar", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("how", ["stadx", "eager", "read"])
def test_ensemble_score(
    benchmark: BenchmarkFixture, how: str, dtype: torch.dtype, layout: str, device: torch.device
) -> None:
    students, teacher, mean, std = (x.to(device) for x in score_inputs(dtype, layout == "planar", SIDE))
    size = (students.numel() + teacher.numel()) * teacher.element_size()
    benchmark.group = f"ensemble_score {dtype} {layout} {device}"
    if how == "read":
        words = torch.ones(size // 8, dtype=torch.int64, device=device)
        benchmark(waited(words.max, device))
    else:
        function = ops.ensemble_score if how == "stadx" else reference.ensemble_score
        benchmark(waited(function, device), students, teacher, mean, std)
    if benchmark.stats is not None:
        benchmark.extra_info["GB/s"] = size / benchmark.stats.stats.median / 1e9
