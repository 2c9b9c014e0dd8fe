"""Maps of any tool with their masks: what belongs together, what is read, and what is refused with a mend."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from stadx.data.images import write_image, write_map
from stadx.data.map_files import MapItem, MapSet, open_map_set
from stadx.errors import DataError

SCORES = np.random.default_rng(5).standard_normal((6, 9)).astype(np.float32)
SPOT = np.zeros((6, 9), np.bool_)
SPOT[2:4, 3:7] = True


def save_map(path: Path, scores: np.ndarray = SCORES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".npy":
        with path.open("wb") as file:  # by name, numpy.save would append its own suffix to .NPY
            np.save(file, scores)
    elif path.suffix.lower() == ".png":
        Image.fromarray(scores.astype(np.uint16) if scores.dtype.kind == "f" else scores).save(path)
    else:
        tifffile.imwrite(path, scores)
    return path


def save_mask(path: Path, mask: np.ndarray = SPOT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, mask)
    else:
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return path


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Maps in the layout of MVTec AD, of as many values as there are files."""
    for i, name in enumerate(["good/0", "cut/2", "cut/10", "bent/0"]):
        save_map(tmp_path / "maps" / f"{name}.tiff", SCORES + np.float32(i))
    return tmp_path / "maps"


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    for i, name in enumerate(["cut/2", "cut/10", "bent/0"]):
        save_mask(tmp_path / "truth" / f"{name}_mask.png", np.roll(SPOT, i, axis=0))
    return tmp_path / "truth"


def one(folder: Path, name: str, scores: np.ndarray | None = None, mask: str = "0_mask.png") -> MapSet:
    """A set of one map, maps/cut/NAME, and its mask; the map's file is there already where no scores are given."""
    if scores is not None:
        save_map(folder / "maps/cut" / name, scores)
    if not (folder / "truth/cut" / mask).exists():
        save_mask(folder / "truth/cut" / mask)
    return open_map_set(folder / "maps", folder / "truth")


def check_refused(maps: Path, masks: Path, *words: str | Path, read: bool = False) -> None:
    """Opening, or else only reading, raises an error with `words`, a mend after the colon or semicolon."""
    if read:
        opened = open_map_set(maps, masks)
        with pytest.raises(DataError, match=re.escape(str(words[0]))) as caught:
            list(opened)
    else:
        with pytest.raises(DataError, match=re.escape(str(words[0]))) as caught:
            open_map_set(maps, masks)
    for word in (*words, "; "):
        assert str(word) in str(caught.value)


def same(left: MapSet, right: MapSet) -> bool:
    return all(
        np.array_equal(a, x) and a.dtype == x.dtype and np.array_equal(b, y) and c == z
        for (a, b, c), (x, y, z) in zip(left, right, strict=True)
    )


# What belongs together


def test_layout_of_mvtec(maps: Path, masks: Path) -> None:
    opened = open_map_set(str(maps), str(masks))
    assert len(opened) == 4
    assert opened.items == [
        MapItem(maps / "bent/0.tiff", masks / "bent/0_mask.png", "bent"),
        MapItem(maps / "cut/2.tiff", masks / "cut/2_mask.png", "cut"),
        MapItem(maps / "cut/10.tiff", masks / "cut/10_mask.png", "cut"),
        MapItem(maps / "good/0.tiff", None, "good"),
    ]
    assert opened.names == [str(item.path) for item in opened.items]
    for (scores, mask, defect), item, (offset, shift) in zip(
        opened, opened.items, [(3, 2), (1, 0), (2, 1), (0, None)], strict=True
    ):
        assert scores.dtype == np.float32 and mask.dtype == np.bool_ and defect == item.defect
        assert np.array_equal(scores, SCORES + np.float32(offset))
        assert np.array_equal(mask, np.zeros_like(SPOT) if shift is None else np.roll(SPOT, shift, axis=0))


def test_iterating_again_gives_the_same_from_disk(maps: Path, masks: Path) -> None:
    opened = open_map_set(maps, masks)
    first = list(opened)
    first[1][0][:] = 0  # what was given out is the caller's own
    assert same(opened, opened) and same(opened, open_map_set(maps, masks))
    scores, _, _ = next(iter(opened))
    save_map(maps / "bent/0.tiff", scores + 1)
    assert np.array_equal(next(iter(opened))[0], scores + 1)


