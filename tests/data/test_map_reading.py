"""Maps of any tool with their masks: what is read from the files, and what is refused with a fix."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from map_files_on_disk import SCORES, SPOT, check_refused, one, same, save_map, save_mask
from PIL import Image

from stadx.core.errors import DataError
from stadx.data.maps import MapItem, open_map_set

# What is read


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u1", "u2", "i4", "u4"])
def test_tiff(tmp_path: Path, dtype: str, order: str) -> None:
    values = (SCORES * 50 + 200).astype(dtype)
    (tmp_path / "maps/cut").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "maps/cut/0.tif", values, byteorder=order)
    scores, _, _ = next(iter(one(tmp_path, "0.tif")))
    assert np.array_equal(scores, values)
    assert scores.dtype == np.dtype(dtype) and scores.dtype.isnative
    assert type(scores) is np.ndarray and scores.flags.c_contiguous and scores.flags.writeable


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png(tmp_path: Path, dtype: Any) -> None:
    values = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, SPOT.shape, dtype, endpoint=True)
    scores, _, _ = next(iter(one(tmp_path, "0.png", values)))
    assert scores.dtype == dtype and np.array_equal(scores, values)


def test_png_of_one_bit(tmp_path: Path) -> None:
    scores, _, _ = next(iter(one(tmp_path, "0.png", SPOT)))
    assert scores.dtype == np.uint8 and np.array_equal(scores != 0, SPOT)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">i2", "<i8", "|u1", "|b1"])
def test_npy(tmp_path: Path, dtype: str) -> None:
    values = np.asfortranarray((SCORES * 50).astype(dtype))
    scores, _, _ = next(iter(one(tmp_path, "0.npy", values)))
    assert np.array_equal(scores, values)
    assert scores.dtype == (np.uint8 if dtype == "|b1" else np.dtype(dtype).newbyteorder("="))
    assert type(scores) is np.ndarray and scores.flags.c_contiguous and scores.flags.writeable and scores.dtype.isnative


@pytest.mark.parametrize("shape", [(1, 6, 9), (6, 9, 1), (1, 1, 6, 9), (1, 6, 9, 1)])
@pytest.mark.parametrize("suffix", [".npy", ".tiff"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dimensions_of_one_are_dropped(tmp_path: Path, shape: tuple[int, ...], suffix: str, dtype: Any) -> None:
    scores, _, _ = next(iter(one(tmp_path, f"0{suffix}", SCORES.astype(dtype).reshape(shape))))
    assert scores.dtype == dtype and np.array_equal(scores, SCORES)


@pytest.mark.parametrize("shape", [(3, 6, 9), (6, 9, 3), (54,), (), (0, 9)])
def test_arrays_that_are_no_plane(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=rf"cut/0\.npy: has shape {re.escape(str(list(shape)))}; save one array"):
        list(one(tmp_path, "0.npy", np.zeros(shape)))


@pytest.mark.parametrize("values", [SCORES * 1j, SCORES.astype(str), SCORES.astype("m8[s]"), SCORES.view("V4")])
def test_arrays_that_are_not_real(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"cut/0\.npy: holds .*, not real numbers; save it as float32"):
        list(one(tmp_path, "0.npy", values))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cut/0\.npy: cannot be read as an array .*objects.*numpy\.save"):
        list(one(tmp_path, "0.npy", np.full((6, 9), None)))


def test_complex_tiff(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cut/0\.tiff: holds complex64, not real numbers"):
        list(one(tmp_path, "0.tiff", SCORES * np.complex64(1j)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "CMYK"])
def test_colour_pictures(tmp_path: Path, mode: str) -> None:
    name = "0.tif" if mode == "CMYK" else "0.png"
    (tmp_path / "maps/cut").mkdir(parents=True)
    Image.new(mode, (9, 6)).save(tmp_path / "maps/cut" / name)
    with pytest.raises(DataError, match=rf"cut/{re.escape(name)}: is a colour picture, not a map; save the scores"):
        list(one(tmp_path, name))


def test_colour_tiff_of_float64(tmp_path: Path) -> None:
    (tmp_path / "maps/cut").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "maps/cut/0.tiff", np.zeros((6, 9, 3)), photometric="rgb")
    with pytest.raises(DataError, match=r"cut/0\.tiff: has shape \[6, 9, 3\]; save one array"):
        list(one(tmp_path, "0.tiff"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiff_of_several_pages(tmp_path: Path, dtype: Any) -> None:
    (tmp_path / "maps/cut").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "maps/cut/0.tiff", np.zeros((4, 6, 9), dtype), photometric="minisblack")
    with pytest.raises(DataError, match=r"cut/0\.tiff: holds 4 pictures; save each map"):
        list(one(tmp_path, "0.tiff"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, before its error
@pytest.mark.parametrize("name", ["0.tiff", "0.png", "0.npy"])
@pytest.mark.parametrize("content", ["cut short", "header only", "other", "archive", "empty"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_damaged_maps(tmp_path: Path, name: str, content: str, dtype: Any) -> None:
    path = save_map(tmp_path / "maps/cut" / name, np.random.default_rng(2).random((60, 90)).astype(dtype) * 60000)
    whole = path.read_bytes()
    parts = {"cut short": whole[:-500], "header only": whole[:40], "other": b"scores", "archive": b"PK\3\4" * 20}
    path.write_bytes(parts.get(content, b""))
    save_mask(tmp_path / "truth/cut/0_mask.png", np.ones((60, 90), np.bool_))
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: .*; "):
        list(one(tmp_path, name))


def test_map_removed_after_opening(maps: Path, masks: Path) -> None:
    opened = open_map_set(maps, masks)
    (maps / "cut/2.tiff").unlink()
    with pytest.raises(DataError, match=r"cut/2\.tiff: no such file"):
        list(opened)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limit_of_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    monkeypatch.setenv("STADX_MAX_PIXELS", "53")
    with pytest.raises(DataError, match=r"cut/0\.tiff: 9x6 pixels, more than .*53.*STADX_MAX_PIXELS"):
        list(one(tmp_path, "0.tiff", SCORES.astype(dtype)))


# Masks


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, ">i2"])
@pytest.mark.parametrize("shape", [(6, 9), (1, 6, 9), (6, 9, 1)])
def test_npy_mask(tmp_path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    save_mask(tmp_path / "truth/cut/0_mask.npy", (SPOT * -1).astype(dtype).reshape(shape))
    _, mask, _ = next(iter(one(tmp_path, "0.tiff", SCORES, "0_mask.npy")))
    assert type(mask) is np.ndarray and mask.dtype == np.bool_ and np.array_equal(mask, SPOT)


@pytest.mark.parametrize("name", ["0_mask.png", "0_mask.npy"])
@pytest.mark.parametrize("map_name", ["0.tiff", "0.npy", "0.png"])
def test_mask_of_another_size(tmp_path: Path, name: str, map_name: str) -> None:
    mask = save_mask(tmp_path / "truth/cut" / name, SPOT.T)
    map_path = save_map(tmp_path / "maps/cut" / map_name)
    check_refused(tmp_path / "maps", tmp_path / "truth", mask, map_path, "give both the same size", read=True)


@pytest.mark.parametrize("name", ["0_mask.png", "0_mask.npy"])
def test_mask_that_marks_nothing(tmp_path: Path, name: str) -> None:
    mask = save_mask(tmp_path / "truth/cut" / name, np.zeros_like(SPOT))
    map_path = save_map(tmp_path / "maps/cut/0.tiff")
    check_refused(tmp_path / "maps", tmp_path / "truth", mask, map_path, "marks no pixel", "good", read=True)


def test_masks_that_cannot_be_read(maps: Path, masks: Path) -> None:
    (masks / "bent/0_mask.png").write_bytes(b"no mask")
    check_refused(maps, masks, masks / "bent/0_mask.png", read=True)
    (masks / "bent/0_mask.png").unlink()
    mask = save_mask(masks / "bent/0_mask.npy", SPOT.astype(np.float32))
    check_refused(maps, masks, mask, "holds float32, but masks are bool or integer", read=True)
    mask.write_bytes(mask.read_bytes()[:-9])
    check_refused(maps, masks, mask, "cannot be read as an array", read=True)
    save_mask(mask, SPOT[0])
    check_refused(maps, masks, mask, "has shape [9]", read=True)


# Stacks


@pytest.fixture
def stack(tmp_path: Path) -> tuple[Path, Path]:
    """Four maps and masks [4, 6, 9], the second mask without a defect."""
    scores = np.stack([SCORES + i for i in range(4)])
    masks = np.stack([SPOT, np.zeros_like(SPOT), SPOT, SPOT]).astype(np.uint8) * 255
    return save_map(tmp_path / "maps.npy", scores), save_mask(tmp_path / "masks.npy", masks)


def test_stacks(stack: tuple[Path, Path]) -> None:
    maps, masks = stack
    opened = open_map_set(maps, str(masks))
    assert len(opened) == 4
    assert opened.items == [MapItem(maps, None if i == 1 else masks, "") for i in range(4)]
    assert opened.names == [f"{maps}[{i}]" for i in range(4)]
    for i, (scores, mask, defect) in enumerate(opened):
        assert type(scores) is np.ndarray and scores.dtype == np.float32 and type(mask) is np.ndarray
        assert np.array_equal(scores, SCORES + i) and defect == ""
        assert mask.dtype == np.bool_ and np.array_equal(mask, np.zeros_like(SPOT) if i == 1 else SPOT)
    assert same(opened, opened)


def test_stacks_are_read_a_map_at_a_time(tmp_path: Path) -> None:
    maps = save_map(tmp_path / "maps.npy", np.zeros((100, 100, 100)))
    masks = save_mask(tmp_path / "masks.npy", np.ones((100, 100, 100), np.bool_))
    tracemalloc.start()
    try:
        for scores, _, _ in open_map_set(maps, masks):
            assert scores.shape == (100, 100)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < maps.stat().st_size / 10


@pytest.mark.parametrize("shape", [(6, 9), (1, 6, 9), (1, 1, 6, 9), (1, 6, 9, 1)])
@pytest.mark.parametrize("mask_shape", [(6, 9), (1, 6, 9)])
def test_stacks_of_one(tmp_path: Path, shape: tuple[int, ...], mask_shape: tuple[int, ...]) -> None:
    maps = save_map(tmp_path / "maps.NPY", SCORES.reshape(shape))
    ((scores, mask, _),) = open_map_set(maps, save_mask(tmp_path / "masks.npy", SPOT.reshape(mask_shape)))
    assert np.array_equal(scores, SCORES) and np.array_equal(mask, SPOT)


def test_stacks_with_a_channel_and_in_other_orders(stack: tuple[Path, Path]) -> None:
    maps, masks = stack
    before = list(open_map_set(maps, masks))
    save_map(maps, np.asfortranarray(np.load(maps).astype(">f8"))[:, None])
    save_mask(masks, np.load(masks).astype(">i4")[..., None] * -1)
    for (scores, mask, _), (old, old_mask, _) in zip(open_map_set(maps, masks), before, strict=True):
        assert scores.dtype == np.float64 and scores.dtype.isnative and scores.flags.c_contiguous
        assert np.array_equal(scores, old) and np.array_equal(mask, old_mask)


def test_stacks_of_unequal_shapes(stack: tuple[Path, Path]) -> None:
    maps, masks = stack
    save_mask(masks, np.load(masks)[1:])
    check_refused(maps, masks, f"{masks}: the masks are [3, 6, 9] but the maps {maps} are [4, 6, 9]", "the same shape")


def test_stacks_without_defects(stack: tuple[Path, Path]) -> None:
    maps, masks = stack
    save_mask(masks, np.zeros((4, 6, 9), np.bool_))
    check_refused(maps, masks, f"{masks}: no mask marks a defect")


@pytest.mark.parametrize("shape", [(4, 6, 9, 3), (4, 2, 6, 9, 1), (54,), (), (0, 6, 9)])
def test_stacks_of_other_dimensions(stack: tuple[Path, Path], shape: tuple[int, ...]) -> None:
    maps, masks = stack
    save_map(maps, np.zeros(shape, np.float32))
    check_refused(maps, masks, f"{maps}: has shape {list(shape)}; give an array [N, H, W]")


def test_stacks_of_other_types(stack: tuple[Path, Path]) -> None:
    maps, masks = stack
    check_refused(masks, maps, f"{maps}: holds float32, but masks are bool or integer; name them after the maps")
    save_map(maps, np.zeros((4, 6, 9), np.complex64))
    check_refused(maps, masks, f"{maps}: holds complex64, not real numbers")
    save_map(maps, np.full((4, 6, 9), None))
    check_refused(maps, masks, f"{maps}: cannot be read as an array", "objects", "numpy.save")


def test_damaged_stacks(stack: tuple[Path, Path]) -> None:
    maps, masks = stack
    opened = open_map_set(maps, masks)
    content = maps.read_bytes()
    for damaged in (content[:-1], content[:60], b"PK\3\4" * 20, b"scores"):
        maps.write_bytes(damaged)
        check_refused(maps, masks, f"{maps}: cannot be read as an array")
    maps.write_bytes(b"")
    check_refused(maps, masks, f"{maps}: is empty (0 bytes)")
    maps.unlink()
    with pytest.raises(DataError, match=r"maps\.npy: no such file"):
        list(opened)
