"""TIFF files of the kinds that Pillow reads wrongly, with 8 bits, or not at all: their samples at full depth."""

from __future__ import annotations

import io
import itertools
import logging
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from tifffile import COMPRESSION, PHOTOMETRIC, TIFF, TiffFile, TiffPage

from stadx.core.errors import DataError

from .opening import check_pixels, damaged, open_header
from .pages import tiff_page
from .samples import Array, Samples, is_unfilled

IMAGECODECS = "which needs imagecodecs (pip install 'stadx[images]')"
SAVE_AS = "save it as grey or RGB TIFF of 8 or 16 bits, uncompressed, or as PNG"

# It logs oddities of files that are readable all the same; without a handler they would go to the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GREY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
_DEFLATE = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
_OURS = (COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.PACKBITS, *_DEFLATE)
_OF_BYTES = (COMPRESSION.LZMA, COMPRESSION.ZSTD, COMPRESSION.ZSTD_DEPRECATED)  # whatever they stand for
# 8 bits at most; of WebP in TIFF its libtiff knows nothing
_PILLOWS = (*_OURS, 2, 3, 4, 6, 7, 32771, 32809, 34925, 50000)
_UNSIGNED, _SIGNED, _FLOAT, _VOID = 1, 2, 3, 4  # of the tag SampleFormat
_ALPHA = {1: True, 2: False}  # of the tag ExtraSamples: whether colours are multiplied by it


def is_tiff(start: bytes) -> bool:
    """Whether a file that begins so is a TIFF."""
    return start[:4] in _MAGIC


def read_tiff(file: BinaryIO, path: Path, limit: int) -> Samples | None:
    """Samples of the page of a TIFF that `path` names, or of the first.

    None where Pillow reads it as it should, in 8 bits, or says what is wrong.

    Raises:
        DataError: for a kind of file that cannot be read, which is named, one that is damaged, or has more pixels than
            `limit`.
    """
    try:
        page = _page(file, path)
        height, width = int(page.imagelength), int(page.imagewidth)
        plain, obstacle = _pillow_reads(page), _obstacle(page)
    except Exception:  # a damaged one, of which Pillow says what is wrong
        return None
    # Pillow divides colours by such an alpha, and nothing is left of them where it is 0
    divided = plain and not obstacle and page.extrasamples == (1,)
    if (plain and not divided) or not height or not width:
        return None
    check_pixels(path, width, height, limit)
    values = None
    try:
        values = None if obstacle else _decoded(page, file)
    except ImportError:  # tifffile names codecs that it finds no library for
        obstacle = f"{_name_of_codec(page)}, {IMAGECODECS}"
    except Exception as error:  # damaged data makes decoders raise nearly anything
        raise damaged(path, error) from error
    if values is None:
        raise DataError(f"{path}: is a TIFF that cannot be read: {obstacle}; {SAVE_AS}")
    samples = _meant(page, values)
    if divided and samples.alpha is not None and not is_unfilled(int(samples.alpha.max())):
        return None
    return samples


def _name_of_codec(page: TiffPage) -> str:
    return f"its compression is {getattr(page.compression, 'name', page.compression)}"


def _page(file: BinaryIO, path: Path) -> TiffPage:
    file.seek(0)
    return tiff_page(TiffFile(file), path)


def is_bytes(file: BinaryIO, path: Path) -> bool:
    """Whether the samples of a TIFF have 8 bits at most; yes for what cannot be read."""
    try:
        page = _page(file, path)
        return page.sampleformat in (_UNSIGNED, _VOID) and all(bits <= 8 for bits in _bits(page))
    except Exception:
        return True


def _bits(page: TiffPage) -> tuple[int, ...]:
    """Bits per sample, once if all have the same."""
    bits = page.bitspersample
    return tuple(dict.fromkeys(bits)) if isinstance(bits, tuple) else (bits,)


def _pillow_reads(page: TiffPage) -> bool:
    """Whether Pillow reads all that is in it: 8 bits at most, in the usual order."""
    extra, colours = page.extrasamples, page.samplesperpixel - len(page.extrasamples)
    kind = page.photometric
    if page.sampleformat not in (_UNSIGNED, _VOID) or any(bits > 8 for bits in _bits(page)):
        return False
    if page.compression not in _PILLOWS:
        return False
    if kind in _GREY or kind == PHOTOMETRIC.RGB:
        expected = 1 if kind in _GREY else 3
        usual = page.planarconfig == 1 or (kind == PHOTOMETRIC.RGB and not extra)
        known = _bits(page) == (8,) or (kind in _GREY and _bits(page)[0] in (1, 2, 4))
        return bool(colours == expected and len(extra) <= 1 and usual and known)
    if kind == PHOTOMETRIC.YCBCR and page.compression not in (6, 7):
        return page.planarconfig == 1 and page.tags.valueof("YCbCrSubSampling", (2, 2)) == (1, 1)
    return page.planarconfig == 1 or kind == PHOTOMETRIC.SEPARATED


