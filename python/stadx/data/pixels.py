"""Read one image at its own depth: 8 bits, 16 bits or floating point, whatever the format."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from stadx.core.errors import DataError

from .decode import decode_opened, is_wide_grey, to_rgb, upright_picture
from .opening import check_pixels, damaged, open_file, open_header, pixel_limit
from .pages import as_path
from .samples import Array, Pixels, Samples, pixels_of
from .tiff import is_bytes as tiff_is_bytes
from .tiff import is_tiff, read_tiff

_PNG = b"\x89PNG\r\n\x1a\n"
# by the colour type of a PNG: how many samples are colours, and as what Pillow is to decode them
_COLOURS = {0: 1, 2: 3, 4: 1, 6: 3}
_RAW = {0: (None,), 2: ("RGB;16B", "RGB;16L"), 4: ("RGBA",), 6: ("RGBA;16B", "RGBA;16L")}
_START = 4096  # bytes in which a header is looked for
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_NETPBM = re.compile(rb"P([2356])" + 2 * (_GAP + rb"(\d+)") + _GAP + rb"(\d+)(?:\s|#[^\r\n]*[\r\n])")


def read_pixels(path: str | os.PathLike[str], max_pixels: int | None = None) -> Pixels:
    """Read one image at its own depth: RGB, upright, transparency laid on white.

    Images of 8 bits are what `read_image` makes of them.

    Raises:
        DataError: as `read_image`; floating-point values may be any finite ones.
    """
    path = as_path(path)
    limit = pixel_limit(max_pixels)
    with open_file(path) as file:
        samples = _deep(file, path, limit)
        if samples is not None:
            return pixels_of(samples, path)
        file.seek(0)
        return _pixels_of_picture(decode_opened(file, path, max_pixels), path)


def is_bytes(path: Path) -> bool:
    """Whether the values of an image have 8 bits at most, by its header; yes for what cannot be read."""
    with open_file(path) as file:
        start = file.read(_START)
        if is_tiff(start):
            return tiff_is_bytes(file, path)
        return _deep_png(start) is None and _deep_netpbm(start) is None


def _deep(file: BinaryIO, path: Path, limit: int) -> Samples | None:
    """Samples of a file that has more than 8 bits, or that Pillow reads wrongly; None for all others."""
    start = file.read(_START)
    if is_tiff(start):
        return read_tiff(file, path, limit)
    if (colours := _deep_png(start)) is not None:
        return _png(file, path, limit, colours)
    if (header := _deep_netpbm(start)) is not None:
        return _netpbm(file, header, path, limit)
    return None


def _deep_png(start: bytes) -> int | None:
    """The colour type of a PNG of 16 bits; None for all others."""
    return start[25] if len(start) > 25 and start.startswith(_PNG) and start[24] == 16 else None


def _deep_netpbm(start: bytes) -> re.Match[bytes] | None:
    """The header of a PGM or PPM of more than 8 bits; None for all others."""
    header = _NETPBM.match(start)
    return header if header is not None and int(header[4]) > 255 else None


def _png(file: BinaryIO, path: Path, limit: int, colours: int) -> Samples:
    """A PNG of 16 bits. Pillow has room for them in grey alone: of others it decodes the high bytes, then the low."""
    try:
        bits = _significant_bits(file)
        with_tags = _as_raw(file, None)
        check_pixels(path, *with_tags.size, limit)
        parts = [np.asarray(upright_picture(_as_raw(file, raw))) for raw in _RAW[colours]]
    except DataError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise damaged(path, error) from error
    values: Array
    if colours == 0:
        values = parts[0].astype(np.uint16)[..., None]
    elif colours == 4:  # all bytes of a pixel in one
        pairs = parts[0].astype(np.uint16)
        values = pairs[..., ::2] << 8 | pairs[..., 1::2]
    else:
        values = parts[0].astype(np.uint16) << 8 | parts[1]
    shown = _COLOURS[colours]
    alpha = values[..., shown] if values.shape[2] > shown else None
    clear = with_tags.info.get("transparency")
    if isinstance(clear, int | tuple) and alpha is None:
        alpha = ((values != np.asarray(clear)).any(2) * 65535).astype(np.uint16)
    return Samples(values[..., :shown], alpha, bits=bits)


def _as_raw(file: BinaryIO, raw: str | None) -> Image.Image:
    """A PNG that Pillow is to take for one whose pixels are stored as its raw mode `raw`; None: as they are."""
    file.seek(0)
    image = open_header(file)
    if raw is not None:
        tiles: Any = image
        tiles.tile = [(codec, extents, offset, raw) for codec, extents, offset, _ in tiles.tile]
    return image


def _significant_bits(file: BinaryIO) -> int:
    """The most bits that the chunk sBIT says one colour of a PNG has; 0 if there is none."""
    file.seek(len(_PNG))
    while len(header := file.read(8)) == 8 and header[4:] not in (b"IDAT", b"IEND"):
        size = int.from_bytes(header[:4], "big")
        if header[4:] == b"sBIT":
            return max(file.read(size)[:3], default=0)
        file.seek(size + 4, os.SEEK_CUR)
    return 0


def _netpbm(file: BinaryIO, header: re.Match[bytes], path: Path, limit: int) -> Samples:
    """A PGM or PPM of more than 8 bits, in binary or in text; it says which value is white."""
    kind, width, height, highest = (int(number) for number in header.groups())
    check_pixels(path, width, height, limit)
    if highest > 65535:
        raise DataError(f"{path}: its maximum is {highest}, Netpbm files have at most 65535; save it with 16 bits")
    count = width * height * (3 if kind in (3, 6) else 1)
    file.seek(header.end())
    try:
        if kind in (5, 6):
            values = np.frombuffer(file.read(2 * count), ">u2", count).astype(np.uint16)
        else:
            words = re.sub(rb"#[^\r\n]*", b"", file.read(count * 16)).split()[:count]
            values = np.array([int(word) for word in words], np.uint16)
        values = values.reshape(height, width, -1)
    except (ValueError, OverflowError) as error:
        raise damaged(path, error) from error
    return Samples(values, full=float(highest))


def _pixels_of_picture(image: Image.Image, path: Path) -> Pixels:
    if image.mode == "F" or is_wide_grey(image):
        return pixels_of(Samples(np.asarray(image)[..., None]), path)
    return Pixels(to_rgb(image, path), 255)
