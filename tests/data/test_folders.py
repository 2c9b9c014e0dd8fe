"""Folders as people have them: what is taken, what is passed over, and what is said of it."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from data_sets import draw_image, draw_mask
from PIL import Image
from tifffile import imwrite

from stadx import DataError
from stadx.core.errors import DataWarning
from stadx.data.checking import check_set
from stadx.data.folders import IMAGE_SUFFIXES, LeftOut, list_images
from stadx.data.images import read_image, stretched
from stadx.data.layouts import categories, list_category, open_category, training_images
from stadx.data.layouts.patterns import matching_images
from stadx.evaluation.prediction import collect_images

LEFTOVERS = ("@eaDir", "#recycle", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN", "@Recycle")


def save(path: Path, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 12, 3), 90, np.uint8)).save(path, kind)
    return path


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        *((".jfif", "JPEG"), (".jpe", "JPEG"), (".JPG", "JPEG"), (".gif", "GIF"), (".pnm", "PPM"), (".pbm", "PPM")),
        *((".dib", "DIB"), (".jp2", "JPEG2000"), (".j2k", "JPEG2000"), (".apng", "PNG"), (".avif", "AVIF")),
    ],
)
def test_endings_that_are_taken(tmp_path: Path, ending: str, kind: str) -> None:
    if ending.lower() not in IMAGE_SUFFIXES:
        pytest.skip("this Pillow cannot read it")
    path = save(tmp_path / f"x{ending}", kind)
    assert list_images(tmp_path) == training_images(tmp_path) == matching_images(f"{tmp_path}/*") == [path]
    assert np.abs(read_image(path).astype(int) - 90).max() <= 2


def test_what_is_left_out_is_told_by_ending(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for name in (
        "b.heic",
        "c.HEIC",
        "d.dng",
        "e",
        "f.png.bak",
        "notes.txt",
        "a.json",
        "Thumbs.db",
        ".DS_Store",
        "._a.png",
    ):
        (tmp_path / name).write_bytes(b"x")
    os.symlink("/nowhere", tmp_path / "g.png")
    with pytest.warns(LeftOut) as caught:
        assert list_images(tmp_path) == [tmp_path / "a.png"]
    (message,) = {str(warning.message) for warning in caught}
    assert message.startswith(f"{tmp_path}: 6 files are left out")
    assert (
        "(2 .heic, 1 .dng, 1 without ending, 1 .bak, 1 broken link); to use them, save them as PNG"
        in message.replace("1 broken link, 2 .heic", "2 .heic")
        or all(part in message for part in ("2 .heic", "1 .dng", "1 without ending", "1 .bak", "1 broken link"))
    )
    with pytest.warns(LeftOut, match=r"1 file is left out.*1 \.dng"):
        matching_images(f"{tmp_path}/[ad].*")


def test_nothing_but_what_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "b.heic").write_bytes(b"x")
    for take in (list_images, training_images, lambda path: collect_images([path], recursive=True)):
        with pytest.raises(
            DataError, match=r"no images in this folder; 1 file is left out.*1 \.heic.*save them as PNG"
        ):
            take(tmp_path)


def test_what_servers_and_systems_leave(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for folder in LEFTOVERS:
        save(tmp_path / folder / "a.png")
    for name in ("Thumbs.db", "desktop.ini", "._a.png"):
        (tmp_path / name).write_bytes(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert collect_images([tmp_path], recursive=True) == [tmp_path / "a.png"]
        assert matching_images(f"{tmp_path}/**/*.png") == [tmp_path / "a.png"]


def test_sub_folders(tmp_path: Path) -> None:
    for name in ("b.png", "x/a.png", "x/y/a.png", "x/y/b.png", ".hidden/a.png", "x10/a.png", "x9/a.png"):
        save(tmp_path / name)
    os.symlink("..", tmp_path / "x/loop")
    found = collect_images([tmp_path], recursive=True)
    assert names(found, tmp_path) == ["b.png", "x/a.png", "x/y/a.png", "x/y/b.png", "x9/a.png", "x10/a.png"]
    assert names(collect_images([tmp_path]), tmp_path) == ["b.png"]
    assert names(collect_images([tmp_path], recursive=True, without=[tmp_path / "x"]), tmp_path) == [
        *("b.png", "x9/a.png", "x10/a.png")
    ]
    assert collect_images([tmp_path / "x"], recursive=True, without=[tmp_path / "x"])  # what is named is taken
    (tmp_path / "empty/deep").mkdir(parents=True)
    with pytest.raises(DataError, match="no images in this folder; it has sub-folders deep"):
        collect_images([tmp_path / "empty"], recursive=True)


def test_results_and_masks_are_not_taken_for_images(tmp_path: Path) -> None:
    for name in ("a.png", "found/a_overlay.png", "Ground_Truth/bent/a_mask.png"):
        save(tmp_path / name)
    (tmp_path / "found/scores.jsonl").touch()
    with pytest.warns(DataWarning) as caught:
        assert collect_images([tmp_path], recursive=True) == [tmp_path / "a.png"]
    assert sorted(str(warning.message) for warning in caught) == [
        f"{tmp_path}/Ground_Truth: is passed over, it holds masks; name it to use it",
        f"{tmp_path}/found: is passed over, it holds results of stadx predict; name it to use it",
    ]
    assert len(collect_images([tmp_path / "found"], recursive=True)) == 1


def draw(
    root: Path, train: str = "train/good", good: str = "test/good", bad: str = "test/bad", masks: str | None = None
) -> Path:
    for i in range(2):
        draw_image(root / train / f"{i}.png")
        draw_image(root / good / f"{i}.png")
        draw_image(root / bad / f"{i}.png")
        if masks is not None:
            draw_mask(root / masks.format(i))
    return root


@pytest.mark.parametrize(
    ("train", "good", "bad", "masks"),
    [
        ("train/OK", "test/OK", "test/NG", "ground_truth/NG/{}_mask.png"),
        ("train/Good", "test/Good", "test/Bad", "ground_truth/Bad/{}_mask.png"),
        ("train/normal", "test/normal", "test/abnormal", "ground_truth/Abnormal/{}.png"),
        ("train/ok", "test/ok", "test/nok", "ground_truth/nok/{}_mask.png"),
        ("train", "test/good", "test/defects", "ground_truth/defects/{}_mask.png"),
        ("Train/GOOD", "TEST/good", "TEST/Anomaly", "Ground_Truth/anomaly/{}_MASK.PNG"),
        ("train/good", "test/good", "test/bad", "ground_truth/bad/{}_mask.JPG"),
        ("train/good", "test/good", "test/bad", "ground_truth/bad/{}_Mask.TIF"),
        ("train/good", "test/ok", "test/bad", "ground_truth/bad/{}.bmp"),
    ],
)
def test_names_of_folders_and_masks(tmp_path: Path, train: str, good: str, bad: str, masks: str) -> None:
    root = draw(tmp_path / "set/part", train, good, bad, masks)
    listing = list_category(root)
    assert not listing.errors and not listing.warnings
    test = listing.for_testing().test
    assert len(training_images(root)) == len(listing.category.train) == 2
    assert [image.is_good for image in test] == [True, True, False, False]
    assert [image.mask is None for image in test] == [True, True, False, False]
    assert categories(root.parent) == [root]


def test_a_test_set_without_masks(tmp_path: Path) -> None:
    root = draw(tmp_path / "part", "train/OK", "test/OK", "test/NG")
    listing = list_category(root)
    assert not listing.errors and "has no folder ground_truth, so image AUROC alone can be" in listing.warnings[0]
    assert [(image.is_good, image.mask) for image in open_category(root).test] == [(True, None)] * 2 + [
        (False, None)
    ] * 2


def test_good_and_bad_beside_each_other(tmp_path: Path) -> None:
    root = tmp_path / "part"
    for name in ("OK/0.png", "OK/1.png", "NG/0.png"):
        draw_image(root / name)
    assert names(training_images(root), root) == ["OK/0.png", "OK/1.png"]
    assert any("NG: is not trained on, its name says" in warning for warning in list_category(root).warnings)
    shutil.move(root / "OK", root / "fine")
    with pytest.raises(DataError, match="no images in this folder; it has sub-folders fine, NG"):
        training_images(root)


def test_bad_images_to_train_on(tmp_path: Path) -> None:
    root = draw(tmp_path / "part", masks="ground_truth/bad/{}.png")
    draw_image(root / "train/NG/0.png")
    assert len(training_images(root)) == 2
    (finding,) = [f for f in check_set(root)[0].findings if "NG" in f.message]
    assert finding.severity == "warning" and "is not trained on" in finding.message
    shutil.rmtree(root / "train/good")
    with pytest.raises(DataError, match="has no folder good, only NG; put the good images into train/good"):
        training_images(root)


def test_a_mask_with_loss_gives_way_to_one_without(tmp_path: Path) -> None:
    root = draw(tmp_path / "part", masks="ground_truth/bad/{}.png")
    draw_mask(root / "ground_truth/bad/0.jpg")  # as where the images lie beside the masks
    listing = list_category(root)
    assert not listing.errors and {image.mask.suffix for image in listing.category.test if image.mask} == {".png"}


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, ""),
        ((80, 120), ""),
        ((81, 120), ""),
        (64, "is 150x100, and is resized to 64x64: squeezed in width by 50 %. An image size of 52,78 (height, width)"),
        ((50, 100), "resized to 100x50: stretched in width by 33 %"),
    ],
)
def test_stretched(tmp_path: Path, size: int | tuple[int, int] | None, words: str) -> None:
    said = stretched(draw_image(tmp_path / "x.png", (150, 100)), size)
    assert words in (said or "") and (said is None) == (not words)


def test_stretched_images_of_any_depth(tmp_path: Path) -> None:
    imwrite(tmp_path / "x.tif", np.full((32, 48), 1900, np.float32))
    assert "is 48x32" in (stretched(tmp_path / "x.tif", 64) or "")
