"""Listing folders, resizing, and writing images and maps whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import PICTURE, check_error
from PIL import Image

from stadx.core.errors import DataError, OutputError
from stadx.data import images
from stadx.data.strip_writer import float_tiff_header

# Listing


def test_images_are_listed_in_natural_order(tmp_path: Path) -> None:
    names = ["img1.png", "img2.JPG", "IMG10.png", "img10a.tif", "img20.webp"]
    for name in reversed(names):
        (tmp_path / name).touch()
    for other in ("notes.txt", "._img1.png", ".hidden.png", "img3.png.bak"):
        (tmp_path / other).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    assert [p.name for p in images.list_images(tmp_path)] == names


@pytest.mark.parametrize("suffix", sorted(images.IMAGE_SUFFIXES))
def test_every_suffix_is_listed_in_any_case(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix.upper()}").touch()
    assert len(images.list_images(str(tmp_path))) == 1


def test_unusual_digits_in_names_are_sorted(tmp_path: Path) -> None:
    for name in ("a²b.png", "a٣.png", "00.png", "0.png"):
        (tmp_path / name).touch()
    assert [p.name for p in images.list_images(tmp_path)][:2] == ["0.png", "00.png"]


def test_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "bottle").mkdir()
    with pytest.raises(DataError) as caught:
        images.list_images(tmp_path / "botle")
    check_error(caught, tmp_path / "botle", "no such folder", f"did you mean {tmp_path / 'bottle'}?")


@pytest.mark.parametrize("name", ["nowhere/at/all", "x" * 400, "nul\0byte"])
def test_impossible_folder_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no such folder"):
        images.list_images(tmp_path / name)


def test_file_instead_of_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError) as caught:
        images.list_images(tmp_path / "a.png")
    check_error(caught, tmp_path / "a.png", "is a file", "give the folder")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        images.list_images(tmp_path)
    check_error(caught, tmp_path, "no images", "PNG")


def test_folder_without_images_names_its_subfolders(tmp_path: Path) -> None:
    (tmp_path / "bottle" / "train" / "good").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError) as caught:
        images.list_images(tmp_path)
    check_error(caught, tmp_path, "bottle, other", f"did you mean {tmp_path / 'bottle' / 'train' / 'good'}?")


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError) as caught:
        images.list_images(tmp_path)
    check_error(caught, tmp_path, "Permission denied")


# Resizing


def test_write_and_read_back(tmp_path: Path) -> None:
    scores = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32) * 1e4
    images.write_image(tmp_path / "new" / "a.png", PICTURE)
    images.write_map(tmp_path / "new" / "a.tif", scores)
    assert np.array_equal(images.read_image(tmp_path / "new" / "a.png"), PICTURE)
    assert np.array_equal(images.read_map(tmp_path / "new" / "a.tif"), scores)
    with Image.open(tmp_path / "new" / "a.tif") as raw:
        assert (raw.format, raw.mode) == ("TIFF", "F")
    images.write_image(tmp_path / "new" / "a.png", PICTURE[::-1])
    assert np.array_equal(images.read_image(tmp_path / "new" / "a.png"), PICTURE[::-1])
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.png", "a.tif"]


@pytest.mark.parametrize("shape", [(1, 1), (3, 70000), (129, 65)], ids=str)
def test_maps_are_written_as_pillow_writes_them(tmp_path: Path, shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    for values in (scores, scores.T, scores[::-1], scores.astype(np.float64)):
        images.write_map(tmp_path / "a.tif", values)
        Image.fromarray(np.ascontiguousarray(values, np.float32)).save(tmp_path / "b.tif")
        assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
        assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), values.astype(np.float32))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,), (1, 5, 5)], ids=str)
def test_what_is_no_map_is_not_written(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError) as caught:
        images.write_map(tmp_path / "a.tif", np.zeros(shape, np.float32))
    check_error(caught, tmp_path / "a.tif", str(list(shape)), "give one [H, W] with some pixels")
    assert not list(tmp_path.iterdir())


def test_a_map_that_is_too_large_for_its_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"32768 x 32768 .* RowWriter"):
        float_tiff_header(1 << 15, 1 << 15)
    with pytest.raises(DataError) as caught:
        images.write_map(tmp_path / "a.tif", np.broadcast_to(np.float32(0), (1 << 15, 1 << 15)))
    check_error(caught, tmp_path / "a.tif", "32768 x 32768 pixels is too large", "--no-map", "RowWriter")
    assert not list(tmp_path.iterdir())


def test_write_strided_arrays(tmp_path: Path) -> None:
    images.write_image(tmp_path / "a.png", PICTURE[:, ::2, ::-1])
    assert np.array_equal(images.read_image(tmp_path / "a.png"), PICTURE[:, ::2, ::-1])


def test_read_map_refuses_an_image(tmp_path: Path) -> None:
    images.write_image(tmp_path / "a.tif", PICTURE)
    with pytest.raises(DataError) as caught:
        images.read_map(tmp_path / "a.tif")
    check_error(caught, tmp_path / "a.tif", "not an anomaly map", "TIFF")


def write_either(path: Path, kind: str) -> None:
    if kind == "image":
        images.write_image(path, PICTURE)
    else:
        images.write_map(path, PICTURE[..., 0].astype(np.float32))


@pytest.mark.parametrize("kind", ["image", "map"])
def test_write_below_a_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.png"
    with pytest.raises(OutputError) as caught:
        write_either(path, kind)
    check_error(caught, path, "cannot be written")


@pytest.mark.parametrize("kind", ["image", "map"])
def test_write_onto_a_folder(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    path.mkdir()
    with pytest.raises(OutputError) as caught:
        write_either(path, kind)
    check_error(caught, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where no folder can be made")
def test_write_where_no_folder_can_be_made() -> None:
    with pytest.raises(OutputError, match=r"/proc/nope/a\.png"):
        images.write_image("/proc/nope/a.png", PICTURE)


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    images.write_image(path, PICTURE)

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError) as caught:
        images.write_image(path, PICTURE[::-1])
    check_error(caught, path, "No space left")
    assert np.array_equal(images.read_image(path), PICTURE)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
