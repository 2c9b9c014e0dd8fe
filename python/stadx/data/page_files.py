"""A page of a file with several images as a file of its own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tifffile

from stadx.core.files import write_bytes

from .images import write_image
from .pixels import read_pixels
from .samples import Array, Pixels


def write_page(page: Path, folder: Path, name: str) -> Path:
    """Write an image, such as a `Page`, upright and at its own depth; it is read again with the same values.

    Args:
        page: the image.
        folder: for the file; it is made where it is missing.
        name: of the file, without ending: that is .png for 8 bits, .pgm or .ppm where the page says which value is
            white, else .tif.

    Returns:
        The file.

    Raises:
        DataError: if the page cannot be read.
        OutputError: if the file cannot be written.
    """
    pixels = read_pixels(page)
    values = _without_colours(pixels.values)
    if values.dtype == np.uint8:
        file = folder / f"{name}.png"
        write_image(file, values)
        return file
    if values.dtype == np.uint16 and pixels.full is not None and pixels.full > 255:
        file = folder / f"{name}.{'pgm' if values.ndim == 2 else 'ppm'}"
        write_bytes(file, _netpbm(values, int(pixels.full)))
        return file
    if values.dtype == np.float32 and pixels.full == np.iinfo(np.int8).max:  # as which bytes with a sign are read
        values = values.astype(np.int8)
    file = folder / f"{name}.tif"
    write_bytes(file, _tiff(values, pixels))
    return file


def _without_colours(values: Array) -> Array:
    """[H, W] where all three colours are the same, else [H, W, 3] as given."""
    is_grey = bool((values[..., 0] == values[..., 1]).all() and (values[..., 0] == values[..., 2]).all())
    return np.ascontiguousarray(values[..., 0]) if is_grey else values


def _netpbm(values: Array, highest: int) -> bytes:
    """The one format of 16 bits that says which value is white."""
    kind = "P5" if values.ndim == 2 else "P6"
    header = f"{kind}\n{values.shape[1]} {values.shape[0]}\n{highest}\n".encode("ascii")
    return header + values.astype(">u2").tobytes()


def _tiff(values: Array, pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    # MaxSampleValue: of how many bits the camera is
    claimed = [(281, "H", 1, 2**pixels.bits - 1, True)] if pixels.bits else []
    kind = "minisblack" if values.ndim == 2 else "rgb"
    tifffile.imwrite(buffer, values, photometric=kind, compression="zlib", extratags=claimed)
    return buffer.getvalue()
