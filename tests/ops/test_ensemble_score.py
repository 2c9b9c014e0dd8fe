"""stadx.ops.ensemble_score against its reference, over layouts, dtypes, sizes, odd values and instruction sets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stadx import ops
from stadx.ops import reference

pytestmark = pytest.mark.arithmetic


# Both dtypes are accumulated in float32, so the bound against the float64 reference on the same inputs is the same:
# a few hundred roundings of 6e-8, none of them amplified, since all terms of the sums are positive.
RTOL = {torch.float32: 1e-5, torch.bfloat16: 1e-5}

Layout = Callable[[Tensor], Tensor]


def _padded(x: Tensor, grow: tuple[int, ...]) -> Tensor:
    """x as a window into a larger tensor filled with NaN, so that a read outside shows."""
    big = x.new_full([n + 2 * g for n, g in zip(x.shape, grow, strict=True)], float("nan"))
    window = big[tuple(slice(g, g + n) for n, g in zip(x.shape, grow, strict=True))]
    return window.copy_(x)


def _channels_last(x: Tensor) -> Tensor:
    return x.movedim(-3, -1).contiguous().movedim(-1, -3)


LAYOUTS: dict[str, Layout] = {
    "contiguous": torch.Tensor.contiguous,
    "channels_last": _channels_last,
    "sliced": lambda x: _padded(x, (0,) * (x.dim() - 2) + (1, 3)),
    "sliced_everywhere": lambda x: _padded(x, (1,) * x.dim()),
    "channels_last_sliced": lambda x: _padded(x.movedim(-3, -1), (1,) * x.dim()).movedim(-1, -3),
    "transposed": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "batch_inside": lambda x: x.transpose(-4, -3).contiguous().transpose(-4, -3),
    "every_second": lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
}


def _inputs(
    m: int, b: int, d: int, h: int, w: int, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(m + 10 * b + 100 * d + 1000 * h + 10000 * w)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    students = (randn(m, b, d, h, w) * scale).to(dtype)
    teacher = (randn(b, d, h, w) * scale).to(dtype)
    return students, teacher, randn(d) * scale, 0.1 + torch.rand(d, generator=generator)


def _check(students: Tensor, teacher: Tensor, mean: Tensor, std: Tensor, atol: float = 1e-30) -> None:
    e, v = ops.ensemble_score(students, teacher, mean, std)
    expected = reference.ensemble_score(students.double(), teacher.double(), mean, std)
    for got, want in zip((e, v), expected, strict=True):
        assert got.dtype == torch.float32
        assert got.is_contiguous()
        torch.testing.assert_close(got.double(), want, rtol=RTOL[teacher.dtype], atol=atol)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("m", [1, 3])
def test_layouts(layout: str, dtype: torch.dtype, m: int, device: torch.device) -> None:
    students, teacher, mean, std = _inputs(m, 2, 37, 9, 21, dtype)
    lay = LAYOUTS[layout]
    _check(lay(students.to(device)), lay(teacher.to(device)), mean.to(device), std.to(device))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("layouts", [("contiguous", "channels_last"), ("channels_last", "sliced")])
def test_mixed_layouts(layouts: tuple[str, str]) -> None:
    students, teacher, mean, std = _inputs(3, 2, 16, 8, 19)
    _check(LAYOUTS[layouts[0]](students), LAYOUTS[layouts[1]](teacher), mean, std)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("which", ["students", "batch", "channels", "rows", "columns", "vectors"])
def test_expanded(which: str) -> None:
    students, teacher, mean, std = _inputs(3, 2, 16, 8, 19)
    if which == "students":
        students = students[:1].expand(3, -1, -1, -1, -1)
    elif which == "vectors":
        mean, std = mean[:1].expand(16), std[:1].expand(16)
    else:
        dim = {"batch": 0, "channels": 1, "rows": 2, "columns": 3}[which]
        teacher = teacher.narrow(dim, 0, 1).expand(teacher.shape)
    # Equal students: v is what rounding leaves of zero, 16 components of (6e-8 · |S|)².
    _check(students, teacher, mean, std, atol=1e-12 if which == "students" else 1e-30)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1, 1),
        (2, 3, 1, 4, 5),
        (4, 1, 5, 1, 7),
        (5, 2, 128, 7, 1),
        (3, 1, 128, 1, 1),
        (7, 1, 17, 3, 33),
        (2, 1, 3, 1, 4097),
        (3, 1, 6, 65, 127),
    ],
)
def test_odd_sizes(shape: tuple[int, ...], layout: str, dtype: torch.dtype) -> None:
    students, teacher, mean, std = _inputs(*shape, dtype=dtype)  # type: ignore[arg-type]
    _check(LAYOUTS[layout](students), LAYOUTS[layout](teacher), mean, std)


@pytest.mark.parametrize("shape", [(3, 0, 8, 4, 4), (3, 2, 8, 0, 4), (3, 2, 8, 4, 0), (3, 2, 0, 4, 4)])
def test_empty(shape: tuple[int, ...], device: torch.device) -> None:
    students = torch.zeros(shape, device=device)
    d = torch.ones(shape[2], device=device)
    for result in ops.ensemble_score(students, students[0], d, d):
        assert result.shape == (shape[1], shape[3], shape[4])
        assert not result.any()


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_one_student_has_no_variance(layout: str) -> None:
    students, teacher, mean, std = _inputs(1, 2, 128, 9, 9)
    _, v = ops.ensemble_score(LAYOUTS[layout](students), LAYOUTS[layout](teacher), mean, std)
    assert torch.equal(v, torch.zeros_like(v))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_variance_is_centred(layout: str) -> None:
    students, teacher, mean, std = _inputs(3, 1, 128, 16, 16)
    students = (students.double() * 1e-2 + 1e3).float()  # mean‖S‖² − ‖mean‖² would lose every digit here
    _, v = ops.ensemble_score(LAYOUTS[layout](students), LAYOUTS[layout](teacher), mean, std)
    want = reference.ensemble_score(students.double(), teacher.double(), mean, std)[1]
    # The mean itself is rounded to one part in 1.7e7 of 1e3: 6e-5 beside a spread of 1e-2.
    torch.testing.assert_close(v.double(), want, rtol=1e-3, atol=0)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("scale", [1e-15, 1e12, 1e17])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_small_and_huge_values(layout: str, scale: float) -> None:
    students, teacher, mean, std = _inputs(3, 1, 40, 5, 23, scale=scale)
    _check(LAYOUTS[layout](students), LAYOUTS[layout](teacher), mean, std)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e30])
def test_values_that_overflow_stay_in_their_pixel(value: float, dtype: torch.dtype, layout: str) -> None:
    students, teacher, mean, std = _inputs(3, 1, 40, 5, 37, dtype)
    students[1, 0, 3, 1, 2] = value
    teacher[0, 39, 4, 36] = value
    e, v = ops.ensemble_score(LAYOUTS[layout](students), LAYOUTS[layout](teacher), mean, std)
    want_e, want_v = reference.ensemble_score(students, teacher, mean, std)
    assert not torch.isfinite(want_e).all()
    torch.testing.assert_close(e, want_e, rtol=1e-5, atol=0, equal_nan=True)
    torch.testing.assert_close(v, want_v, rtol=1e-5, atol=0, equal_nan=True)


@pytest.mark.usefixtures("instruction_set")
def test_zero_std_follows_ieee() -> None:
    students, teacher, mean, std = _inputs(2, 1, 20, 3, 5)
    std[4] = 0.0
    teacher[0, 4, 1, 1] = mean[4]
    e, _ = ops.ensemble_score(students, teacher, mean, std)
    assert e[0, 1, 1].isnan()
    assert e.isinf().sum() == 14


@pytest.mark.usefixtures("instruction_set", "two_threads")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_number_of_threads_does_not_change_a_bit(layout: str) -> None:
    students, teacher, mean, std = _inputs(3, 2, 19, 97, 131)
    students, teacher = LAYOUTS[layout](students), LAYOUTS[layout](teacher)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(ops.ensemble_score(students, teacher, mean, std))
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0])
        assert torch.equal(results[0][1], other[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_exotic_layouts_are_copied(layout: str) -> None:
    students, teacher, mean, std = _inputs(3, 2, 8, 6, 10)
    students, teacher = LAYOUTS[layout](students), LAYOUTS[layout](teacher)
    with torch.profiler.profile() as profile:
        ops.ensemble_score(students, teacher, mean, std)
    copies = [event for event in profile.events() if event.name == "aten::copy_"]
    assert len(copies) == (2 if layout in ("transposed", "every_second") else 0)


def _bad_inputs() -> dict[str, tuple[tuple[Tensor, ...], str]]:
    s, t, mean, std = _inputs(2, 1, 4, 3, 5)
    return {
        "students_4d": ((s[0], t, mean, std), r"\[M, B, d, H, W\]"),
        "teacher_5d": ((s, s, mean, std), r"\[B, d, H, W\]"),
        "no_student": ((s[:0], t, mean, std), "at least one student"),
        "batch": ((s, t.repeat(2, 1, 1, 1), mean, std), "differ in dimension B"),
        "channels": ((s, t[:, :3], mean, std), "differ in dimension d"),
        "height": ((s, t[:, :, :2], mean, std), "differ in dimension H"),
        "width": ((s, t[..., :4], mean, std), "differ in dimension W"),
        "mean": ((s, t, mean[:3], std), "d = 4"),
        "std": ((s, t, mean, std[None]), "d = 4"),
        "mixed_dtypes": ((s, t.bfloat16(), mean, std), "same dtype"),
        "double": ((s.double(), t.double(), mean, std), "float32 or bfloat16"),
        "half": ((s.half(), t.half(), mean, std), "float32 or bfloat16"),
    }


@pytest.mark.parametrize("case", _bad_inputs())
def test_bad_input_is_named(case: str) -> None:
    args, message = _bad_inputs()[case]
    with pytest.raises(RuntimeError, match=message):
        ops.ensemble_score(*args)


def test_backward_says_there_is_no_gradient() -> None:
    students, teacher, mean, std = _inputs(2, 1, 4, 3, 5)
    e, _ = ops.ensemble_score(students.requires_grad_(), teacher, mean, std)
    with pytest.raises(NotImplementedError, match="has no gradient"):
        e.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed"])
def test_opcheck(layout: str, dtype: torch.dtype, device: torch.device) -> None:
    students, teacher, mean, std = (x.to(device) for x in _inputs(2, 2, 6, 4, 5, dtype))
    args = (LAYOUTS[layout](students), LAYOUTS[layout](teacher), mean.float(), std.float())
    torch.library.opcheck(torch.ops.stadx.ensemble_score.default, args)
