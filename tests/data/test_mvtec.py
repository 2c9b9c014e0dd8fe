"""Categories in MVTec AD layout: what opens, and what is refused with the file and the fix named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stadx.core.errors import DataError
from stadx.data.images import list_images, read_image
from stadx.data.layouts import list_category, open_category, training_images
from stadx.data.layouts.category import read_mask


def save(path: Path, size: tuple[int, int] = (12, 8), spot: bool = False) -> Path:
    """A black image of `size` (width, height), with a white 3x2 spot if asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", size)
    if spot:
        image.paste(255, (4, 3, 7, 5))
    image.save(path)
    return path


@pytest.fixture
def category(tmp_path: Path) -> Path:
    root = tmp_path / "set" / "bolt"
    for i in range(3):
        save(root / f"train/good/{i:03}.png")
    save(root / "test/good/000.png")
    for defect, count in (("bent", 2), ("cut", 11)):
        for i in range(count):
            save(root / f"test/{defect}/{i}.png")
            save(root / f"ground_truth/{defect}/{i}_mask.png", spot=True)
    return root


def test_open_category(category: Path) -> None:
    opened = open_category(str(category))
    assert opened.name == "bolt"
    assert opened.defects == ["bent", "cut"] and opened.has_defects
    assert [p.name for p in opened.train] == ["000.png", "001.png", "002.png"]
    assert [t.defect for t in opened.test] == ["good"] + ["bent"] * 2 + ["cut"] * 11
    assert [t.path.stem for t in opened.test[3:]] == [str(i) for i in range(11)]
    assert opened.test[0].mask is None and opened.test[0].is_good
    for test in opened.test[1:]:
        assert test.mask == category / "ground_truth" / test.defect / f"{test.path.stem}_mask.png"


def test_name_of_the_current_folder(category: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(category)
    assert open_category(".").name == "bolt"


def test_good_images_come_first(category: Path) -> None:
    save(category / "test/aged/0.png")
    save(category / "ground_truth/aged/0.png", spot=True)
    assert [t.defect for t in open_category(category).test][:2] == ["good", "aged"]


def test_mask_named_as_its_image(category: Path) -> None:
    folder = category / "ground_truth/cut"
    (folder / "10_mask.png").rename(folder / "10.png")
    assert open_category(category).test[-1].mask == folder / "10.png"


def test_category_without_defects(category: Path) -> None:
    for defect in ("bent", "cut"):
        for image in list_images(category / "test" / defect):
            image.unlink()
        (category / "test" / defect).rmdir()
    for mask in category.glob("ground_truth/*/*"):
        mask.unlink()
    opened = open_category(category)
    assert not opened.has_defects and opened.defects == []
    assert [t.defect for t in opened.test] == ["good"]


def test_hidden_files_and_masks_of_good_images_are_ignored(category: Path) -> None:
    save(category / "ground_truth/good/000_mask.png")
    save(category / "test/cut/._0.png")
    save(category / "ground_truth/cut/._0_mask.png")
    (category / "test/.cache").mkdir()
    assert len(open_category(category).test) == 14


def test_category_for_testing_only(category: Path) -> None:
    for image in list_images(category / "train/good"):
        image.unlink()
    (category / "train/good").rmdir()
    (category / "train").rmdir()
    assert open_category(category).train == []


def check_refused(path: Path, *words: str | Path) -> None:
    with pytest.raises(DataError) as caught:
        open_category(path)
    for word in words:
        assert str(word) in str(caught.value)


def test_defect_image_without_mask(category: Path) -> None:
    mask = category / "ground_truth/cut/3_mask.png"
    mask.unlink()
    check_refused(category, category / "test/cut/3.png", mask, "no mask", "test/good")


def test_no_masks_at_all(category: Path) -> None:
    (category / "ground_truth").rename(category / "masks")
    found = list_category(category)
    assert not found.errors and "has no folder ground_truth, so image AUROC alone" in found.warnings[0]
    assert {image.mask for image in found.for_testing().test} == {None}


def test_mask_without_image(category: Path) -> None:
    (category / "test/cut/3.png").unlink()
    check_refused(category, category / "ground_truth/cut/3_mask.png", category / "test/cut", "rename")


def test_masks_of_a_defect_without_images(category: Path) -> None:
    save(category / "ground_truth/rust/0_mask.png", spot=True)
    check_refused(category, category / "ground_truth/rust", "test/rust", "remove")


def test_two_images_with_one_mask(category: Path) -> None:
    save(category / "test/cut/3.bmp")
    check_refused(category, category / "ground_truth/cut/3_mask.png", "shares", "rename")


def test_empty_defect_folder(category: Path) -> None:
    (category / "test/rust").mkdir()
    check_refused(category, category / "test/rust", "no images")


def test_missing_test_folder(category: Path) -> None:
    (category / "test").rename(category / "tests")
    check_refused(category, category, "no folder test", "ground_truth/DEFECT")
    (category / "ground_truth").rename(category / "truth")
    check_refused(category, category, "no test images")
    (category / "train").rename(category / "trained")
    check_refused(category, category, "is no category", "no folder test")


def test_images_directly_in_test(category: Path) -> None:
    root = category.parent / "flat"
    save(root / "test/0.png")
    check_refused(root, root / "test", "no sub-folders", "test/good")


def test_missing_category(category: Path) -> None:
    check_refused(category.parent / "bolts", "no such folder", f"did you mean {category}?")


def test_file_as_category(category: Path) -> None:
    check_refused(category / "train/good/000.png", "is a file")


def test_folder_of_categories(category: Path) -> None:
    save(category.parent / "nut/train/good/0.png")
    save(category.parent / "nut/test/good/0.png")
    check_refused(category.parent, category.parent, "bolt, nut", "name one")
    with pytest.raises(DataError, match="bolt, nut"):
        training_images(category.parent)


def test_folder_of_images_that_holds_a_category_too(category: Path) -> None:
    photo = category.parent / "a.png"
    save(photo)
    assert training_images(category.parent) == [photo]


def test_training_images_of_a_category_and_of_a_folder(category: Path) -> None:
    inside = training_images(category)
    assert inside == training_images(str(category / "train" / "good"))
    assert [p.name for p in inside] == ["000.png", "001.png", "002.png"]


def test_training_folder_without_good(category: Path) -> None:
    (category / "train/good").rename(category / "train/fine")
    with pytest.raises(DataError, match="has no folder good") as caught:
        training_images(category)
    assert str(category / "train") in str(caught.value)


def test_training_images_of_the_folder_train(category: Path) -> None:
    with pytest.raises(DataError) as caught:
        training_images(category / "train")
    assert f"did you mean {category / 'train' / 'good'}?" in str(caught.value)


@pytest.mark.parametrize("empty", ["train/good", "."])
def test_no_training_images(tmp_path: Path, empty: str) -> None:
    (tmp_path / empty).mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match="no images"):
        training_images(tmp_path)


