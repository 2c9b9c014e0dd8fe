"""Maps of any tool with their masks: what belongs together, what is read, and what is refused with a fix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from map_files_on_disk import SCORES, SPOT, check_refused, one, same, save_map, save_mask

from stadx.core.errors import DataError
from stadx.data.images import write_image, write_map
from stadx.data.maps import MapItem, open_map_set

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
    (empty / "cut/0.txt").touch()
    check_refused(empty, masks, f"{empty}: no maps in this folder or below", ".npy")
    check_refused(maps, empty, f"{empty}: no masks of defects in this folder or below", "DEFECT/NAME_mask.png")
    save_mask(empty / "good/0_mask.png")
    check_refused(maps, empty, f"{empty}: no masks of defects")
