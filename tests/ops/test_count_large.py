"""stadx.ops.count_above with many thresholds, distinct_scores of many scores, and region_sums."""

from __future__ import annotations

import pytest
import torch

from stadx import ops
from stadx.ops import reference


@pytest.mark.usefixtures("instruction_set", "two_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("crowd", [0.0, 0.7])
def test_so_many_thresholds_that_they_are_counted_in_ranges(dtype: torch.dtype, crowd: float) -> None:
    generator = torch.Generator().manual_seed(8)
    scores = torch.randn(400_000, generator=generator, dtype=dtype)
    close = torch.rand(len(scores), generator=generator) < crowd  # many share a bucket of the table
    scores[close] = 1 + scores[close] * 1e-5
    scores[::1001] = torch.tensor([float("nan"), -0.0, 0.0, float("inf"), -float("inf")], dtype=dtype).repeat(80)
    thresholds = torch.unique(scores[scores > 0.1][::3])
    thresholds = torch.cat([thresholds, thresholds[-1:] + 1]) if thresholds[-1] < 1e9 else thresholds
    assert len(thresholds) > 2**14
    for threads in (1, 2):
        torch.set_num_threads(threads)
        got = ops.count_above([scores[:300_000], scores[300_000:]], thresholds)
        for mine, want in zip(
            got, reference.count_above([scores[:300_000], scores[300_000:]], thresholds), strict=True
        ):
            assert torch.equal(mine, want)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spacing", [1, 3, 2**7, 2**19])
def test_many_thresholds_at_equal_distances(dtype: torch.dtype, spacing: int) -> None:
    # cells of one key, cells with several thresholds, words whose cells all hold one, and scores far above the highest
    generator = torch.Generator().manual_seed(spacing)
    bits = torch.int32 if dtype == torch.float32 else torch.int64
    first = int(torch.tensor([0.25], dtype=dtype).view(bits))
    number = min(40_000, (int(torch.tensor([3e38], dtype=dtype).view(bits)) - first) // spacing)
    thresholds = (first + spacing * torch.arange(number, dtype=bits)).view(dtype)
    thresholds = thresholds[torch.rand(number, generator=generator) < 0.8]
    picked = thresholds[torch.randint(len(thresholds), (150_000,), generator=generator)].view(bits)
    scores = (picked + torch.randint(-2, 3, picked.shape, generator=generator, dtype=bits)).view(dtype)
    scores[::1001] = torch.tensor([float("inf"), -1.0, 0.0, 3.1e38, float("nan")], dtype=dtype).repeat(30)
    for mine, want in zip(
        ops.count_above([scores], thresholds), reference.count_above([scores], thresholds), strict=True
    ):
        assert torch.equal(mine, want)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distinct_scores_does_not_depend_on_threads(dtype: torch.dtype) -> None:
    scores = torch.randn(2**17 + 5, generator=torch.Generator().manual_seed(7), dtype=dtype)
    for x in (scores, scores.float().to(dtype), scores.round(decimals=2), scores.sort().values, scores.abs() + 1):
        want = reference.distinct_scores(x)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for mine, its in zip(ops.distinct_scores(x), want, strict=True):
                assert torch.equal(mine, its)


def test_region_sums_are_checked() -> None:
    values, at = torch.tensor([5, 2**60, -3]), torch.tensor([0, 2, 1, 2], dtype=torch.int32)
    region = torch.tensor([1, 1, 0, 3], dtype=torch.int32)
    assert ops.region_sums(values, at, region, 4).tolist() == [2**60, 2, 0, -3]
    assert ops.region_sums(values, at[:0], region[:0], 2).tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="pixel 3 has value 2 of 3 and region 3 of 3"):
        ops.region_sums(values, at, region, 3)
    with pytest.raises(RuntimeError, match="pixel 1 has value 2 of 2"):
        ops.region_sums(values[:2], at, region, 4)