def test_one_file_is_read_at_a_time(maps: Path, masks: Path) -> None:
    (maps / "cut/10.tiff").write_bytes(b"no map")
    pairs = iter(open_map_set(maps, masks))
    assert [next(pairs)[2], next(pairs)[2]] == ["bent", "cut"]
    with pytest.raises(DataError, match=r"cut/10\.tiff"):
        next(pairs)


def test_category_as_masks(maps: Path, masks: Path) -> None:
    category = masks.parent / "bolt"
    (category / "test/cut").mkdir(parents=True)
    save_map(category / "test/cut/2.png")
    masks.rename(category / "ground_truth")
    opened = open_map_set(maps, category)
    assert opened.items[0].mask == category / "ground_truth/bent/0_mask.png"
    assert len(list(opened)) == 4


@pytest.mark.parametrize("name", ["7", "7_map", "7_anomaly_map", "7_scores", "7_MAP"])
@pytest.mark.parametrize("mask", ["7.png", "7_mask.png", "7_gt.bmp", "7_GT.tif", "7_mask.npy"])
def test_endings_that_do_not_count(tmp_path: Path, name: str, mask: str) -> None:
    opened = one(tmp_path, f"{name}.npy", SCORES, mask)
    assert opened.items == [MapItem(tmp_path / f"maps/cut/{name}.npy", tmp_path / "truth/cut" / mask, "cut")]
    assert np.array_equal(next(iter(opened))[1], SPOT)


@pytest.mark.parametrize(("name", "mask"), [("site_map", "site_map_mask"), ("site_map_map", "site_map")])
def test_images_called_like_an_ending(tmp_path: Path, name: str, mask: str) -> None:
    assert len(one(tmp_path, f"{name}.npy", SCORES, f"{mask}.png")) == 1


