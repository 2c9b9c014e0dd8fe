"""Alpha of 0 everywhere, as cameras and Windows leave it: the colour is used, and it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import png, png_chunk
from PIL import Image

from stadx.core.errors import DataWarning
from stadx.data.images import read_image
from stadx.data.masks import mask_pixels
from stadx.data.pixels import read_pixels

HEIGHT, WIDTH = 21, 34
BYTES = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
WORDS = BYTES.astype(np.uint16) * 257


def expect(path: Path, expected: np.ndarray) -> None:
    for function in (lambda p: read_pixels(p).values, read_image):
        with pytest.warns(DataWarning, match=f"{path.name}: its alpha channel is 0 everywhere"):
            found = function(path)
        full = 255 if found.dtype == np.uint8 else 65535
        assert np.array_equal(found, expected.astype(found.dtype) * (full // 255))


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_8_bits(tmp_path: Path, name: str, value: int) -> None:
    image = np.dstack([BYTES, np.full(BYTES.shape[:2], value, np.uint8)])
    options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    Image.fromarray(image).save(tmp_path / name, **options)
    expect(tmp_path / name, BYTES)


def test_premultiplied(tmp_path: Path) -> None:
    image = np.dstack([BYTES, np.zeros_like(BYTES[..., 0])])
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["assocalpha"])
    expect(tmp_path / "a.tif", BYTES)


def test_clear_colour(tmp_path: Path) -> None:
    clear = png_chunk(b"tRNS", bytes([0, 9, 0, 8, 0, 7]))
    (tmp_path / "a.png").write_bytes(png(2, 1, 8, 2, b"\0" + bytes([9, 8, 7] * 2), clear))
    expect(tmp_path / "a.png", np.array([[[9, 8, 7]] * 2]))


def test_floats(tmp_path: Path) -> None:
    image = np.dstack([BYTES / 255, np.zeros_like(BYTES[..., 0])]).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.warns(DataWarning, match="alpha channel is 0"):
        assert np.array_equal(read_pixels(tmp_path / "a.tif").values, image[..., :3])


def test_grey(tmp_path: Path) -> None:
    alpha = np.zeros_like(BYTES[..., 0])
    Image.fromarray(np.dstack([BYTES[..., 0], alpha])).save(tmp_path / "a.png")
    expect(tmp_path / "a.png", BYTES[..., :1].repeat(3, 2))


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_16_bits_in_tiff(tmp_path: Path, planar: str) -> None:
    image = np.dstack([WORDS, np.zeros_like(WORDS[..., 0])])
    stored = image if planar == "contig" else np.ascontiguousarray(np.moveaxis(image, 2, 0))
    options = {"planarconfig": planar, "extrasamples": ["unassalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **options)
    with pytest.warns(DataWarning, match="alpha channel is 0"):
        assert np.array_equal(read_pixels(tmp_path / "a.tif").values, WORDS)


def test_16_bits_in_png(tmp_path: Path) -> None:
    image = np.dstack([WORDS, np.zeros_like(WORDS[..., 0])])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    (tmp_path / "a.png").write_bytes(png(WIDTH, HEIGHT, 16, 6, rows))
    expect(tmp_path / "a.png", BYTES)


def test_masks(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    mask[3:5, 7:9, :3] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    with pytest.warns(DataWarning, match="alpha channel is 0"):
        assert np.array_equal(mask_pixels(tmp_path / "a.png"), mask.any(2))


def test_alpha_that_means_something_is_used(tmp_path: Path) -> None:
    image = np.dstack([BYTES, np.zeros(BYTES.shape[:2], np.uint8)])
    image[0, 0, 3] = 255
    Image.fromarray(image).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert np.array_equal(found[0, 0], BYTES[0, 0]) and (found[1:] == 255).all()
