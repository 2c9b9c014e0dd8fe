"""Every file that is no good image gives an error that names it and the fix, and no other error."""

from __future__ import annotations

import errno
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import PICTURE, check_error, png
from PIL import Image

from stadx.core.errors import DataError
from stadx.data import images


@pytest.mark.parametrize(
    ("name", "words"), [("none.png", ("no such file", "check the name")), ("", ("is a folder", "name an image"))]
)
def test_missing_image_and_folder_instead_of_one(tmp_path: Path, name: str, words: tuple[str, str]) -> None:
    with pytest.raises(DataError) as caught:
        images.read_image(tmp_path / name)
    check_error(caught, tmp_path / name, *words)


@pytest.mark.parametrize("name", ["x" * 400 + ".png", "nul\0byte.png", "a.png/b.png"])
def test_impossible_image_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError) as caught:
        images.read_image(tmp_path / name)
    check_error(caught, tmp_path / name, "cannot be opened", "check the name")


def test_pipe_instead_of_image_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="not a regular file"):
        images.read_image(tmp_path / "a.png")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(path)

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError) as caught:
        images.read_image(path)
    check_error(caught, path, "Permission denied", "permissions")


def test_zero_byte_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError) as caught:
        images.read_image(tmp_path / "a.png")
    check_error(caught, tmp_path / "a.png", "0 bytes", "again")


@pytest.mark.parametrize(
    "content", [b"a text file, not an image\n", b"<html></html>", b"%!PS-Adobe-3.0 EPSF-3.0\n", bytes(99)]
)
def test_mislabelled_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError) as caught:
        images.read_image(tmp_path / "a.png")
    check_error(caught, tmp_path / "a.png", "save it again")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "a.ppm", "deflated.tif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.9])
def test_truncated_image(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    options = {"compression": "tiff_adobe_deflate"} if name == "deflated.tif" else {}
    Image.fromarray(PICTURE).save(path, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError) as caught:
            images.read_image(path)
    check_error(caught, path, "again")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "a.ppm", "a.gif"])
def test_damaged_bytes_never_give_another_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(PICTURE).save(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(3)
    failures = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for trial in range(150):
            damaged = whole.copy()
            reach = len(whole) if trial % 2 else min(64, len(whole))
            places = rng.integers(4, reach, rng.integers(1, 6))
            damaged[places] = rng.integers(0, 256, len(places))
            path.write_bytes(damaged.tobytes())
            try:
                assert images.read_image(path, max_pixels=10**6).shape[2] == 3
            except DataError as error:
                failures += 1
                assert str(path) in str(error)
    assert failures > 0


@pytest.mark.parametrize(
    "error",
    [SyntaxError("x"), struct.error("x"), OverflowError(), MemoryError(), zlib.error("x"), KeyError(3)],
)
def test_whatever_the_decoder_raises_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "a.bmp"
    Image.fromarray(PICTURE).save(path)

    def fail(self: Image.Image) -> None:
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(DataError) as caught:
        images.read_image(path)
    check_error(caught, path, "damaged or cut short")


def test_image_bomb_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60000, 60000, 8, 2, b""))  # 10.8 GB once decoded
    monkeypatch.delenv("STADX_MAX_PIXELS", raising=False)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as caught:
            images.read_image(path)
    check_error(caught, path, "60000x60000", str(2**28), "STADX_MAX_PIXELS")


def test_our_limit_replaces_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow alone would refuse these 600 pixels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(images.read_image(path), PICTURE)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_pixel_limit_by_argument_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(path)
    assert images.read_image(path, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(DataError, match="30x20 pixels, more than the limit of 599"):
        images.read_image(path, max_pixels=599)
    monkeypatch.setenv("STADX_MAX_PIXELS", "599")
    with pytest.raises(DataError, match="limit of 599"):
        images.read_image(path)
    monkeypatch.setenv("STADX_MAX_PIXELS", "600")
    assert images.read_image(path).shape == (20, 30, 3)


@pytest.mark.parametrize("text", ["many", "-3", "0", "1e9", "9" * 5000])
def test_nonsense_pixel_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("STADX_MAX_PIXELS", text)
    with pytest.raises(DataError, match="STADX_MAX_PIXELS"):
        images.read_image(tmp_path / "a.png")
