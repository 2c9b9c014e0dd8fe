"""PNG files of our own: other readers see the same pixels."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stadx.data import png


def read(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.fixture(params=["isal", "zlib"])
def deflate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "zlib":
        monkeypatch.setattr(png, "deflate", zlib)
    else:
        pytest.importorskip("isal", reason="has no wheel for this machine")


@pytest.mark.usefixtures("deflate")
@pytest.mark.parametrize("shape", [(1, 1), (1, 7, 3), (7, 1, 3), (33, 65), (64, 50, 3), (300, 2000, 3)])
def test_other_readers_see_the_same(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for tested in (image, image[::-1], image[:, ::2], np.zeros_like(image), np.full_like(image, 255)):
        found = read(png.to_png(tested))
        assert found.format == "PNG" and found.mode == ("L" if len(shape) == 2 else "RGB")
        assert np.array_equal(np.asarray(found), tested)


def test_long_data_comes_in_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk holds at most 2 GiB."""
    monkeypatch.setattr(png, "_CHUNK", 1000)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    data = png.to_png(image)
    assert data.count(b"IDAT") == 7 and np.array_equal(np.asarray(read(data)), image)
    at, lengths = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        lengths.append(length)
        at += length + 12
    assert lengths[0] == 13 and lengths[1:-2] == [1000] * 6 and lengths[-1] == 0


@pytest.mark.parametrize(
    "image", [np.zeros((2, 3)), np.zeros((2, 3, 4), np.uint8), np.zeros(5, np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_picture(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="it must be uint8"):
        png.to_png(image)
