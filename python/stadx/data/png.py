"""PNG files, written faster than Pillow does: one filter for all rows, and a faster deflate."""

from __future__ import annotations

import itertools
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

try:
    from isal import isal_zlib as deflate
except ImportError:  # a machine without its wheel: the same file format, slower
    deflate = zlib  # type: ignore[misc]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # the filter: each byte less the one above it
_CHUNK = 2**30  # bytes; a chunk's length has 31 bits


def to_png(image: NDArray[np.uint8]) -> bytes:
    """Encode uint8 [H, W] (grey) or [H, W, 3] (RGB), of any strides, as PNG (ISO/IEC 15948).

    Raises ValueError for an image of another form, or an empty one.
    """
    if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)) or image.ndim < 2 or not image.size:
        raise ValueError(f"image is {image.dtype} {image.shape}; it must be uint8 [H, W] or [H, W, 3]")
    height, width = image.shape[:2]
    rows = np.ascontiguousarray(image).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    data = deflate.compress(filtered, 1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if image.ndim == 2 else 2, 0, 0, 0)
    parts = [data] if len(data) <= _CHUNK else [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    chunks = [_chunk(b"IHDR", header), *(_chunk(b"IDAT", part) for part in parts), _chunk(b"IEND", b"")]
    return b"".join([_SIGNATURE, *itertools.chain.from_iterable(chunks)])


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", deflate.crc32(data, deflate.crc32(kind)))
