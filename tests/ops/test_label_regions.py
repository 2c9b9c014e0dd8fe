"""stadx.ops.label_regions against scipy.ndimage.label and its reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mask_patterns import hard_masks
from numpy.typing import NDArray
from scipy import ndimage

from stadx import ops
from stadx.ops import reference

STRUCTURE = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


def _check(mask: NDArray[np.bool_], connectivity: int) -> int:
    labels, counts = ops.label_regions(torch.from_numpy(mask)[None], connectivity)
    want, count = ndimage.label(mask, STRUCTURE[connectivity])
    assert labels.dtype == torch.int32
    assert counts.dtype == torch.int64
    assert counts.tolist() == [count]
    np.testing.assert_array_equal(labels[0].numpy(), want)
    return int(count)


PATTERNS = hard_masks(rows=65, columns=193, side=101, word=64)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(name: str, connectivity: int) -> None:
    _check(PATTERNS[name], connectivity)


@pytest.mark.parametrize(
    ("name", "connectivity", "regions"),
    [("spiral", 4, 1), ("snake", 4, 1), ("chessboard", 8, 1), ("comb", 4, 1)],
)
def test_patterns_are_what_they_should_be(name: str, connectivity: int, regions: int) -> None:
    assert _check(PATTERNS[name], connectivity) == regions


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("density", [0.02, 0.3, 0.45, 0.6, 0.9])
def test_random(density: float, connectivity: int) -> None:
    rng = np.random.default_rng(int(density * 100))
    for height, width in [(1, 1), (1, 200), (200, 1), (17, 63), (31, 64), (64, 65), (127, 129), (300, 257)]:
        _check(rng.random((height, width)) < density, connectivity)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_large(connectivity: int) -> None:
    rng = np.random.default_rng(5)
    _check(rng.random((2000, 3001)) < 0.5, connectivity)
    smooth = ndimage.gaussian_filter(rng.standard_normal((1024, 1024)), 4)
    assert _check(smooth > 0.02, connectivity) > 100


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize(("rows", "columns"), [(1001, 1000), (521, 1024), (1025, 1021)])
def test_large_of_any_width_and_alignment(rows: int, columns: int, shift: int) -> None:
    """From 2^19 pixels on labels are written past the caches where rows are aligned."""
    mask = np.random.default_rng(6).random((rows, columns)) < 0.2
    mask[: rows // 2, : columns // 2] = False
    memory = torch.full((rows * columns + 16,), -1, dtype=torch.int32)
    out = memory[shift:][: rows * columns].view(1, rows, columns)
    labels, counts = ops.label_regions(torch.from_numpy(mask)[None], out=out)
    want, count = ndimage.label(mask, STRUCTURE[8])
    assert counts.tolist() == [count]
    np.testing.assert_array_equal(labels[0].numpy(), want)
    assert (memory[:shift] == -1).all() and (memory[shift + rows * columns :] == -1).all()


@settings(max_examples=200, deadline=None)
@given(
    mask=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)),
    connectivity=st.sampled_from([4, 8]),
)
def test_any_small_mask(mask: NDArray[np.bool_], connectivity: int) -> None:
    _check(mask, connectivity)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_reference(connectivity: int, device: torch.device) -> None:
    mask = torch.rand(3, 19, 23, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[1] = False
    mask = mask.to(device)
    for got, want in zip(
        ops.label_regions(mask, connectivity), reference.label_regions(mask, connectivity), strict=True
    ):
        assert got.dtype == want.dtype
        assert torch.equal(got, want)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16]
)
def test_dtypes_and_values(dtype: torch.dtype) -> None:
    values = torch.randint(0, 3, (2, 30, 77), generator=torch.Generator().manual_seed(1))
    if dtype in (torch.int16, torch.int32, torch.int64):
        values = values * 256  # only the higher bytes are set
    if dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
        values = -values
    want = ops.label_regions(values != 0)
    got = ops.label_regions(values.to(dtype))
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("layout", ["sliced", "transposed", "every_second", "expanded", "batch_inside"])
def test_layouts(layout: str) -> None:
    big = torch.rand(4, 90, 140, generator=torch.Generator().manual_seed(2)) < 0.55
    mask = {
        "sliced": lambda: big[1:3, 3:-5, 7:-9],
        "transposed": lambda: big.transpose(1, 2),
        "every_second": lambda: big[::2, ::2, ::2],
        "expanded": lambda: big[:1].expand(4, -1, -1),
        "batch_inside": lambda: big.transpose(0, 1),
    }[layout]()
    labels, counts = ops.label_regions(mask)
    for i, image in enumerate(mask):
        want, count = ndimage.label(image.numpy(), STRUCTURE[8])
        np.testing.assert_array_equal(labels[i].numpy(), want)
        assert counts[i] == count


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
def test_empty(shape: tuple[int, int, int], device: torch.device) -> None:
    labels, counts = ops.label_regions(torch.zeros(shape, dtype=torch.bool, device=device))
    assert labels.shape == shape
    assert counts.tolist() == [0] * shape[0]


@pytest.mark.usefixtures("two_threads")
def test_number_of_threads_does_not_matter() -> None:
    mask = torch.rand(7, 100, 101, generator=torch.Generator().manual_seed(3)) < 0.6
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(ops.label_regions(mask))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("shape", [(2051, 2077), (1 << 20, 5)])
def test_strips_of_a_large_mask_are_joined(shape: tuple[int, int], connectivity: int) -> None:
    torch.set_num_threads(2)  # each takes a strip of at least 2^21 pixels
    _check(np.random.default_rng(0).random(shape) < (0.42 if connectivity == 8 else 0.6), connectivity)


@pytest.mark.parametrize(
    ("mask", "connectivity", "message"),
    [
        (torch.zeros(4, 4, dtype=torch.bool), 8, r"\[B, H, W\]"),
        (torch.zeros(1, 4, 4), 8, "bool or integer"),
        (torch.zeros(1, 4, 4, dtype=torch.bool), 6, "must be 4 or 8, but is 6"),
        (torch.zeros(1, 1, 1, dtype=torch.bool).expand(1, 1 << 16, 1 << 16), 8, "more than the 2"),
    ],
)
def test_bad_input_is_named(mask: torch.Tensor, connectivity: int, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        ops.label_regions(mask, connectivity)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_opcheck(connectivity: int, device: torch.device) -> None:
    mask = (torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(4)) < 0.5).to(device)
    torch.library.opcheck(torch.ops.stadx.label_regions.default, (mask, connectivity))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("shape", [(3, 37, 150), (1, 64, 64), (0, 4, 4)])
def test_given_labels_are_overwritten(shape: tuple[int, int, int], connectivity: int, device: torch.device) -> None:
    mask = (torch.rand(shape, generator=torch.Generator().manual_seed(5)) < 0.4).to(device)
    out = torch.full(shape, 7, dtype=torch.int32, device=device)
    labels, counts = ops.label_regions(mask, connectivity, out=out)
    want_labels, want_counts = ops.label_regions(mask, connectivity)
    assert labels is out
    assert torch.equal(out, want_labels)
    assert torch.equal(counts, want_counts)
    torch.library.opcheck(torch.ops.stadx.label_regions_out.default, (mask, connectivity, out))


@pytest.mark.parametrize(
    "out",
    [
        torch.zeros(2, 9, 11, dtype=torch.int64),
        torch.zeros(2, 9, 10, dtype=torch.int32),
        torch.zeros(9, 11, dtype=torch.int32),
        torch.zeros(2, 11, 9, dtype=torch.int32).mT,
    ],
)
def test_labels_that_do_not_fit_are_named(out: torch.Tensor) -> None:
    with pytest.raises(RuntimeError, match="out must be int32, contiguous, and of the mask's shape"):
        ops.label_regions(torch.ones(2, 9, 11, dtype=torch.bool), out=out)


@pytest.mark.parametrize("shift", [-9, 0, 1, 29])
def test_labels_in_the_masks_memory_are_refused(shift: int) -> None:
    memory = torch.ones(3 * 2 * 3 * 5, dtype=torch.int32)
    mask = memory[30:60].view(2, 3, 5)
    with pytest.raises(RuntimeError, match="must not share memory with the mask"):
        ops.label_regions(mask, out=memory[30 + shift :][:30].view(2, 3, 5))
    for begin in (0, 60):  # just before, and just behind
        assert ops.label_regions(mask, out=memory[begin : begin + 30].view(2, 3, 5))[1].tolist() == [1, 1]


def test_labels_on_another_device_are_refused() -> None:
    mask = torch.ones(1, 2, 3, dtype=torch.bool)
    for on, there in ((mask, "meta"), (mask.to("meta"), "cpu")):
        with pytest.raises(RuntimeError, match="on the mask's device"):
            ops.label_regions(on, out=torch.zeros(1, 2, 3, dtype=torch.int32, device=there))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("columns", [63, 64, 65, 200])
@pytest.mark.parametrize("pattern", ["lines", "lines with gaps", "ladders", "sparse lines"])
def test_runs_below_runs(pattern: str, columns: int, connectivity: int) -> None:
    """Words whose runs begin in the same columns as those above, some of which touch them and some do not."""
    rng = np.random.default_rng(columns)
    row, column = np.indices((67, columns), sparse=True)
    mask = np.broadcast_to(column % (9 if pattern == "sparse lines" else 2) == 0, (67, columns)).copy()
    if pattern == "lines with gaps":
        mask &= rng.random(mask.shape) < 0.97
    if pattern == "ladders":
        mask |= (row % 16 == 14) & (column % 64 > rng.integers(0, 9))
    _check(mask, connectivity)
