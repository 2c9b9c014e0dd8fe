"""The GPU's kernels against their plain-PyTorch references: as fibers on the host, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from gpu_backends import Gpu, barriers_of, fails_without_barrier, load_simt, no_simt
from torch import Tensor

from stadx.ops import reference

# One rounding of the result; sums in float32 of some hundred terms.
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}
DTYPES = list(ROUNDING)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _inside(x: Tensor) -> Tensor:
    """Channels innermost in memory."""
    return x.movedim(-3, -1).contiguous().movedim(-1, -3)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels_last": _inside,
    "contiguous": torch.Tensor.contiguous,
    "channels_of_another": lambda x: _inside(torch.cat([x + 1, x, x - 1], -3)).narrow(-3, x.shape[-3], x.shape[-3]),
    "cut_out": lambda x: _inside(torch.nn.functional.pad(x, (1, 2, 1, 0), value=float("nan")))[..., 1:, 1:-2],
    "not_aligned": lambda x: _inside(torch.cat([x[..., :1, :, :], x], -3))[..., 1:, :, :],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shifts", [0, 1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_phase_pool_layouts(layout: str, shifts: int, dtype: torch.dtype, gpu: Gpu) -> None:
    x = torch.randn(2, 24, 19, 12, generator=_seeded(1)).to(dtype)
    _check_pool(gpu, LAYOUTS[layout](x.to(gpu.device)), shifts)


@pytest.mark.parametrize("shifts", [0, 1, 2])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (1, 3, 2, 3), (3, 8, 3, 2), (1, 128, 5, 35), (2, 5, 40, 7), (0, 8, 5, 5), (1, 8, 0, 5)]
)
def test_phase_pool_sizes(shape: tuple[int, ...], shifts: int, gpu: Gpu) -> None:
    _check_pool(gpu, _inside(torch.randn(shape, generator=_seeded(2)).to(gpu.device)), shifts)


@pytest.mark.parametrize("dtype", DTYPES)
def test_phase_pool_of_special_values(dtype: torch.dtype, gpu: Gpu) -> None:
    big = torch.finfo(dtype).max
    values = torch.tensor([float("nan"), float("inf"), float("-inf"), big, -big, 0.0, 1e-30, -1.0])
    x = values[torch.randint(0, 8, (1, 16, 9, 9), generator=_seeded(3))].to(dtype)
    _check_pool(gpu, _inside(x.to(gpu.device)), 2)


def _check_pool(gpu: Gpu, x: Tensor, shifts: int) -> None:
    bias = torch.randn(x.shape[1], generator=_seeded(4)).to(gpu.device)
    got = gpu.ops.phase_pool(x, bias, 0.1, shifts)
    if 0 in x.shape or min(x.shape[2:]) <= shifts:
        assert got.numel() == 0
        return
    want = reference.phase_pool(x, bias, 0.1, shifts)
    assert got.dtype == x.dtype
    assert got.permute(0, 2, 3, 1).is_contiguous()
    rounding = ROUNDING[x.dtype]
    torch.testing.assert_close(got.float(), want.float(), rtol=rounding, atol=rounding, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("m", [1, 3, 5])
def test_ensemble_score(layout: str, m: int, dtype: torch.dtype, gpu: Gpu) -> None:
    students = torch.randn(m, 2, 24, 5, 12, generator=_seeded(m)).to(dtype).to(gpu.device)
    teacher = torch.randn(2, 24, 5, 12, generator=_seeded(9)).to(dtype).to(gpu.device)
    _check_score(gpu, LAYOUTS[layout](students), LAYOUTS[layout](teacher))
    if m == 3:
        _check_score(gpu, students.contiguous(), _inside(teacher))


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 1), (4, 1, 128, 3, 43), (2, 3, 129, 1, 7), (3, 1, 256, 6, 1), (9, 2, 16, 1, 300)]
)
def test_ensemble_score_sizes(shape: tuple[int, ...], gpu: Gpu) -> None:
    students = torch.randn(shape, generator=_seeded(5)).to(gpu.device)
    teacher = torch.randn(shape[1:], generator=_seeded(6)).to(gpu.device)
    for layout in ("contiguous", "channels_last"):
        _check_score(gpu, LAYOUTS[layout](students), LAYOUTS[layout](teacher))


def _check_score(gpu: Gpu, students: Tensor, teacher: Tensor) -> None:
    d = teacher.shape[1]
    mean = torch.randn(d, generator=_seeded(7)).to(gpu.device)
    std = (0.1 + torch.rand(d, generator=_seeded(8))).to(gpu.device)
    got = gpu.ops.ensemble_score(students, teacher, mean, std)
    want = reference.ensemble_score(students.double(), teacher.double(), mean, std)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == torch.float32
        torch.testing.assert_close(g.double(), w, rtol=1e-5, atol=1e-12)


def test_ensemble_score_of_huge_and_equal_values(gpu: Gpu) -> None:
    students = _inside(torch.full((3, 1, 8, 2, 5), 1e18, device=gpu.device))
    teacher, ones = _inside(students[0] * 1.5), torch.ones(8, device=gpu.device)
    e, v = gpu.ops.ensemble_score(students, teacher, ones * 0, ones)
    assert bool((v == 0).all())
    torch.testing.assert_close(e, torch.full_like(e, 8 * 0.25e36), rtol=1e-5, atol=0)
    students[1, 0, 3, 1, 2] = float("nan")
    teacher[0, 2, 0, 0] = float("inf")
    for layout in ("contiguous", "channels_last"):
        e, v = gpu.ops.ensemble_score(LAYOUTS[layout](students), LAYOUTS[layout](teacher), ones * 0, ones)
        assert e.isfinite().logical_not().nonzero().tolist() == [[0, 0, 0], [0, 1, 2]]
        assert v.isfinite().logical_not().nonzero().tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pools", [0, 1, 2, 3])
@pytest.mark.parametrize(("d", "m"), [(24, 3), (3, 1), (128, 6)])
def test_phase_score(d: int, m: int, pools: int, dtype: torch.dtype, gpu: Gpu) -> None:
    generator = _seeded(pools)
    maps = [_inside(torch.randn(2 * 4**pools, d, 2, 3, generator=generator).to(dtype)) for _ in range(m + 1)]
    bias, mean = torch.randn(m + 1, d, generator=generator), torch.randn(d, generator=generator)
    std = torch.rand(d, generator=generator) + 0.2
    side = 2**pools
    size = (2 * side - (pools > 0), 3 * side - (side // 2))
    maps, bias, mean, std = (
        [x.to(gpu.device) for x in maps],
        bias.to(gpu.device),
        mean.to(gpu.device),
        std.to(gpu.device),
    )
    for add in (False, True):
        got, want = torch.full((2, *size), 7.0, device=gpu.device), torch.full((2, *size), 7.0, device=gpu.device)
        rest = (0.3, pools, [1.0, 2.0, 3.0, 4.0], 0.5, add)
        gpu.ops.phase_score(maps, bias, mean, std, *rest, got)
        reference.phase_score(maps, bias, mean, std, *rest, want)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_phase_score_names_what_is_wrong(gpu: Gpu) -> None:
    maps = [_inside(torch.zeros(4, 8, 2, 2, device=gpu.device))] * 2
    ones, out = torch.ones(8, device=gpu.device), torch.zeros(1, 4, 4, device=gpu.device)
    bias = torch.zeros(2, 8, device=gpu.device)

    def call(**changed: object) -> None:
        given = {"maps": maps, "bias": bias, "pools": 1, "normalization": [0.0, 1.0, 0.0, 1.0], "out": out, **changed}
        gpu.ops.phase_score(
            given["maps"],
            given["bias"],
            ones,
            ones,
            1.0,
            given["pools"],
            given["normalization"],
            1.0,
            False,
            given["out"],
        )

    call()
    for message, changed in {
        "at least one student": {"maps": maps[:1]},
        "pools must be": {"pools": 4},
        "normalization must be": {"normalization": [0.0]},
        "all maps must be alike": {"maps": [maps[0], maps[0][:, :, :1]]},
        "channels innermost": {"maps": [x.contiguous() for x in maps]},
        "do not cover out": {"out": torch.zeros(1, 5, 4, device=gpu.device)},
        "contiguous float32": {"out": out.double()},
        "bias must be": {"bias": bias[:1]},
    }.items():
        with pytest.raises(RuntimeError, match=message):
            call(**changed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 300, 5000])
def test_count_above(count: int, dtype: torch.dtype, gpu: Gpu) -> None:
    # coarse scores are tied with thresholds, and with each other; more images than one launch takes
    scores = [torch.randn(n, generator=_seeded(n)).to(dtype).round(decimals=2) for n in (1, 0, 31, 2049, 9000)]
    scores[3][:1500] = scores[3][0]
    scores[4][5:8] = torch.tensor([float("nan"), float("inf"), float("-inf")])
    scores += [torch.tensor([0.0, -0.0], dtype=dtype)] * 70
    thresholds = torch.randn(count, generator=_seeded(count)).to(dtype).round(decimals=2 if count < 1000 else 6)
    thresholds = torch.cat([thresholds, torch.tensor([0.0, float("inf")], dtype=dtype)]).unique()
    scores, thresholds = [s.to(gpu.device) for s in scores], thresholds.to(gpu.device)
    for got, want in zip(
        gpu.ops.count_above(scores, thresholds), reference.count_above(scores, thresholds), strict=True
    ):
        assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_count_above_far_apart(dtype: torch.dtype, gpu: Gpu) -> None:
    info = torch.finfo(dtype)
    positive = [0.0, info.smallest_normal * info.eps, info.smallest_normal, 1.0, 1 + info.eps, info.max, float("inf")]
    values = torch.tensor(sorted({x * sign for x in positive for sign in (-1, 1)}), dtype=dtype, device=gpu.device)
    got, want = gpu.ops.count_above([values, values], values), reference.count_above([values, values], values)
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wanted", [0, 1, 100, 7000, 9001, 10000])
def test_score_cut(wanted: int, dtype: torch.dtype, gpu: Gpu) -> None:
    scores = [torch.randn(n, generator=_seeded(n)).to(dtype).to(gpu.device) for n in (1, 0, 9000)]
    scores[2][17] = float("nan")
    cut, exact = gpu.ops.score_cut(scores, wanted), reference.score_cut(scores, wanted)
    assert cut.shape == exact.shape
    assert cut.dtype == dtype
    if wanted in (0, 9001, 10000):
        assert float(cut) == float(exact)
        return
    # its highest 12 bits are those of the exact one, the rest is as low as can be
    assert float(exact - abs(exact) * (0.125 if dtype == torch.float32 else 1.0)) <= float(cut) <= float(exact)


def test_region_sums(gpu: Gpu) -> None:
    generator = _seeded(0)
    values = torch.randint(-(2**40), 2**40, (50,), generator=generator)
    at = torch.randint(0, 50, (3000,), generator=generator, dtype=torch.int32)
    region = (torch.arange(3000) // 117).int()
    region[500:900] = torch.randint(0, 26, (400,), generator=generator, dtype=torch.int32)
    values, at, region = values.to(gpu.device), at.to(gpu.device), region.to(gpu.device)
    for n in (0, 1, 32, 257, 3000):
        got = gpu.ops.region_sums(values, at[:n], region[:n], 26)
        assert torch.equal(got, reference.region_sums(values, at[:n], region[:n], 26))


def right_scores_and_counts(operators: Any) -> bool:
    """Some results, which a missing barrier must spoil."""
    generator = _seeded(0)
    students, teacher = torch.randn(2, 3, 40, 5, 9, generator=generator), torch.randn(3, 40, 5, 9, generator=generator)
    ones = torch.ones(40)
    got = list(operators.ensemble_score(students, teacher, ones, ones))
    want = list(reference.ensemble_score(students, teacher, ones, ones))
    scores, thresholds = [torch.randn(9000, generator=generator)], torch.randn(7000, generator=generator).unique()
    got += operators.count_above(scores, thresholds)
    want += reference.count_above(scores, thresholds)
    cut, exact = operators.score_cut(scores, 3000), reference.score_cut(scores, 3000)
    close = all(torch.allclose(g, w, rtol=1e-5, atol=1e-5) for g, w in zip(got, want, strict=True))
    return close and bool(exact - abs(exact) / 8 <= cut <= exact)


FILES = ["ensemble_score.cuh", "block_sum.cuh", "score_cut.cuh"]


@pytest.mark.skipif(no_simt() is not None, reason=str(no_simt()))
def test_with_every_barrier_these_are_right() -> None:
    load_simt().configure("reversed")
    assert right_scores_and_counts(torch.ops.stadx_simt)
    load_simt().configure()


@pytest.mark.skipif(no_simt() is not None, reason=str(no_simt()))
@pytest.mark.parametrize("line", barriers_of(*FILES))
def test_a_missing_barrier_is_noticed(line: int) -> None:
    assert fails_without_barrier(line, "test_gpu_kernels", "right_scores_and_counts")


def test_opcheck(device: torch.device) -> None:
    x = _inside(torch.randn(1, 8, 5, 6)).to(device)
    bias, ones = torch.zeros(8, device=device), torch.ones(8, device=device)
    for shifts in (0, 1, 2):
        torch.library.opcheck(torch.ops.stadx.phase_pool.default, (x, bias, 0.1, shifts))
    maps = [x, x + 1]
    rest = (ones, ones, 0.5, 0, [0.0, 1.0, 0.0, 1.0], 1.0, True, torch.zeros(1, 5, 6, device=device))
    torch.library.opcheck(torch.ops.stadx.phase_score.default, (maps, torch.zeros(2, 8, device=device), *rest))
    torch.library.opcheck(torch.ops.stadx.score_cut.default, ([x.contiguous(), bias], 7))
    at = torch.tensor([0, 1, 1], dtype=torch.int32, device=device)
    torch.library.opcheck(torch.ops.stadx.region_sums.default, (torch.arange(2, device=device), at, at, 3))