# Masks


def spot(height: int = 8, width: int = 12) -> np.ndarray:
    mask = np.zeros((height, width), np.bool_)
    mask[3:5, 4:7] = True
    return mask


def as_mode(kind: str) -> Image.Image:
    bits = spot().astype(np.uint8)
    if kind == "one bit":
        return Image.fromarray(spot())
    if kind == "grey 0/1":
        return Image.fromarray(bits)
    if kind == "16 bits":
        return Image.fromarray(bits.astype(np.uint16))
    if kind == "palette":
        image = Image.fromarray(bits, "L").convert("P")
        image.putpalette([0, 0, 0, 128, 0, 0])
        return image
    if kind == "RGB":
        return Image.merge("RGB", [Image.fromarray(bits * 255)] * 3)
    if kind == "clear background":
        alpha = Image.fromarray(bits * 255)
        return Image.merge("RGBA", [Image.new("L", alpha.size, 255)] * 3 + [alpha])
    return Image.fromarray(bits * 255)


@pytest.mark.parametrize("kind", ["grey", "one bit", "grey 0/1", "16 bits", "palette", "RGB", "clear background"])
def test_read_mask(tmp_path: Path, kind: str) -> None:
    as_mode(kind).save(tmp_path / "0_mask.png")
    mask = read_mask(tmp_path / "0_mask.png", (8, 12), "0.png")
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, spot())


def test_mask_of_another_size(tmp_path: Path) -> None:
    path = save(tmp_path / "0_mask.png", spot=True)
    with pytest.raises(DataError) as caught:
        read_mask(path, (12, 8), tmp_path / "0.png")
    for word in (path, tmp_path / "0.png", "12x8", "8x12", "same size"):
        assert str(word) in str(caught.value)


@pytest.mark.parametrize("name", ["0.jpg", "0.png", "0.tif"])
def test_mask_drawn_on_an_image_that_exif_turns(tmp_path: Path, name: str) -> None:
    stored, mask, exif = Image.new("RGB", (12, 8)), save(tmp_path / "0_mask.png", spot=True), Image.Exif()
    for orientation, turned in ((6, True), (3, False)):
        exif[0x0112] = orientation
        stored.save(tmp_path / name, exif=exif)
        shape = read_image(tmp_path / name).shape[:2]
        assert shape == ((12, 8) if turned else (8, 12))
        if not turned:
            assert read_mask(mask, shape, tmp_path / name).any()
            continue
        with pytest.raises(DataError, match=f"0_mask.png: the mask was drawn on the pixels of .*{name} as stored"):
            read_mask(mask, shape, tmp_path / name)
        upright = save(tmp_path / "turned_mask.png", (8, 12), spot=True)
        assert read_mask(upright, shape, tmp_path / name).any()


def test_mask_without_defect(tmp_path: Path) -> None:
    path = save(tmp_path / "0_mask.png")
    with pytest.raises(DataError) as caught:
        read_mask(path, (8, 12), tmp_path / "0.png")
    for word in (path, tmp_path / "0.png", "no pixel", "among the good ones"):
        assert str(word) in str(caught.value)


def test_damaged_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "0_mask.png", spot=True)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"0_mask\.png"):
        read_mask(path, (8, 12), "0.png")


def test_bottle(shared_data: Path) -> None:
    bottle = open_category(shared_data / "mvtec_ad" / "bottle")
    assert bottle.name == "bottle"
    assert len(bottle.train) == 209
    assert sum(t.is_good for t in bottle.test) == 20
    assert sum(not t.is_good for t in bottle.test) == 63
    assert bottle.defects == ["broken_large", "broken_small", "contamination"]
    last = bottle.test[-1]
    assert last.mask is not None
    image = read_image(last.path)
    assert image.shape == (256, 256, 3)
    assert 0 < read_mask(last.mask, image.shape[:2], last.path).mean() < 0.5


@pytest.mark.parametrize("name", ["mvtec_ad/screw", "magnetic_tile_ad/magnetic_tile"])
def test_other_sets_open_and_every_mask_fits(shared_data: Path, name: str) -> None:
    category = open_category(shared_data / name)
    assert category.has_defects
    for test in category.test[-20:]:
        assert test.mask is not None
        assert read_mask(test.mask, (256, 256), test.path).any()
