"""Pages of files as files of their own, which are read as the pages are."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from stadx.data.folders import pages_of
from stadx.data.image_hash import hash_of_file
from stadx.data.images import read_image
from stadx.data.page_files import write_page
from stadx.data.pages import Page
from stadx.data.pixels import read_pixels
from stadx.data.value_range import ValueRange

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 4096, (2, 9, 7), np.uint16)
STACKS: dict[str, tuple[np.ndarray[Any, Any], dict[str, Any], str]] = {
    "grey": (RNG.integers(0, 256, (2, 9, 7), np.uint8), {}, ".png"),
    "colours": (RNG.integers(0, 256, (2, 9, 7, 3), np.uint8), {"photometric": "rgb"}, ".png"),
    "16 bits": (DEEP, {}, ".tif"),
    "colours of 16 bits": (RNG.integers(0, 2**16, (2, 9, 7, 3), np.uint16), {"photometric": "rgb"}, ".tif"),
    "a camera of 12 bits": (DEEP, {"extratags": [(281, "H", 1, 4095, True)]}, ".tif"),
    "bytes with a sign": (RNG.integers(-128, 128, (2, 9, 7), np.int8), {}, ".tif"),
    "floating point": (RNG.normal(0, 9, (2, 9, 7)).astype(np.float32), {}, ".tif"),
    "turned": (DEEP, {"extratags": [(274, "H", 1, 6, True)]}, ".tif"),
}


@pytest.mark.parametrize("kind", STACKS)
def test_a_page_is_read_as_before(kind: str, tmp_path: Path) -> None:
    stack, options, ending = STACKS[kind]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for image in stack:
            writer.write(image, **{"photometric": "minisblack", **options})
    page = pages_of(tmp_path / "a.tif")[1]
    file = write_page(page, tmp_path / "new", "a_p2")
    assert file == tmp_path / f"new/a_p2{ending}" and pages_of(file) == [file]
    before, after = read_pixels(page), read_pixels(file)
    assert before.values.dtype == after.values.dtype and (before.values == after.values).all()
    assert (before.full, before.bits) == (after.full, after.bits)
    if kind not in ("floating point", "bytes with a sign"):  # which have no look in 8 bits
        assert (read_image(page) == read_image(file)).all()


@pytest.mark.parametrize("high", [4095, 65535])
def test_white_that_the_file_names_stays_white(high: int, tmp_path: Path) -> None:
    """A TIFF of 12 bits a sample, as few writers make it: two pages of two rows of two pixels."""
    content = packed_pages([[4095, 0, 16, 2048], [1, 2, 3, 4095]])
    (tmp_path / "a.tif").write_bytes(content)
    page = pages_of(tmp_path / "a.tif")[1]
    assert read_pixels(page).full == 4095 and read_pixels(page).values[..., 0].tolist() == [[1, 2], [3, 4095]]
    file = write_page(page, tmp_path, "own")
    value_range = ValueRange(0, high, high, "uint16")
    assert file.suffix == ".pgm" and hash_of_file(file, value_range) == hash_of_file(page, value_range)


def packed_pages(pages: list[list[int]]) -> bytes:
    """A TIFF of grey pages of 2 x 2 samples of 12 bits."""
    content = b"II*\0" + struct.pack("<I", 8)
    for number, (a, b, c, d) in enumerate(pages, 1):
        tags = {256: 2, 257: 2, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 2, 279: 6}
        start = len(content) + 2 + 12 * len(tags) + 4
        tags[273] = start
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        data = b"".join((high << 12 | low).to_bytes(3, "big") for high, low in ((a, b), (c, d)))
        following = start + len(data) if number < len(pages) else 0
        content += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + data
    return content


def test_frames_of_a_gif(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((5, 6), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    file = write_page(Page(tmp_path / "a.gif", 2), tmp_path, "a_p2")
    assert file.name == "a_p2.png" and (read_image(file) == 200).all()
