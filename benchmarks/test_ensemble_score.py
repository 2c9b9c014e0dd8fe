"""ensemble_score beside eager PyTorch and beside merely reading the same bytes."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from stadx import ops, reference

SHAPE = (3, 1, 128, 256, 256)  # M, B, d, H, W


def _inputs(dtype: torch.dtype, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
    students, teacher = torch.randn(SHAPE).to(dtype), torch.randn(SHAPE[1:]).to(dtype)
    if channels_last:
        students = students.movedim(2, -1).contiguous().movedim(-1, 2)
        teacher = teacher.contiguous(memory_format=torch.channels_last)
    return students, teacher


@pytest.mark.parametrize("layout", ["planar", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("how", ["stadx", "eager", "read"])
def test_ensemble_score(benchmark: BenchmarkFixture, how: str, dtype: torch.dtype, layout: str) -> None:
    students, teacher = _inputs(dtype, layout == "channels_last")
    mean, std = torch.randn(128), torch.rand(128) + 0.1
    size = (students.numel() + teacher.numel()) * teacher.element_size()
    benchmark.group = f"ensemble_score {dtype} {layout}"
    if how == "read":
        words = torch.ones(size // 8, dtype=torch.int64)
        benchmark(words.max)
    else:
        function = ops.ensemble_score if how == "stadx" else reference.ensemble_score
        benchmark(function, students, teacher, mean, std)
    if benchmark.stats is not None:
        benchmark.extra_info["GB/s"] = size / benchmark.stats.stats.median / 1e9
