"""TIFF files made by hand, of kinds that no writer at hand makes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image


def tiff(path: Path, tags: dict[int, int | tuple[int, ...]], data: bytes, order: str = "<") -> Path:
    """A TIFF of one strip with these tags besides those of place and number of its bytes."""
    entries: dict[int, tuple[int, ...]] = {n: v if isinstance(v, tuple) else (v,) for n, v in tags.items()}
    entries |= {273: (0,), 279: (len(data),), 278: (tags[257],)} if isinstance(tags[257], int) else {}
    start = 10 + 12 * len(entries) + 4
    far = b""
    rows = []
    entries[273] = (start + sum(4 * len(v) for v in entries.values() if len(v) > 1),)
    for tag, values in sorted(entries.items()):
        if len(values) == 1:
            rows.append(struct.pack(f"{order}HHII", tag, 4, 1, values[0]))
        else:
            rows.append(struct.pack(f"{order}HHII", tag, 4, len(values), start + len(far)))
            far += struct.pack(f"{order}{len(values)}I", *values)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(entries))
    path.write_bytes(head + b"".join(rows) + bytes(4) + far + data)
    return path


def lzw(data: bytes, rows: int) -> bytes:
    """Bytes packed by LZW, as those of a grey picture of so many rows are."""
    buffer = io.BytesIO()
    picture = np.frombuffer(data, np.uint8).reshape(rows, -1)
    Image.fromarray(picture).save(buffer, "TIFF", compression="tiff_lzw", strip_size=1 << 30)
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        (place,), (count,) = image.tag_v2[273], image.tag_v2[279]
    return buffer.getvalue()[place : place + count]


def packed(values: np.ndarray, bits: int) -> bytes:
    """Rows [h, n] of values of so many bits, the highest first, each row a whole number of bytes."""
    ones = (values[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(ones.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()
