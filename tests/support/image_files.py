"""Pictures and hand-made files that several tests of image reading need."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stadx.data import images

PICTURE = np.random.default_rng(7).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def quarters(size: int = 16) -> np.ndarray:
    """Red, green, blue and black quarters: survives JPEG, shows every rotation."""
    image = np.zeros((size, 2 * size, 3), np.uint8)
    image[: size // 2, :size, 0] = 255
    image[: size // 2, size:, 1] = 255
    image[size // 2 :, :size, 2] = 255
    return image


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + extra + data + png_chunk(b"IEND", b"")


def check_error(caught: pytest.ExceptionInfo[Exception], path: Path, *words: str) -> None:
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message
    assert ";" in message or ":" in message.replace(str(path), "", 1)[1:]  # a fix follows what is wrong


def read_saved(tmp_path: Path, image: Image.Image, name: str, **options: object) -> np.ndarray:
    image.save(tmp_path / name, **options)
    result = images.read_image(tmp_path / name)
    assert result.dtype == np.uint8
    assert result.ndim == 3 and result.shape[2] == 3
    assert result.flags.c_contiguous and result.flags.writeable
    return result
