"""stadx.ops.defect_pixels, count_above and distinct_scores against their references and against NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from stadx import ops
from stadx.ops import reference

DTYPES = [torch.float32, torch.float64]
# 2048 scores are gathered at a time, 2^17 are one work item
SIZES = [0, 1, 7, 8, 9, 2047, 2048, 2049, 2**17, 2**18 + 2**11 + 5]
MASK_DTYPES = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
MASK_DTYPES += [torch.uint16, torch.uint32, torch.uint64]

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "sliced": lambda x: x[3:-2, 5:-7],
    "transposed": lambda x: x.t(),
    "every_second": lambda x: x[::2, ::2],
    "expanded_rows": lambda x: x[7:8].expand(9, -1),
    "expanded_columns": lambda x: x[:, 7:8].expand(-1, 90),
    "one_column": lambda x: x[:, 4:5],
}


def _same(got: Sequence[Tensor], want: Sequence[Tensor]) -> None:
    """Equal in dtype, device, shape and every value."""
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def _special(dtype: torch.dtype, *more: float) -> Tensor:
    """Everything that bits of floating-point numbers can mean, NaN aside."""
    info = torch.finfo(dtype)
    denormal = info.smallest_normal * info.eps
    positive = [0.0, denormal, 2 * denormal, info.smallest_normal, 1 - info.eps, 1.0, 1 + info.eps, info.max, np.inf]
    return torch.tensor([*positive, *(-x for x in positive), *more], dtype=dtype)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _image(height: int, width: int, density: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = _seeded(height * 1000 + width)
    mask = torch.rand(height, width, generator=generator) < density
    return torch.randn(height, width, generator=generator, dtype=dtype), mask


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("connectivity", [4, 8])
def test_defect_pixels_of_any_sizes(connectivity: int, dtype: torch.dtype, device: torch.device) -> None:
    shapes = [(1, 1), (1, 70), (70, 1), (0, 5), (17, 63), (31, 64), (5, 0), (33, 129), (2, 2), (3, 200)]
    images = [_image(h, w, d, dtype) for h, w in shapes for d in (0.4, 0.0, 1.0)]
    maps, masks = [x.to(device) for x, _ in images], [x.to(device) for _, x in images]
    _same(ops.defect_pixels(maps, masks, connectivity), reference.defect_pixels(maps, masks, connectivity))
    for x, mask in zip(maps, masks, strict=True):
        _same(ops.defect_pixels([x], [mask], connectivity), reference.defect_pixels([x], [mask], connectivity))


@pytest.mark.usefixtures("instruction_set", "two_threads")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_large_defect_pixels_do_not_depend_on_threads(count: int, connectivity: int, dtype: torch.dtype) -> None:
    # high enough for several strips, which are taken in parallel if there are fewer images than threads
    images = [_image(301 + i, 190 + i, 0.45 + 0.1 * i, dtype) for i in range(count)]
    maps, masks = [x for x, _ in images], [x for _, x in images]
    labels = [ndimage.label(mask.numpy(), np.ones((3, 3)) if connectivity == 8 else None) for mask in masks]
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        scores, regions, areas, firsts, counts = ops.defect_pixels(maps, masks, connectivity)
        assert counts.tolist() == [n for _, n in labels]
        before = np.cumsum([0, *(n for _, n in labels)])
        want = np.concatenate([x[x > 0] - 1 + n for (x, _), n in zip(labels, before, strict=False)])
        np.testing.assert_array_equal(regions, want)
        np.testing.assert_array_equal(areas, np.bincount(want))
        found = [np.unique(np.where(x > 0, x, n + 1), return_index=True)[1][:n] for x, n in labels]
        np.testing.assert_array_equal(firsts, np.concatenate(found))
        assert torch.equal(scores, torch.cat([x[m] for x, m in images]))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_defect_pixels_layouts(layout: str, dtype: torch.dtype, device: torch.device) -> None:
    maps, mask = (x.to(device) for x in _image(41, 150, 0.4, dtype))
    lay = LAYOUTS[layout]
    want = reference.defect_pixels([lay(maps).contiguous()], [lay(mask).contiguous()])
    for x in (lay(maps), lay(maps).contiguous()):
        for y in (lay(mask), lay(mask).contiguous(), lay(mask.to(torch.int16))):
            _same(ops.defect_pixels([x], [y]), want)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", DTYPES)
def test_defect_pixels_of_every_mask_dtype(dtype: torch.dtype) -> None:
    values = [torch.randint(0, 3, (30, 77), generator=_seeded(d.itemsize)) for d in MASK_DTYPES]
    # of wide ones only the highest byte is set, some with the sign
    masks = [(x << 8 * d.itemsize - 2 if d.itemsize > 1 else x).to(d) for x, d in zip(values, MASK_DTYPES, strict=True)]
    maps = [torch.randn(x.shape, generator=_seeded(i), dtype=dtype) for i, x in enumerate(masks)]
    _same(ops.defect_pixels(maps, masks), reference.defect_pixels(maps, [x != 0 for x in values]))  # dtypes mixed


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", DTYPES)
def test_defect_pixels_copies_scores_bit_by_bit(dtype: torch.dtype) -> None:
    scores = _special(dtype, np.nan, -np.nan).reshape(4, 5)
    found = ops.defect_pixels([scores], [torch.ones(4, 5, dtype=torch.bool)])[0]
    bits = torch.int32 if dtype == torch.float32 else torch.int64
    assert torch.equal(found.view(bits), scores.flatten().view(bits))


@settings(max_examples=100, deadline=None)
@given(
    masks=st.lists(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)), min_size=1),
    connectivity=st.sampled_from([4, 8]),
)
def test_defect_pixels_of_any_small_masks(masks: list[NDArray[np.bool_]], connectivity: int) -> None:
    truth = [torch.from_numpy(m) for m in masks]
    maps = [torch.arange(m.numel(), dtype=torch.float32).reshape(m.shape) for m in truth]  # scores tell pixels
    found = ops.defect_pixels(maps, truth, connectivity)
    _same(found, reference.defect_pixels(maps, truth, connectivity))
    _, regions, areas, _, counts = found
    assert torch.equal(regions.bincount(minlength=int(counts.sum())), areas)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_count_above_sizes(size: int, dtype: torch.dtype, device: torch.device) -> None:
    scores = torch.randn(size, generator=_seeded(size), dtype=dtype).to(device)
    drawn = torch.randn(3000, generator=_seeded(1), dtype=dtype).to(device).unique()
    taken = torch.cat([scores[::3], drawn]).unique()  # many of them are scores
    upper = taken[len(taken) * 3 // 4 :]  # most scores are below the lowest
    for thresholds in (drawn[:1], drawn[-1:], drawn[1500:1502], drawn[1000:1099], taken, upper):
        _same(ops.count_above([scores], thresholds), reference.count_above([scores], thresholds))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", DTYPES)
def test_count_above_many_tensors_and_ties(dtype: torch.dtype, device: torch.device) -> None:
    shapes = [(0,), (2**17 + 1,), (1,), (3, 700), (0, 4), (), (2, 3, 5, 7), (2**17,), (9,)]
    scores = [torch.randint(-9, 9, s, generator=_seeded(len(s))).to(dtype).to(device) for s in shapes]
    scores[3][1, ::2] = np.nan
    scores[6][0, 0] = -np.nan
    for thresholds in (torch.arange(-12, 12), torch.tensor([3]), torch.tensor([-100, -99]), torch.tensor([100, 101])):
        found = ops.count_above(scores, thresholds.to(scores[0]))
        _same(found, reference.count_above(scores, thresholds.to(scores[0])))
        assert found[2].tolist() == [0, 0, 0, 350, 0, 0, 35, 0, 0]
    above, equal, nans = ops.count_above([], scores[1][:1])
    assert (above.tolist(), equal.tolist(), nans.shape) == ([0], [0], (0,))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", DTYPES)
def test_count_above_of_special_values(dtype: torch.dtype, device: torch.device) -> None:
    special = _special(dtype).to(device)
    scores = [special, _special(dtype, np.nan, -np.nan, np.nan).repeat(300).to(device), special.new_full((5,), np.nan)]
    distinct = special.unique()
    assert len(distinct) == len(special) - 1  # zeros are equal
    for thresholds in (distinct, *distinct.split(1), *distinct.split(4), -special[9:10], special[9:10]):
        found = ops.count_above(scores, thresholds)
        _same(found, reference.count_above(scores, thresholds))
        assert found[2].tolist() == [0, 900, 5]


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outliers", ["below", "above", "both"])
@pytest.mark.parametrize("cluster", [7, 8, 9, 17, 700])
def test_count_above_of_crowded_thresholds(cluster: int, outliers: str, dtype: torch.dtype) -> None:
    # adjacent numbers share a bucket if others are far away; up to eight are compared at once, more are halved first
    bits = torch.int32 if dtype == torch.float32 else torch.int64
    base = torch.tensor([1.5], dtype=dtype).view(bits)
    close = (base + torch.arange(-9, cluster + 9, dtype=bits)).view(dtype)
    far = {"below": (-1e30,), "above": (1e30,), "both": (-1e30, 1e30)}[outliers]
    thresholds = torch.cat([close[9:-9], close.new_tensor(far)]).sort().values
    picked = torch.randint(0, len(close), (5001,), generator=_seeded(cluster))
    scores = torch.cat([close[picked], thresholds, close.new_tensor([-2e30, -1.5, 0.0, 1.0, 2.0, 2e30])])
    _same(ops.count_above([scores], thresholds), reference.count_above([scores], thresholds))
    gaps = thresholds[1:-1:3]  # likewise, with scores between them; the operator takes any stride
    _same(ops.count_above([scores], gaps), reference.count_above([scores], gaps.contiguous()))


@pytest.mark.usefixtures("instruction_set", "two_threads")
@pytest.mark.parametrize("dtype", DTYPES)
def test_count_above_does_not_depend_on_threads(dtype: torch.dtype) -> None:
    sizes = (2**18 + 1, 77, 2**17, 2**19)
    scores = [torch.randn(n, generator=_seeded(n), dtype=dtype).round(decimals=3) for n in sizes]
    thresholds = torch.cat([scores[1], scores[2][:999]]).unique()
    want = reference.count_above(scores, thresholds)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        _same(ops.count_above(scores, thresholds), want)


def _floats(width: int, nan: bool) -> st.SearchStrategy[float]:
    """Any numbers, and often the same few or their neighbours."""
    dtype = np.float32 if width == 32 else np.float64
    near = [float(np.nextafter(dtype(1), dtype(x))) for x in (0, 2)]
    some = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, *near, *([np.nan] if nan else [])]
    return st.sampled_from(some) | st.floats(width=width, allow_nan=nan)  # type: ignore[arg-type]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), width=st.sampled_from([32, 64]))
def test_count_above_of_any_small_set(data: st.DataObject, width: int) -> None:
    dtype = np.dtype(f"f{width // 8}")
    sets = data.draw(st.lists(st.lists(_floats(width, True), max_size=40), max_size=4))
    thresholds = np.unique(np.array(data.draw(st.lists(_floats(width, False), min_size=1, max_size=40)), dtype))
    scores = [np.array(x, dtype) for x in sets]
    found = ops.count_above([torch.from_numpy(x) for x in scores], torch.from_numpy(thresholds))
    together = np.concatenate([thresholds[:0], *scores])
    assert found[0].tolist() == (together > thresholds[:, None]).sum(1).tolist()
    assert found[1].tolist() == (together == thresholds[:, None]).sum(1).tolist()
    assert found[2].tolist() == [int(np.isnan(x).sum()) for x in scores]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 2, 9, 2049, 70001])
def test_distinct_scores(size: int, dtype: torch.dtype, device: torch.device) -> None:
    # no vectors: the instruction set cannot matter
    scores = torch.randn(size, generator=_seeded(size), dtype=dtype).to(device)
    ordered, equal = scores.sort(descending=True).values, scores[:1].expand(min(size, 1) * 70)
    special = _special(dtype).repeat(size % 50).to(device)
    for x in (scores, scores.round(), scores * 1e-40, scores * 1e38, scores[::3], ordered, equal, special):
        found = ops.distinct_scores(x)
        _same(found, reference.distinct_scores(x))
        assert torch.equal(found[0][found[1]], x)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), width=st.sampled_from([32, 64]))
def test_distinct_scores_of_any_small_set(data: st.DataObject, width: int) -> None:
    scores = np.array(data.draw(st.lists(_floats(width, False), max_size=60)), np.dtype(f"f{width // 8}"))
    want = np.unique(scores, return_inverse=True, return_counts=True)
    for got, expected in zip(ops.distinct_scores(torch.from_numpy(scores)), want, strict=True):
        np.testing.assert_array_equal(got.numpy(), expected)


X, M = torch.zeros(4, 5), torch.ones(4, 5, dtype=torch.bool)
HUGE = torch.zeros(1).expand(2**31)
IMAGE = (1 << 16, 1 << 16)


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        (ops.defect_pixels, ([X], [M], 6), "connectivity must be 4 or 8, but is 6"),
        (ops.defect_pixels, ([X, X], [M]), "as many masks as maps"),
        (ops.defect_pixels, ([], [M]), "as many masks as maps, at least one"),
        (ops.defect_pixels, ([X, X], [M, M[:3]]), r"map and mask 1 must be \[H, W\] of one size"),
        (ops.defect_pixels, ([X[None]], [M[None]]), r"map and mask 0 must be \[H, W\]"),
        (ops.defect_pixels, ([X.half()], [M]), "all float32 or all float64"),
        (ops.defect_pixels, ([X, X.double()], [M, M]), "all float32 or all float64"),
        (ops.defect_pixels, ([X, X], [M, M.float()]), "mask 1 must be bool or integer"),
        (ops.defect_pixels, ([X[:1, :1].expand(IMAGE)], [M[:1, :1].expand(IMAGE)]), "image 0 has more pixels"),
        (ops.count_above, ([X], X[0].long()), "thresholds must be float32 or float64"),
        (ops.count_above, ([X], X), r"thresholds must be \[E\]"),
        (ops.count_above, ([X], X[0, :0]), r"thresholds must be \[E\] with 1 ≤ E < 2\^31"),
        (ops.count_above, ([X], HUGE), r"thresholds must be \[E\] with 1 ≤ E < 2\^31"),
        (ops.count_above, ([X, X.double()], X[0, :1]), "scores 1 must have the thresholds' dtype"),
        (ops.count_above, ([X, X.t()], X[0, :1]), "scores 1 must be contiguous"),
        (ops.count_above, ([X[:, ::2]], X[0, :1]), "scores 0 must be contiguous"),
        (ops.count_above, ([X[:1].expand(4, -1)], X[0, :1]), "scores 0 must be contiguous"),
        (ops.count_above, ([X], torch.tensor([0, np.nan])), "threshold 1 is NaN"),
        (ops.count_above, ([X], torch.tensor([0.0, 2.0, 1.0])), "must ascend, but 2 does not"),
        (ops.count_above, ([X], torch.tensor([1.0, 1.0])), "must ascend, but 1 does not"),
        (ops.count_above, ([X], torch.tensor([-0.0, 0.0])), "must ascend, but 1 does not"),
        (ops.distinct_scores, (X,), r"scores must be \[n\]"),
        (ops.distinct_scores, (HUGE,), r"scores must be \[n\] with n < 2\^31"),
        (ops.distinct_scores, (X[0].half(),), "scores must be float32 or float64"),
        (ops.distinct_scores, (X[0].long(),), "scores must be float32 or float64"),
    ],
)
def test_bad_input_is_named(function: Callable[..., Any], args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        function(*args)


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype: torch.dtype, device: torch.device) -> None:
    images = [_image(9, 11, 0.4, dtype), _image(5, 70, 0.0, dtype), _image(8, 3, 0.6, dtype)]
    maps, masks = [x.to(device) for x, _ in images], [x.to(device) for _, x in images]
    torch.library.opcheck(torch.ops.stadx.defect_pixels.default, (maps, masks, 8))
    torch.library.opcheck(torch.ops.stadx.count_above.default, (maps, maps[2].flatten().sort().values))
    torch.library.opcheck(torch.ops.stadx.distinct_scores.default, (maps[0].flatten().round(),))