def _obstacle(page: TiffPage) -> str | None:
    """Say what of a page is beyond `_decoded` and `_meant`."""
    bits, codec, form = _bits(page), page.compression, page.sampleformat
    kind = getattr(page.photometric, "name", page.photometric)
    samples, extra = page.samplesperpixel, len(page.extrasamples)
    few = samples in (1, 2, 3, 4) if page.photometric == PHOTOMETRIC.MINISBLACK else samples - extra == 1
    known = {_UNSIGNED: bits[0] <= 16 or bits[0] in (32, 64), _SIGNED: bits[0] in (8, 16, 32, 64)}
    known |= {_FLOAT: bits[0] in (16, 32, 64), _VOID: bits[0] in (8, 16, 32)}
    obstacles = {
        f"its colours are {kind}": page.photometric not in (*_GREY, PHOTOMETRIC.RGB),
        f"it has {samples} samples a pixel, neither grey nor RGB": (page.photometric == PHOTOMETRIC.RGB and samples < 3)
        or (page.photometric in _GREY and not few),
        f"its samples have {' and '.join(map(str, bits))} bits": len(bits) > 1 or not known.get(form, False),
        "black and white are exchanged, with more than 16 bits": (
            page.photometric == PHOTOMETRIC.MINISWHITE and bits[0] > 16 and form != _FLOAT
        ),
        "it is a volume of several layers": page.imagedepth != 1 or page.tiledepth != 1,
        f"{_name_of_codec(page)}, {IMAGECODECS}": codec not in _OURS and codec not in TIFF.DECOMPRESSORS,
        f"{_name_of_codec(page)} of signed, floating-point or wide numbers": (
            codec not in (*_OURS, *_OF_BYTES) and (form != _UNSIGNED or bits[0] > 16)
        ),
        f"predictor {page.predictor}": codec in _OURS and page.predictor not in (1, 2, 3),
        f"predictor {page.predictor} with {bits[0]} bits": page.predictor != 1 and bits[0] not in (8, 16, 32, 64),
    }
    return next((text for text, holds in obstacles.items() if holds), None)


def _dtype(page: TiffPage) -> np.dtype[Any]:
    """The dtype, native, of one sample unpacked."""
    (bits,) = _bits(page)
    size = max(1, 1 << (bits - 1).bit_length() >> 3)
    return np.dtype(f"{ {_SIGNED: 'i', _FLOAT: 'f'}.get(page.sampleformat, 'u') }{size}")


def _decoded(page: TiffPage, file: BinaryIO) -> Array:
    """All samples [H, W, S] as they are stored, unpacked."""
    if page.compression not in _OURS:
        return _chunky(np.asarray(page.asarray(squeeze=False)))
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    planes = page.samplesperpixel // samples
    height, width = page.imagelength, page.imagewidth
    part_height = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
    part_width = page.tilewidth if page.is_tiled else width
    values = np.zeros((planes, height, width, samples), _dtype(page))
    tops, lefts = range(0, height, part_height), range(0, width, part_width)
    places = list(itertools.product(range(planes), tops, lefts))
    if len(page.dataoffsets) < len(places) or len(page.databytecounts) < len(places):
        raise ValueError("parts of it are missing")
    parts = zip(places, page.dataoffsets, page.databytecounts, strict=False)
    for (plane, top, left), offset, count in parts:
        rows = part_height if page.is_tiled else min(part_height, height - top)
        file.seek(offset)
        part = _part(page, file.read(count), (rows, part_width, samples))
        there = values[plane, top : top + rows, left : left + part_width]
        there[:] = part[: there.shape[0], : there.shape[1]]
    return np.moveaxis(values, 0, 2).reshape(height, width, -1)


def _chunky(values: Array) -> Array:
    """tifffile's [S, 1, H, W, s] as [H, W, S·s]."""
    return np.moveaxis(values[:, 0], 0, 2).reshape(*values.shape[2:4], -1)


