"""Every kind of image reads as a person would see it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from image_files import PICTURE, check_error, png, png_chunk, quarters, read_saved
from PIL import Image

from stadx.core.errors import DataError
from stadx.data import images
from stadx.data.decode import to_rgb

RED, WHITE = (255, 0, 0), (255, 255, 255)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "a.ppm"])
def test_lossless_rgb_is_exact(tmp_path: Path, name: str) -> None:
    assert np.array_equal(read_saved(tmp_path, Image.fromarray(PICTURE), name), PICTURE)


def test_lossless_webp_is_exact(tmp_path: Path) -> None:
    assert np.array_equal(read_saved(tmp_path, Image.fromarray(PICTURE), "a.webp", lossless=True), PICTURE)


@pytest.mark.parametrize("name", ["a.png", "a.pgm", "a.tif"])
def test_grey_is_repeated(tmp_path: Path, name: str) -> None:
    result = read_saved(tmp_path, Image.fromarray(PICTURE[..., 0]), name)
    assert np.array_equal(result, np.repeat(PICTURE[..., :1], 3, axis=2))


def test_one_bit(tmp_path: Path) -> None:
    bits = PICTURE[..., 0] > 100
    result = read_saved(tmp_path, Image.fromarray(bits), "a.png")
    assert np.array_equal(result[..., 1], bits * 255)


def test_palette(tmp_path: Path) -> None:
    result = read_saved(tmp_path, Image.fromarray(quarters()).quantize(4), "a.png")
    assert np.array_equal(result, quarters())


def test_palette_with_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    result = read_saved(tmp_path, image, "a.png", transparency=1)
    assert result.tolist() == [[[*RED], [*WHITE]]]


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    values = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    result = read_saved(tmp_path, Image.fromarray(values, "RGBA"), "a.png")
    assert result[0, :2].tolist() == [[*RED], [*WHITE]]
    assert np.all(np.abs(result[0, 2].astype(int) - 127) <= 1)


def test_grey_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.merge("LA", (Image.new("L", (2, 1), 40), Image.new("L", (2, 1), 0)))
    image.putpixel((0, 0), (40, 255))
    assert read_saved(tmp_path, image, "a.png")[0, :, 0].tolist() == [40, 255]


def test_transparent_colour_of_rgb_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), (0, 255, 0))
    result = read_saved(tmp_path, image, "a.png", transparency=(0, 255, 0))
    assert result.tolist() == [[[*RED], [*WHITE]]]


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk(tmp_path: Path, name: str) -> None:
    # Pillow writes CMYK JPEG as Adobe does, with inverted values and a marker that says so.
    image = Image.fromarray(quarters()).convert("CMYK")
    result = read_saved(tmp_path, image, name, **({"quality": 100} if name == "a.jpg" else {}))
    assert np.abs(result.astype(int) - quarters()).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_exif_orientation_is_applied_once(tmp_path: Path, name: str, orientation: int) -> None:
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    undo |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = Image.fromarray(quarters())
    if orientation > 1:
        stored = stored.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = read_saved(tmp_path, stored, name, exif=exif, **({"quality": 100} if name != "a.tif" else {}))
    assert result.shape == quarters().shape
    assert np.abs(result.astype(int) - quarters()).mean() < 12  # any other orientation: above 80


def test_nonsense_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert np.array_equal(read_saved(tmp_path, Image.fromarray(PICTURE), "a.png", exif=exif), PICTURE)


WORDS = np.array([[0, 128, 129, 257 * 7, 32767, 65535]], np.uint16)
WORDS_AS_BYTES = [0, 0, 1, 7, 127, 255]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_grey_of_16_bits_is_scaled(tmp_path: Path, name: str) -> None:
    result = read_saved(tmp_path, Image.fromarray(WORDS), name)
    assert result[0, :, 0].tolist() == WORDS_AS_BYTES
    assert result[0, :, 2].tolist() == WORDS_AS_BYTES


def test_big_endian_grey_of_16_bits_is_scaled(tmp_path: Path) -> None:
    image = Image.frombytes("I;16B", (6, 1), WORDS.astype(">u2").tobytes())
    assert read_saved(tmp_path, image, "a.tif")[0, :, 0].tolist() == WORDS_AS_BYTES


def test_grey_of_16_bits_in_32_is_scaled(tmp_path: Path) -> None:
    result = read_saved(tmp_path, Image.fromarray(WORDS.astype(np.int32)), "a.tif")
    assert result[0, :, 1].tolist() == WORDS_AS_BYTES


@pytest.mark.parametrize("wrong", [-1, 65536])
def test_whole_numbers_beyond_16_bits(tmp_path: Path, wrong: int) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, wrong]], np.int32)).save(path)
    with pytest.raises(DataError) as caught:
        images.read_image(path)
    check_error(caught, path, str(wrong), "scale them to 0..65535")


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4)])
def test_rgb_of_16_bits_is_scaled(tmp_path: Path, colour: int, channels: int) -> None:
    words = struct.pack(f">{channels}H", *(0x0000, 0x8080, 0xFFFF, 0xFFFF)[:channels])
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, colour, b"\0" + words * 2))
    assert images.read_image(tmp_path / "a.png").tolist() == [[[0, 128, 255]] * 2]


def test_transparent_grey_of_16_bits_is_white(tmp_path: Path) -> None:
    clear = png_chunk(b"tRNS", struct.pack(">H", 300))
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 300, 0), clear))
    assert images.read_image(tmp_path / "a.png")[0, :, 0].tolist() == [255, 0]


def test_floats_from_0_to_1_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 0.25, 0.5, 1]], np.float32)
    assert read_saved(tmp_path, Image.fromarray(values), "a.tif")[0, :, 0].tolist() == [0, 64, 128, 255]


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan"), float("inf")])
def test_other_floats(tmp_path: Path, wrong: float) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0.5, wrong]], np.float32)).save(path)
    with pytest.raises(DataError) as caught:
        images.read_image(path)
    check_error(caught, path, "floating-point", "scale them to 0..1")


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_in_every_mode(mode: str, level: int) -> None:
    image = Image.new("RGB", (3, 2), (level, level, level))
    for step in {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa"), "PA": ("P", "PA")}.get(mode, (mode,)):
        image = image.convert(step)
    assert image.mode == mode
    assert np.abs(to_rgb(image, Path("x")).astype(int) - level).max() <= 1


def test_hsv_and_lab_modes() -> None:
    assert to_rgb(Image.new("RGB", (1, 1), RED).convert("HSV"), Path("x"))[0, 0].tolist() == [*RED]
    # L* = 54 of 100, a* = 81, b* = 70 is a pure red, as a TIFF file holds it.
    red = to_rgb(Image.frombytes("LAB", (1, 1), bytes([138, 81, 70])), Path("x"))[0, 0]
    assert red[0] > 235 and red[1] < 60 and red[2] < 60


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif", "a.png"])
def test_first_of_several_frames(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    result = read_saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
    assert np.abs(result.astype(int) - RED).max() < 12


def test_jpeg_named_png_is_read(tmp_path: Path) -> None:
    Image.fromarray(quarters()).save(tmp_path / "a.png", format="JPEG")
    assert images.read_image(tmp_path / "a.png").shape == quarters().shape
