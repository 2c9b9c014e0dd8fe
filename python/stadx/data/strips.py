"""Read huge TIFF files some rows at a time, so that no image need fit into memory."""

from __future__ import annotations

import contextlib
import math
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, TIFF, TiffFile, TiffPage

from stadx.core.errors import DataError

from .opening import damaged, open_file, pixel_limit
from .pages import as_path, tiff_page
from .samples import Array, UInt8Array
from .value_range import ValueRange, beyond, shown, to_range, warn_of_depth, warn_of_values_beyond

LARGE_IMAGE_PIXELS = 2**24  # images with more are read by strips
MAX_PART_BYTES = 2**26  # of a compressed strip or tile, decoded: it is held as a whole

_COLOURS = ((PHOTOMETRIC.MINISBLACK, 1), (PHOTOMETRIC.RGB, 3))
_DEFLATE = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
_COMPRESSIONS = (COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.PACKBITS, *_DEFLATE)


def open_rows(path: str | os.PathLike[str], value_range: ValueRange | None = None) -> RowReader | None:
    """Open a large TIFF file for reading by strips; None for every file that `read_image` should read whole.

    That is: no TIFF, at most `LARGE_IMAGE_PIXELS` pixels, or a TIFF whose strips or tiles cannot be read one by one.

    Args:
        path: the file.
        value_range: in which the rows are, see `read_in_range`; None: as bytes.

    Raises:
        DataError: if it is missing, damaged, or cannot be read by strips and is too large to be read whole.
    """
    path = as_path(path)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_file(path))
        try:
            page = tiff_page(TiffFile(file), path)
            pixels = page.imagelength * page.imagewidth
            obstacle = _obstacle(page) if pixels > LARGE_IMAGE_PIXELS else None
        except Exception:  # no TIFF or a damaged one: `read_image` says what is wrong
            return None
        if pixels <= LARGE_IMAGE_PIXELS:
            return None
        if obstacle is None:
            reader = RowReader(path, file, page, value_range)
            stack.pop_all()
            return reader
    limit = pixel_limit()
    if pixels > limit:
        raise DataError(
            f"{path}: {page.imagewidth}x{page.imagelength} pixels, more than the limit of {limit}, and cannot be read "
            f"by strips ({obstacle}); save it as upright grey or RGB TIFF in tiles, uncompressed or deflated, or raise "
            "the limit with the environment variable STADX_MAX_PIXELS"
        )
    return None


def _obstacle(page: TiffPage) -> str | None:
    """Say why the strips or tiles of `page`, one by one, would not give what `read_image` makes of the whole."""
    tags, codec = page.tags, page.compression
    if "Orientation" in tags:
        upright = tags["Orientation"].value == 1
    else:  # Pillow takes it from the XMP data then
        upright = "tiff:Orientation" not in str(tags.valueof("XMP", ""))
    height, width, _ = _part_shape(page)
    parts = math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width)
    offsets = tags.get("TileOffsets" if page.is_tiled else "StripOffsets")
    counted = {len(page.dataoffsets), len(page.databytecounts), offsets.count if offsets else 0}
    obstacles = {
        "a camera's own format": page.parent.tiff.version not in (42, 43),
        "turned or mirrored": not upright,
        "neither grey nor RGB": (page.photometric, page.samplesperpixel) not in _COLOURS or page.extrasamples,
        "neither 8 nor 16 bits": page.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16),
        "unusual order of samples or bits": page.planarconfig != 1 or page.fillorder != 1,
        "several layers": page.imagedepth != 1 or page.tiledepth != 1,
        f"compression {codec}": codec not in _COMPRESSIONS or codec not in TIFF.DECOMPRESSORS,
        f"predictor {page.predictor}": page.predictor not in ((1,) if codec == COMPRESSION.NONE else (1, 2)),
        "parts of it are missing": counted != {parts} or 0 in page.dataoffsets or 0 in page.databytecounts,
        "a compressed part is too large": codec != COMPRESSION.NONE and _part_bytes(page) > MAX_PART_BYTES,
    }
    return next((text for text, holds in obstacles.items() if holds), None)


