"""The GPU's kernels of label_regions and defect_pixels, run as fibers on the host and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from gpu_backends import Gpu, barriers_of, fails_without_barrier, load_simt, no_simt
from mask_patterns import hard_masks
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from stadx.ops import reference

STRUCTURE = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}
DTYPES = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
DTYPES += [torch.uint16, torch.uint32, torch.uint64]


# A tile is 32 x 8 pixels for 4-connectivity and 64 x 16 for 8-connectivity.
PATTERNS = {
    **hard_masks(rows=37, columns=140, side=67, word=32),
    "second_rows": np.indices((19, 40))[0] % 4 == 1,
    # the first pixel is not in the first cell of 2 x 2
    "late_first_pixel": np.array([[0, 0, 0, 0, 1], [1, 1, 1, 1, 0]], dtype=bool),
    "one_of_many_tiles": np.pad(np.ones((2, 2), dtype=bool), ((20, 30), (70, 60))),
}


def _check(gpu: Gpu, mask: NDArray[np.bool_], connectivity: int) -> int:
    labels, counts = gpu.ops.label_regions(torch.from_numpy(mask)[None].to(gpu.device), connectivity)
    want, count = ndimage.label(mask, STRUCTURE[connectivity])
    assert labels.dtype == torch.int32
    assert counts.dtype == torch.int64
    assert counts.tolist() == [count]
    np.testing.assert_array_equal(labels[0].cpu().numpy(), want)
    return int(count)


def _same(got: Sequence[Tensor], want: Sequence[Tensor]) -> None:
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.cpu(), b.cpu(), rtol=0, atol=0, equal_nan=True)


def _image(height: int, width: int, density: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    mask = torch.rand(height, width, generator=generator) < density
    return torch.randn(height, width, generator=generator, dtype=dtype), mask


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(name: str, connectivity: int, gpu: Gpu) -> None:
    count = _check(gpu, PATTERNS[name], connectivity)
    if (name, connectivity) in [("spiral", 4), ("snake", 4), ("chessboard", 8), ("comb", 4), ("late_first_pixel", 8)]:
        assert count == 1


@pytest.mark.parametrize("connectivity", [4, 8])
def test_sizes_around_tiles(connectivity: int, gpu: Gpu) -> None:
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (1, 2), (2, 1), (1, 200), (200, 1), (7, 31), (8, 32), (9, 33), (15, 63), (16, 64), (17, 65)]
    for height, width in [*sizes, (33, 129), (49, 96)]:
        _check(gpu, rng.random((height, width)) < (0.45 if connectivity == 8 else 0.6), connectivity)


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("density", [0.02, 0.3, 0.75, 0.95])
def test_densities(density: float, connectivity: int, gpu: Gpu) -> None:
    _check(gpu, np.random.default_rng(1).random((37, 101)) < density, connectivity)


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("batch", [3, 33])  # 32 images are taken at a time
def test_batches(batch: int, connectivity: int, gpu: Gpu) -> None:
    mask = torch.rand(batch, 9, 11, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[1] = False
    _same(gpu.ops.label_regions(mask.to(gpu.device), connectivity), reference.label_regions(mask, connectivity))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_values(dtype: torch.dtype, gpu: Gpu) -> None:
    values = torch.randint(0, 3, (2, 10, 37), generator=torch.Generator().manual_seed(3))
    want = torch.ops.stadx.label_regions(values != 0)
    # of wide ones only the highest byte is set, some with the sign
    mask = (values << 8 * dtype.itemsize - 2 if dtype.itemsize > 1 else values).to(dtype)
    _same(gpu.ops.label_regions(mask.to(gpu.device)), want)
    scores = torch.randn(values.shape)
    found = gpu.ops.defect_pixels(list(scores.to(gpu.device)), list(mask.to(gpu.device)))
    _same(found, torch.ops.stadx.defect_pixels(list(scores), list(values != 0)))


@pytest.mark.parametrize("layout", ["sliced", "transposed", "every_second", "expanded", "batch_inside"])
def test_layouts(layout: str, gpu: Gpu) -> None:
    generator = torch.Generator().manual_seed(4)
    big, scores = torch.rand(4, 30, 50, generator=generator) < 0.45, torch.randn(4, 30, 50, generator=generator)

    def lay(x: Tensor) -> Tensor:
        return {
            "sliced": lambda: x[1:3, 3:-5, 7:-9],
            "transposed": lambda: x.transpose(1, 2),
            "every_second": lambda: x[::2, ::2, ::2],
            "expanded": lambda: x[:1].expand(4, -1, -1),
            "batch_inside": lambda: x.transpose(0, 1)[:7],
        }[layout]()

    mask, maps = lay(big.to(gpu.device)), lay(scores.to(gpu.device))
    _same(gpu.ops.label_regions(mask), torch.ops.stadx.label_regions(lay(big)))
    _same(
        gpu.ops.defect_pixels(list(maps), list(mask)), torch.ops.stadx.defect_pixels(list(lay(scores)), list(lay(big)))
    )


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4), (2, 4, 0)])
def test_empty(shape: tuple[int, int, int], gpu: Gpu) -> None:
    mask = torch.zeros(shape, dtype=torch.bool, device=gpu.device)
    _same(
        gpu.ops.label_regions(mask), (torch.zeros(shape, dtype=torch.int32), torch.zeros(shape[0], dtype=torch.int64))
    )
    if shape[0] > 0:
        maps = torch.zeros(shape, device=gpu.device)
        _same(gpu.ops.defect_pixels(list(maps), list(mask)), reference.defect_pixels(list(maps), list(mask)))


def test_chunks_of_a_tall_mask_add_up(gpu: Gpu) -> None:
    # more chunks of 1024 words than a warp has lanes
    if gpu.name in ("simt-reversed", "simt-shuffled"):
        pytest.skip("takes seconds; the order matters within blocks, which are no different here")
    mask = torch.zeros(1, 34000, 1, dtype=torch.bool)
    mask[0, [0, 5, 6, 40, 20000, 32767, 32769, 33999]] = True
    maps = torch.arange(34000.0)[None, :, None]
    _same(gpu.ops.label_regions(mask.to(gpu.device)), torch.ops.stadx.label_regions(mask))
    found = gpu.ops.defect_pixels(list(maps.to(gpu.device)), list(mask.to(gpu.device)))
    _same(found, torch.ops.stadx.defect_pixels(list(maps), list(mask)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_defect_pixels_of_any_sizes(connectivity: int, dtype: torch.dtype, gpu: Gpu) -> None:
    shapes = [(1, 1), (1, 70), (70, 1), (0, 5), (17, 33), (9, 64), (5, 0), (2, 2), (3, 100), (6, 6), (18, 66)]
    images = [_image(h, w, d, dtype) for h, w in shapes for d in (0.4, 0.0, 1.0)]  # more than 32
    images[0][0].fill_(np.nan)
    maps, masks = [x for x, _ in images], [x for _, x in images]
    on = [x.to(gpu.device) for x in maps], [x.to(gpu.device) for x in masks]
    found = gpu.ops.defect_pixels(*on, connectivity)
    _same(found, torch.ops.stadx.defect_pixels(maps, masks, connectivity))
    _same(found, reference.defect_pixels(maps, masks, connectivity))


@pytest.mark.parametrize("connectivity", [4, 8])
def test_areas_of_large_regions(connectivity: int, gpu: Gpu) -> None:
    masks = [torch.from_numpy(PATTERNS[name]) for name in ("full", "spiral", "comb", "chessboard", "nothing")]
    maps = [torch.randn(mask.shape, generator=torch.Generator().manual_seed(5)) for mask in masks]
    found = gpu.ops.defect_pixels([x.to(gpu.device) for x in maps], [x.to(gpu.device) for x in masks], connectivity)
    _same(found, torch.ops.stadx.defect_pixels(maps, masks, connectivity))


def test_nothing_inside_any_image(gpu: Gpu) -> None:
    maps, masks = [torch.zeros(3, 4)] * 2, [torch.zeros(3, 4, dtype=torch.uint8)] * 2
    found = gpu.ops.defect_pixels([x.to(gpu.device) for x in maps], [x.to(gpu.device) for x in masks])
    assert [len(x) for x in found] == [0, 0, 0, 0, 2]
    _same(found, torch.ops.stadx.defect_pixels(maps, masks))


X, M = torch.zeros(4, 5), torch.ones(4, 5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("label_regions", (M,), r"\[B, H, W\]"),
        ("label_regions", (X[None],), "bool or integer"),
        ("label_regions", (M[None], 6), "must be 4 or 8, but is 6"),
        ("label_regions", (M[None, :1, :1].expand(1, 1 << 16, 1 << 16),), "more than the 2"),
        ("defect_pixels", ([X], [M], 6), "connectivity must be 4 or 8, but is 6"),
        ("defect_pixels", ([X, X], [M]), "as many masks as maps"),
        ("defect_pixels", ([X, X], [M, M[:3]]), r"map and mask 1 must be \[H, W\] of one size"),
        ("defect_pixels", ([X, X.double()], [M, M]), "all float32 or all float64"),
        ("defect_pixels", ([X, X], [M, M.float()]), "mask 1 must be bool or integer"),
    ],
)
def test_bad_input_is_named_as_on_the_cpu(name: str, args: tuple[Any, ...], message: str, gpu: Gpu) -> None:
    def move(x: Any) -> Any:
        return [move(y) for y in x] if isinstance(x, list) else x.to(gpu.device) if isinstance(x, Tensor) else x

    with pytest.raises(RuntimeError, match=message):
        getattr(gpu.ops, name)(*map(move, args))
    with pytest.raises(RuntimeError, match=message):
        getattr(torch.ops.stadx, name)(*args)


def test_a_graph_can_be_captured(gpu: Gpu) -> None:
    if gpu.name != "cuda":
        pytest.skip("needs a GPU")
    mask = torch.zeros(2, 70, 90, dtype=torch.bool, device=gpu.device)
    gpu.ops.label_regions(mask)  # loads the kernels, which a capture must not
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = gpu.ops.label_regions(mask)
    mask.copy_(torch.rand(2, 70, 90, generator=torch.Generator().manual_seed(6)) < 0.5)
    graph.replay()
    _same(found, torch.ops.stadx.label_regions(mask.cpu()))


def labels_are_right(operators: Any) -> bool:
    """What the kernels need their barriers for; run without each of them below."""
    maps, masks = zip(*[_image(18, 70, d) for d in (0.45, 1.0)], _image(140, 33, 0.6), strict=True)
    for connectivity in (4, 8):
        want = torch.ops.stadx.defect_pixels(maps, masks, connectivity)
        if not all(map(torch.equal, operators.defect_pixels(maps, masks, connectivity), want)):
            return False
    return True


# Those of block_sum.cuh, line by line, are the matter of kernels that call it again and again.
BARRIERS = barriers_of("label_find.cuh", "label_number.cuh", "label_image.cuh")


@pytest.mark.skipif(no_simt() is not None, reason=str(no_simt()))
def test_all_barriers_are_known_by_their_lines() -> None:
    host = load_simt()
    host.configure()
    host.barriers()
    assert labels_are_right(torch.ops.stadx_simt)
    assert set(host.barriers()) == set(BARRIERS) | set(barriers_of("block_sum.cuh"))
    assert not set(BARRIERS) & set(barriers_of("block_sum.cuh"))


@pytest.mark.skipif(no_simt() is not None, reason=str(no_simt()))
@pytest.mark.parametrize("line", [0, *BARRIERS, barriers_of("block_sum.cuh")[0]])
def test_every_barrier_is_needed(line: int) -> None:
    assert fails_without_barrier(line, "test_gpu_labels", "labels_are_right") == (line != 0)
