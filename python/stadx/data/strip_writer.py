"""Write huge TIFF files some rows at a time, so that no map need fit into memory."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tifffile import COMPRESSION, PHOTOMETRIC

from stadx.core.files import replacement, writing_to

_CLASSIC_TIFF_BYTES = 2**32 - 2**24  # beyond it BigTIFF; the margin is for tables and what deflate may add
_STRIP_BYTES = 2**18
_SHORT, _LONG, _LONG8 = 3, 4, 16  # types of a tag's values


def float_tiff_header(height: int, width: int) -> bytes:
    """What stands before the pixels, float32 [height, width] in one strip, in the TIFF that Pillow too writes of them.

    Raises:
        ValueError: for an image that is empty, or too large for a TIFF of 32-bit offsets.
    """
    size = height * width * 4
    if not 0 < size <= _CLASSIC_TIFF_BYTES:
        raise ValueError(f"an image of {height} x {width} pixels cannot be written; write it by a RowWriter")
    entries = [
        (256, _LONG, width),
        (257, _LONG, height),
        (258, _SHORT, 32),
        (259, _SHORT, COMPRESSION.NONE),
        (262, _SHORT, PHOTOMETRIC.MINISBLACK),
        (273, _LONG, 8 + 2 + 10 * 12 + 4),
        (278, _LONG, height),
        (279, _LONG, size),
        (284, _SHORT, 1),  # samples of a pixel side by side
        (339, _SHORT, 3),  # floats
    ]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4)


class RowWriter:
    """Write a TIFF file some rows after the other; a context manager. The file appears whole at the end, or not at all.

    Args:
        path: the file; missing folders are made.
        height, width: of the image, in pixels.
        dtype: float32 is written uncompressed, uint8 (grey) with deflate.

    Raises:
        OutputError: naming `path`, if it cannot be written.
        ValueError: for another dtype, for rows of another form, and at the end if there were not `height` rows.
    """

    def __init__(self, path: str | os.PathLike[str], height: int, width: int, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        if self._dtype not in (np.float32, np.uint8):
            raise ValueError(f"dtype is {self._dtype}; it must be float32 or uint8")
        self._path, self._height, self._width = path, height, width
        self._stack = contextlib.ExitStack()
        self._rows_per_strip = max(1, min(height, _STRIP_BYTES // (width * self._dtype.itemsize)))
        self._big = height * width * self._dtype.itemsize > _CLASSIC_TIFF_BYTES
        self._written = 0
        self._starts: list[int] = []  # of the strips, in bytes, and the end
        self._deflate: Any = None

    def __enter__(self) -> RowWriter:
        self._file = self._stack.enter_context(replacement(self._path))
        self._file.seek(16)  # the header comes last
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._written != self._height:
                raise ValueError(f"{self._written} rows were written of {self._height}")
            with writing_to(self._path):
                self._finish()

    def write(self, rows: NDArray[Any]) -> None:
        """Write the next rows, [n, width] of the writer's dtype."""
        if rows.dtype != self._dtype or rows.ndim != 2 or rows.shape[1] != self._width:
            raise ValueError(f"rows are {rows.dtype} {rows.shape}; they must be {self._dtype} [n, {self._width}]")
        if self._written + len(rows) > self._height:
            raise ValueError(f"{self._written + len(rows)} rows are too many for {self._height}")
        done = 0
        with writing_to(self._path):
            while done < len(rows):
                filled = self._written % self._rows_per_strip
                piece = rows[done : done + self._rows_per_strip - filled]
                self._write_in_strip(piece, first=filled == 0)
                done, self._written = done + len(piece), self._written + len(piece)

    def _write_in_strip(self, rows: NDArray[Any], *, first: bool) -> None:
        if first:
            self._end_strip()
        data = rows.astype(self._dtype.newbyteorder("<"), order="C", copy=False).tobytes()
        self._file.write(data if self._deflate is None else self._deflate.compress(data))

    def _end_strip(self) -> None:
        if self._deflate is not None:
            self._file.write(self._deflate.flush())
        self._starts.append(self._file.tell())
        self._deflate = zlib.compressobj() if self._dtype == np.uint8 else None

    def _finish(self) -> None:
        """Write the tables of the strips, the directory and the header."""
        self._end_strip()
        word, kind = ("Q", _LONG8) if self._big else ("I", _LONG)
        count = len(self._starts) - 1
        tables = []
        for table in (self._starts[:-1], np.diff(self._starts).tolist()):
            self._file.seek(-self._file.tell() % 8, os.SEEK_CUR)
            tables.append(self._file.tell() if count > 1 else table[0])  # a single value stands in its entry
            if count > 1:
                self._file.write(struct.pack(f"<{count}{word}", *table))
        self._file.seek(-self._file.tell() % 8, os.SEEK_CUR)
        directory = self._file.tell()
        floats = self._dtype == np.float32
        entries = [
            (256, _LONG, 1, self._width),
            (257, _LONG, 1, self._height),
            (258, _SHORT, 1, 8 * self._dtype.itemsize),
            (259, _SHORT, 1, COMPRESSION.NONE if floats else COMPRESSION.ADOBE_DEFLATE),
            (262, _SHORT, 1, PHOTOMETRIC.MINISBLACK),
            (273, kind, count, tables[0]),
            (277, _SHORT, 1, 1),  # samples per pixel
            (278, _LONG, 1, self._rows_per_strip),
            (279, kind, count, tables[1]),
            (339, _SHORT, 1, 3 if floats else 1),  # sample format: float or unsigned
        ]
        self._file.write(struct.pack("<Q" if self._big else "<H", len(entries)))
        for entry in entries:  # little-endian: a small value fills its field's first bytes, whatever its type
            self._file.write(struct.pack(f"<HH{word}{word}", *entry))
        self._file.write(struct.pack(f"<{word}", 0))
        self._file.seek(0)
        header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, directory)
        self._file.write(header if self._big else struct.pack("<2sHI", b"II", 42, directory))