def _part_shape(page: TiffPage) -> tuple[int, int, int]:
    """Return height, width and samples of a tile or strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth, page.samplesperpixel
    return page.rowsperstrip, page.imagewidth, page.samplesperpixel


def _part_bytes(page: TiffPage) -> int:
    return math.prod(_part_shape(page)) * page.bitspersample // 8


class RowReader:
    """Rows of a large TIFF file, decoded when asked for; a context manager. Made by `open_rows`.

    Strips and tiles that the last two calls of `rows` needed stay decoded for the next.

    Attributes:
        height, width: of the image, in pixels.
    """

    def __init__(self, path: Path, file: BinaryIO, page: TiffPage, value_range: ValueRange | None = None) -> None:
        self.height, self.width = page.imagelength, page.imagewidth
        self._path, self._file, self._page = path, file, page
        self._compressed = page.compression != COMPRESSION.NONE
        self._part_height, self._part_width, self._samples = _part_shape(page)
        self._across = math.ceil(self.width / self._part_width)
        self._bands: dict[int, Array] = {}
        self._recent = range(0)
        self._range = value_range
        self._counted = self._beyond = 0  # rows told of so far, and their pixels outside the range
        self._dtype = np.dtype(np.uint8 if page.bitspersample == 8 else np.uint16)
        if value_range is not None:
            warn_of_depth(path, self._dtype, None, value_range)
        size = os.fstat(file.fileno()).st_size
        end = max(offset + self._stored_bytes(index) for index, offset in enumerate(page.dataoffsets))
        if end > size:
            raise damaged(path, f"it has {size} bytes of at least {end}")
        if self._compressed and max(page.databytecounts) > 2 * _part_bytes(page) + 1024:
            raise damaged(path, "a part takes far more bytes than its pixels")

    def __enter__(self) -> RowReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._range is not None:
            warn_of_values_beyond(self._path, self._beyond / max(1, self._counted * self.width), self._range)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Decode the rows from `start` to before `stop`: RGB [3, stop - start, width].

        As of `read_image`, uint8; with a value range as of `read_in_range`, uint8 or float32.

        Raises:
            DataError: if the file is damaged there.
            IndexError: if the image has no such rows.
        """
        if not 0 <= start <= stop <= self.height:
            raise IndexError(f"rows {start} to {stop} of an image of {self.height} rows")
        wanted = range(start // self._part_height, -(-stop // self._part_height))
        self._bands = {i: band for i, band in self._bands.items() if i in wanted or i in self._recent}
        self._recent = wanted
        found = np.empty((3, stop - start, self.width), self._dtype if self._range is not None else np.uint8)
        for index in wanted:
            top = index * self._part_height
            first, last = max(start, top), min(stop, top + self._part_height)
            band = self._band(index, first - top, last - top)
            band = _to_bytes(band) if self._range is None else band
            found[:, first - start : last - start] = band.transpose(2, 0, 1)
        if self._range is None:
            return torch.from_numpy(found)
        self._count(found, start, stop)
        return torch.from_numpy(to_range(found, self._range))

    def shown(self, start: int, stop: int) -> UInt8Array:
        """The same rows for display: uint8 [3, stop - start, width]."""
        return shown(self.rows(start, stop).numpy())

    def _count(self, values: Array, start: int, stop: int) -> None:
        """Note values outside the range in rows that were not given before."""
        assert self._range is not None
        if start <= self._counted < stop:
            self._beyond += int(beyond(values[:, self._counted - start :], self._range).any(0).sum())
            self._counted = stop

    def _band(self, index: int, first: int, last: int) -> Array:
        """Rows of the strip or row of tiles `index`, as they are stored: [last - first, width, samples]."""
        if not self._compressed and not self._page.is_tiled:
            return self._uncompressed(index, first, last)
        if index not in self._bands:
            height = min(self._part_height, self.height - index * self._part_height)
            band = np.empty((height, self.width, self._samples), self._dtype)
            for column in range(self._across):
                left = column * self._part_width
                part = self._part(index * self._across + column)
                band[:, left : left + self._part_width] = part[:height, : self.width - left]
            self._bands[index] = band
        return self._bands[index][first:last]

    def _uncompressed(self, index: int, first: int, last: int) -> Array:
        shape = (last - first, self.width, self._samples)
        dtype = np.dtype(f"{self._page.parent.byteorder}u{self._page.bitspersample // 8}")
        row_bytes = self.width * self._samples * dtype.itemsize
        data = self._read(self._page.dataoffsets[index] + first * row_bytes, shape[0] * row_bytes)
        return np.frombuffer(data, dtype).reshape(shape)

    def _part(self, index: int) -> Array:
        """Decode a strip or tile: [height, width, samples]."""
        data = self._read(self._page.dataoffsets[index], self._stored_bytes(index))
        limit = _part_bytes(self._page)
        try:
            # tifffile's own inflation knows no bound; done twice it is still nothing beside the scoring.
            if self._page.compression in _DEFLATE and len(zlib.decompressobj().decompress(data, limit + 1)) > limit:
                raise ValueError("a part holds more than its pixels")
            part, _, shape = self._page.decode(data, index)
            if part is None or part.shape != shape:
                raise ValueError("a part holds less than its pixels")
        # Damaged data makes decoders raise nearly anything.
        except Exception as error:
            raise damaged(self._path, error) from error
        values: Array = part[0]
        return values

    def _stored_bytes(self, index: int) -> int:
        if self._compressed:
            return int(self._page.databytecounts[index])
        missing = 0  # rows that the last strip lacks; tiles are always whole
        if not self._page.is_tiled:
            missing = max(0, (index + 1) * self._part_height - self.height)
        return _part_bytes(self._page) // self._part_height * (self._part_height - missing)

    def _read(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(offset)
            data = self._file.read(size)
        except OSError as error:
            raise damaged(self._path, error) from error
        if len(data) < size:
            raise damaged(self._path, f"{size - len(data)} bytes are missing")
        return data


def _to_bytes(values: NDArray[Any]) -> UInt8Array:
    """Scale 16 bits to 8 as `read_image` does it; values [height, width, samples]."""
    if values.dtype.itemsize == 1:
        return values
    if values.shape[2] == 3:  # Pillow keeps the high byte
        return (values >> 8).astype(np.uint8)
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