def test_a_name_that_is_only_an_ending_stays(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cut/_map\.npy: has no mask; expected .*cut/_map_mask\.png"):
        one(tmp_path, "_map.npy", SCORES, "_gt.png")


def test_flat_and_nested_folders(tmp_path: Path) -> None:
    for name in ("0", "a/b/0", "a/good/0", "a/1"):
        save_map(tmp_path / f"maps/{name}.NPY")
    for name in ("0", "a/b/0", "a/1"):
        save_mask(tmp_path / f"truth/{name}_mask.png")
    opened = open_map_set(tmp_path / "maps", tmp_path / "truth")
    assert [str(i.path.relative_to(tmp_path / "maps")) for i in opened.items] == [
        "0.NPY", "a/1.NPY", "a/b/0.NPY", "a/good/0.NPY",
    ]  # fmt: skip
    assert [i.defect for i in opened.items] == ["", "a", "b", "good"]
    assert [i.mask is None for i in opened.items] == [False, False, False, True]


def test_hidden_files_leftovers_and_other_kinds_are_ignored(maps: Path, masks: Path) -> None:
    for name in ("cut/._2.tiff", ".cache/0.tiff", "__MACOSX/0.tiff", "cut/notes.txt", "cut/3.jpg"):
        (maps / name).parent.mkdir(exist_ok=True)
        (maps / name).touch()
        (masks / name).parent.mkdir(exist_ok=True)
        (masks / name).touch()
    (maps / "cut/folder.png").mkdir()
    assert len(list(open_map_set(maps, masks))) == 4


def test_masks_of_good_images_are_ignored(maps: Path, masks: Path) -> None:
    save_mask(masks / "good/0_mask.png", np.zeros_like(SPOT))
    save_mask(masks / "good/1_mask.png", np.zeros_like(SPOT))
    last = open_map_set(maps, masks).items[-1]
    assert last.defect == "good" and last.mask is None


def test_output_of_predict(tmp_path: Path, masks: Path) -> None:
    out = tmp_path / "out"
    for name in ("good/0", "cut/2", "cut/10", "bent/0"):
        write_map(out / f"{name}_map.tiff", SCORES)
        write_image(out / f"{name}_overlay.png", np.zeros((6, 9, 3), np.uint8))
        write_image(out / f"{name}_mask.png", SPOT.astype(np.uint8))
        (out / name).parent.joinpath("scores.jsonl").write_text("{}\n")
    (out / "bent/0_mask.png").rename(out / "bent/0_mask.tiff")  # as of huge images
    opened = open_map_set(out, masks)
    assert [i.path.name for i in opened.items] == ["0_map.tiff", "2_map.tiff", "10_map.tiff", "0_map.tiff"]
    for scores, _, _ in opened:
        assert np.array_equal(scores, SCORES)


def test_output_of_predict_beside_other_folders(tmp_path: Path) -> None:
    write_map(tmp_path / "maps/cut/0_map.tiff", SCORES)
    save_map(tmp_path / "maps/cut/1.png")
    save_map(tmp_path / "maps/bent/1.png")
    save_mask(tmp_path / "truth/bent/1_mask.png")
    assert [i.path.name for i in one(tmp_path, "0_map.tiff").items] == ["1.png", "0_map.tiff"]


def test_map_without_mask(maps: Path, masks: Path) -> None:
    (masks / "cut/10_mask.png").unlink()
    check_refused(maps, masks, maps / "cut/10.tiff", "has no mask; expected", masks / "cut/10_mask.png", "named good")


def test_map_without_mask_at_the_top(maps: Path, masks: Path) -> None:
    save_map(maps / "7_map.npy")
    check_refused(maps, masks, maps / "7_map.npy", masks / "7_mask.png")


def test_maps_in_a_folder_test(maps: Path, masks: Path) -> None:
    root = maps.parent / "nested"
    root.mkdir()
    maps.rename(root / "test")
    check_refused(root, masks, "test/bent/0.tiff", f"did you mean the maps in {root / 'test'}?")


def test_masks_without_maps(maps: Path, masks: Path) -> None:
    for i in range(20, 25):
        save_mask(masks / f"cut/{i}_mask.png")
    listed = ", ".join(str(masks / f"cut/{i}_mask.png") for i in (20, 21, 22))
    check_refused(maps, masks, f"{listed}, ...: 5 of 8 masks have no map", maps)


def test_one_mask_without_map(maps: Path, masks: Path) -> None:
    (maps / "cut/2.tiff").unlink()
    check_refused(maps, masks, f"{masks / 'cut/2_mask.png'}: 1 of 3 masks have no map", maps)


@pytest.mark.parametrize(("first", "second"), [("cut/2.tiff", "cut/2_scores.npy"), ("good/0.tiff", "good/0.png")])
def test_two_maps_of_one_image(maps: Path, masks: Path, first: str, second: str) -> None:
    save_map(maps / second)
    check_refused(maps, masks, "second map of the same image", maps / first, maps / second, "remove one")


def test_two_masks_of_one_image(maps: Path, masks: Path) -> None:
    save_mask(masks / "cut/2.png")
    check_refused(maps, masks, "second mask of the same image", masks / "cut/2.png", masks / "cut/2_mask.png")


# Other paths


def test_missing_paths(maps: Path, masks: Path) -> None:
    check_refused(maps.with_name("mops"), masks, f"{maps.with_name('mops')}: no such file or folder")
    check_refused(maps, masks.with_name("m.npy"), f"{masks.with_name('m.npy')}: no such file or folder")


def test_files_of_another_kind(maps: Path, masks: Path) -> None:
    check_refused(maps / "cut/2.tiff", masks, maps / "cut/2.tiff", "neither a folder nor a .npy file")
    check_refused(maps, masks / "cut/2_mask.png", masks / "cut/2_mask.png", "neither a folder nor a .npy file")


def test_folder_and_file(maps: Path, masks: Path) -> None:
    stack = save_map(maps.parent / "stack.npy")
    check_refused(stack, masks, stack, masks, "one is a folder, the other a file")
    check_refused(maps, stack, stack, maps, "one is a folder, the other a file")


def test_the_same_as_maps_and_masks(maps: Path) -> None:
    check_refused(maps, maps / ".", maps, "both as maps and as masks")
    stack = save_map(maps.parent / "stack.npy")
    check_refused(stack, stack, stack, "both as maps and as masks")


def test_folders_without_maps_or_masks(maps: Path, masks: Path) -> None:
    empty = maps.parent / "empty"
    (empty / "cut").mkdir(parents=True)
    (empty / "cut/0.jpg").touch()
    check_refused(empty, masks, f"{empty}: no maps in this folder or below", ".npy")
    check_refused(maps, empty, f"{empty}: no masks of defects in this folder or below", "DEFECT/NAME_mask.png")
    save_mask(empty / "good/0_mask.png")
    check_refused(maps, empty, f"{empty}: no masks of defects")


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