def _part(page: TiffPage, data: bytes, shape: tuple[int, int, int]) -> Array:
    """Decode a strip or tile of that shape [h, w, s]."""
    (bits,), (height, width, samples) = _bits(page), shape
    row_bytes = -(-width * samples * bits // 8)
    if page.fillorder == 2:
        data = _reversed_bits(data)
    data = _unpacked_bytes(page.compression, data, height, row_bytes)
    if len(data) < height * row_bytes:
        raise ValueError(f"{height * row_bytes - len(data)} bytes of a part are missing")
    rows = np.frombuffer(data, np.uint8, height * row_bytes).reshape(height, row_bytes)
    dtype = _dtype(page)
    if page.predictor == 3:  # bytes of one rank together, each the difference to that of the pixel before
        sums = np.cumsum(rows.reshape(height, -1, samples), axis=1, dtype=np.uint8)
        ranks = sums.reshape(height, dtype.itemsize, -1).transpose(0, 2, 1)
        floats: Array = np.ascontiguousarray(ranks).view(dtype.newbyteorder(">")).reshape(shape).astype(dtype)
        return floats
    values: Array
    if bits in (8, 16, 32, 64):
        values = rows.copy().view(dtype.newbyteorder(page.parent.byteorder)).astype(dtype).reshape(shape)
    else:
        values = _unpacked_samples(rows, bits, width * samples, dtype).reshape(shape)
    if page.predictor == 2:
        unsigned = values.view(f"u{dtype.itemsize}")
        values = np.cumsum(unsigned, axis=1, dtype=unsigned.dtype).view(dtype)
    return values


def _unpacked_samples(rows: npt.NDArray[np.uint8], bits: int, count: int, dtype: np.dtype[Any]) -> Array:
    """Samples of an odd number of bits, the highest first: [h, count]; each row begins with a new byte."""
    stream = np.unpackbits(rows, axis=1)[:, : count * bits].reshape(len(rows), count, bits)
    wide = np.zeros((len(rows), count, 8 * dtype.itemsize), np.uint8)
    wide[:, :, -bits:] = stream
    values: Array = np.packbits(wide, axis=2).view(dtype.newbyteorder(">"))[..., 0].astype(dtype)
    return values


def _reversed_bits(data: bytes) -> bytes:
    return np.packbits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")).tobytes()


def _unpacked_bytes(codec: int, data: bytes, height: int, row_bytes: int) -> bytes:
    """The bytes of a part; no more than its rows take, if it is deflated."""
    if codec == COMPRESSION.NONE:
        return data
    if codec in _DEFLATE:
        return zlib.decompressobj().decompress(data, height * row_bytes)
    if codec == COMPRESSION.LZW:
        return _without_lzw(data, height, row_bytes)
    return bytes(TIFF.DECOMPRESSORS[codec](data))


def _without_lzw(data: bytes, height: int, row_bytes: int) -> bytes:
    """Unpacked by Pillow's libtiff, as a picture with a grey byte for each: tifffile alone cannot."""
    tags = {256: row_bytes, 257: height, 258: 8, 259: 5, 262: 1, 273: 122, 277: 1, 278: height, 279: len(data)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4)
    return open_header(io.BytesIO(header + data)).tobytes()


def _meant(page: TiffPage, values: Array) -> Samples:
    """Samples [H, W, S] by what they stand for, upright."""
    (bits,) = _bits(page)
    extra = [int(kind) for kind in page.extrasamples]
    # three samples that are said to be grey, and two more of nothing, are colours
    shown = 3 if page.photometric == PHOTOMETRIC.RGB or values.shape[2] > 2 else 1
    alpha, premultiplied = None, False
    for place, kind in enumerate(extra, values.shape[2] - len(extra)):
        if kind in _ALPHA and place >= shown:
            alpha, premultiplied = values[..., place], _ALPHA[kind]
            break
    full = None
    if values.dtype.kind != "f" and bits < 16:  # of wider ones it is the camera's, which may have fewer bits
        full = float(2 ** (bits - (values.dtype.kind == "i")) - 1)
    values = values[..., :shown]
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        values = _inverted(values, full)
    claimed = page.tags.valueof("MaxSampleValue")
    claimed = max(claimed) if isinstance(claimed, tuple) and claimed else claimed
    depth = int(claimed).bit_length() if isinstance(claimed, int | float) and claimed > 0 else 0
    # some programs write the highest value of the one image there
    camera_bits = depth if 8 < depth <= 16 and claimed == 2**depth - 1 and values.dtype.kind == "u" else 0
    turn = page.tags.valueof("Orientation", 1)
    values = upright(values, turn)
    return Samples(values, None if alpha is None else upright(alpha, turn), full, camera_bits, premultiplied)


def _inverted(values: Array, full: float | None) -> Array:
    if values.dtype.kind == "f":
        return np.asarray(1 - values, values.dtype)
    highest = np.iinfo(values.dtype).max if full is None else int(full)
    return np.asarray(highest - values, values.dtype)


def upright(values: Array, orientation: object) -> Array:
    """Turn [H, W, ...] as the tag Orientation says."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values
