"""Images and masks named by patterns, in whatever folders they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from data_sets import draw_image, draw_mask, draw_mvtec
from typer.testing import CliRunner

from stadx import DataError
from stadx.cli import app as cli
from stadx.data.layouts import training_images
from stadx.data.layouts.patterns import list_patterns, matching_images


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Good and bad images in one folder, masks in another, under the names of the images; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    for i in (1, 2, 10):
        draw_image(tmp_path / f"photos/ok_{i}.png")
        draw_image(tmp_path / f"photos/ng_{i}.png")
        draw_mask(tmp_path / f"masks/ng_{i}.png")
    return tmp_path


PATTERNS = ("photos/ok_*.png", "photos/ng_*.png", "masks/{name}.png")


def test_images_and_masks(photos: Path) -> None:
    listing = list_patterns(*PATTERNS)
    assert (listing.errors, listing.warnings) == ([], [])
    category = listing.for_testing()
    assert category.name == "photos" and category.defects == ["photos"] and category.train == ()
    assert [t.path.stem for t in category.test] == [f"{kind}_{i}" for kind in ("ok", "ng") for i in (1, 2, 10)]
    assert [t.mask for t in category.test] == [None] * 3 + [Path(f"masks/ng_{i}.png") for i in (1, 2, 10)]


def test_folders_are_defect_types(photos: Path) -> None:
    for defect in ("bent", "cut", "good"):
        draw_image(photos / f"ng/{defect}/1.jpg")
        draw_mask(photos / f"truth/{defect}/1_gt.bmp")
    category = list_patterns("photos", "ng/**/*.jpg", "truth/{folder}/{name}_gt.bmp").for_testing()
    assert category.root == photos and sum(t.is_good for t in category.test) == 6  # a folder: all images in it
    assert category.defects == ["bent", "cut", "defect"]  # a defect is never called good
    shared = list_patterns(None, "ng/**/*.jpg", "truth/bent/{name}_gt.bmp").errors
    assert (
        len(shared) == 2 and "cut/1.jpg: shares the mask truth/bent/1_gt.bmp" in shared[0] and "{folder}" in shared[0]
    )


def test_good_images_alone(photos: Path) -> None:
    category = list_patterns("photos/ok_*").for_testing()
    assert len(category.test) == 3 and not category.has_defects


def test_defects_that_nobody_marked(photos: Path) -> None:
    listing = list_patterns(*PATTERNS[:2])
    assert (listing.errors, listing.warnings) == ([], [])
    category = listing.for_testing()
    assert [(t.path.stem, t.mask, t.is_good) for t in category.test] == [
        *((f"ok_{i}", None, True) for i in (1, 2, 10)),
        *((f"ng_{i}", None, False) for i in (1, 2, 10)),
    ]
    assert category.has_defects and category.defects == ["photos"]
    assert "matches both" in list_patterns("photos/*_1.png", "photos/ng_*.png").errors[0]


def test_a_missing_mask_and_a_mask_without_image(photos: Path) -> None:
    (photos / "masks/ng_2.png").rename(photos / "masks/ng_7.png")
    draw_mask(photos / "masks/ok_1.png")  # of a good image: says nothing new
    listing = list_patterns(*PATTERNS)
    assert listing.errors == ["photos/ng_2.png: has no mask; expected masks/ng_2.png"]
    (warning,) = listing.warnings
    assert warning.startswith("masks/ng_7.png: 1 masks belong to no image")
    with pytest.raises(DataError, match=r"ng_2.png: has no mask"):
        listing.for_testing()


def test_masks_beside_images(photos: Path) -> None:
    for i in (1, 2, 10):
        shutil.move(photos / f"masks/ng_{i}.png", photos / f"photos/gt_ng_{i}.png")
    listing = list_patterns("photos/ok_*.png", "photos/ng_*.png", "photos/gt_{name}.png")
    assert (listing.errors, listing.warnings) == ([], [])
    own = list_patterns(None, "photos/ng_*.png", "photos/{name}.png")
    assert len(own.errors) == 3 and "would be its own mask" in own.errors[0]


def test_an_image_that_is_both(photos: Path) -> None:
    errors = list_patterns("photos/*_1.png", *PATTERNS[1:]).errors
    assert len(errors) == 1 and "photos/ng_1.png: matches both" in errors[0]


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (("photos/fine_*.png", *PATTERNS[1:]), ["photos/fine_*.png", "no images have such a name"]),
        (("photos/ok_*.png", "photos/bad_*", PATTERNS[2]), ["photos/bad_*", "no images"]),
        (("empty", *PATTERNS[1:]), ["empty", "no images in this folder"]),
        ((None, None, None), ["no test images"]),
        (("photos/ok_*.png", None, PATTERNS[2]), ["masks/{name}.png: masks belong to images with defects"]),
        ((*PATTERNS[:2], "masks"), ["masks: does not say which mask", "{name}"]),
        ((*PATTERNS[:2], "masks/{name}.gz"), ["name image files"]),
        ((*PATTERNS[:2], "masks/**/{name}.png"), ["masks/**/{name}.png: * and ? stand for nothing here", "{folder}"]),
        ((*PATTERNS[:2], "masks/{name}?.png"), ["* and ? stand for nothing here"]),
    ],
)
def test_patterns_that_are_refused(photos: Path, patterns: tuple[str, ...], words: list[str]) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        list_patterns(*patterns)
    for word in words:
        assert word in str(caught.value)


def test_training_by_a_pattern(photos: Path) -> None:
    assert [p.name for p in training_images("photos/ok_*.png")] == ["ok_1.png", "ok_2.png", "ok_10.png"]
    assert training_images(Path("photos/ok_*.png")) == matching_images("photos/ok_*.png")
    draw_mvtec(photos / "odd [1]")  # a category, whatever its name looks like
    assert len(training_images("odd [1]")) == 10
    with pytest.raises(DataError, match="no images have such a name"):
        training_images("photos/fine_*.png")


def test_the_check(photos: Path) -> None:
    draw_image(photos / "train/new.png")
    shutil.copy(photos / "photos/ok_2.png", photos / "train/seen.png")
    options = [f"--{name}={pattern}" for name, pattern in zip(("good", "defects", "masks"), PATTERNS, strict=True)]
    result = CliRunner().invoke(cli.app, ["data", "check", *options])
    assert result.exit_code == 0, result.output
    assert "photos: 0 images to train on, 3 good and 3 with defects to test; no errors, no warnings." in result.stderr
    result = CliRunner().invoke(cli.app, ["data", "check", "train", *options])
    assert result.exit_code == 1
    assert (
        "photos/ok_2.png: is the same picture, pixel by pixel, as train/seen.png, which is trained on" in result.stdout
    )
    assert "photos: 2 images to train on" in result.stderr
    result = CliRunner().invoke(cli.app, ["data", "check", *options[:2]])
    assert result.exit_code == 0 and "3 good and 3 with defects to test" in result.stderr
    result = CliRunner().invoke(cli.app, ["data", "check", options[0], options[2]])
    assert result.exit_code == 2 and "masks belong to images with defects" in result.stderr
    assert CliRunner().invoke(cli.app, ["data", "check"]).exit_code == 2
