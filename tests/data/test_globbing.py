"""Patterns: what exists is meant literally, whatever characters its name has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from data_sets import draw_image, draw_mask

from stadx import DataError
from stadx.data.globbing import is_pattern
from stadx.data.layouts import training_images
from stadx.data.layouts.patterns import list_patterns, matching_images, named_images
from stadx.data.source import read_batch
from stadx.evaluation.prediction import collect_images

FILES = (
    *("Lot [2024] A/a.png", "Lot [2024] A/b.png", "Lot 2/x.png", "Lot [2]/y.png", "L3/[z].png", "L3/z.png"),
    *("s/a*.png", "s/ab.png", "sp ace/a b.png", "t/1/x.png", "t/2/x.png", "t/2/deep/y.jpg", "br{1,2}/c.png"),
    *("br1/d.png", "e/x.png", "e/x.jpg", "e/x.bmp", ".hid/h.png", "t/.hid/h.png", "t/@eaDir/x.png", "q/what?.png"),
    *("q/whatX.png", "w/[a/x.png", "home/u.png", "Ä/ü.png", "X/Lot [7]/i.png", "X/Lot 7/i.png"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        draw_image(tmp_path / name)
    os.symlink("../t", tmp_path / "t/2/loop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


FOUND = r"""
Lot [2024] A/*.png > Lot [2024] A/a.png, Lot [2024] A/b.png
Lot [2024] A > Lot [2024] A/a.png, Lot [2024] A/b.png
Lot [2024] A/ > Lot [2024] A/a.png, Lot [2024] A/b.png
Lot [[]2024] A/*.png > Lot [2024] A/a.png, Lot [2024] A/b.png
Lot [2]/*.png > Lot [2]/y.png
Lot [2-3]/*.png > Lot 2/x.png
*/Lot [7]/*.png > X/Lot [7]/i.png
L3/[z].png > L3/[z].png
L3/[z]* > L3/z.png
s/a*.png > s/a*.png
s/a?.png > s/a*.png, s/ab.png
q/what?.png > q/what?.png
w/[a/*.png > w/[a/x.png
sp ace/* > sp ace/a b.png
Ä/* > Ä/ü.png
br{1,2}/* > br{1,2}/c.png
br{1,3}/* > br1/d.png
e/*.{png,jpg} > e/x.jpg, e/x.png
{e,t/1}/x.png > e/x.png, t/1/x.png
t/**/*.png > t/1/x.png, t/2/x.png
t/** > t/1/x.png, t/2/deep/y.jpg, t/2/x.png
t/*/ > t/1/x.png, t/2/x.png
t/* > t/1/x.png, t/2/x.png
t/[!1]/x.png > t/2/x.png
e//./*.png > e/x.png
e\*.png > e/x.png
Lot [2024] A\*.png > Lot [2024] A/a.png, Lot [2024] A/b.png
.hid/* > .hid/h.png
"""


@pytest.mark.parametrize("row", FOUND.strip().splitlines())
def test_what_a_pattern_finds(here: Path, row: str) -> None:
    pattern, found = row.split(" > ")
    expected = [Path(name) for name in found.split(", ")]
    assert matching_images(pattern) == expected
    assert named_images([pattern]) == expected
    if expected != [Path(pattern)]:  # a file alone is no training set
        assert training_images(pattern) == expected
    assert collect_images([Path(pattern)]) == expected


def test_the_home_folder(here: Path) -> None:
    assert matching_images("~/home/*.png") == matching_images("~/home") == [here / "home/u.png"]
    assert named_images(["~/home/u.png"]) == collect_images([Path("~/home/u.png")]) == [here / "home/u.png"]
    draw_image(here / "~/x.png")
    assert matching_images("~/*.png") == [Path("~/x.png")]


@pytest.mark.parametrize("pattern", ["none/*.png", "e/*.heic", "e/*/*", "a\0*", "[!]"])
def test_what_finds_nothing(here: Path, pattern: str) -> None:
    with pytest.raises(DataError, match="no images have such a name"):
        matching_images(pattern)


def test_missing_files_are_named(here: Path) -> None:
    assert not is_pattern("Lot [2024] A/missing.png") and not is_pattern("img[1.png")
    with pytest.raises(DataError, match=r"missing.png: no such file"):
        read_batch("Lot [2024] A/missing.png")
    with pytest.raises(DataError, match=r"missing.png: no such file"):
        collect_images([Path("Lot [2024] A/missing.png")])


def test_masks_in_folders_with_brackets(here: Path) -> None:
    for name in "ab":
        draw_mask(here / f"Lot [2024] A/masks/{name}_mask.png")
    draw_mask(here / "Lot [2024] A/masks/c_mask.png")
    listing = list_patterns(None, "Lot [2024] A/*.png", "Lot [2024] A/masks/{name}_mask.png")
    assert not listing.errors and len(listing.category.test) == 2
    assert listing.warnings[0].startswith("Lot [2024] A/masks/c_mask.png: 1 masks belong to no image")
