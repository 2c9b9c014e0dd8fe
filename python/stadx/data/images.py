"""List, read, resize and write images and anomaly maps."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stadx.core.errors import DataError
from stadx.core.files import replacement, write_bytes, writing_to

from .decode import DEFAULT_MAX_PIXELS, UInt8Array, decode_image, is_turned, to_rgb
from .folders import IMAGE_SUFFIXES, list_images, natural_key, subfolders, visible
from .opening import damaged, open_file, open_header
from .pages import as_path
from .pixels import read_pixels
from .png import to_png
from .strip_writer import float_tiff_header
from .tensors import ImageSize, resized

Float32Array = npt.NDArray[np.float32]

_UNSEEN = 1.03  # change of the aspect ratio that is not worth a word

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "IMAGE_SUFFIXES",
    "image_size",
    "list_images",
    "natural_key",
    "read_image",
    "read_map",
    "stretched",
    "subfolders",
    "visible",
    "write_image",
    "write_map",
]


def read_image(path: str | os.PathLike[str], max_pixels: int | None = None) -> UInt8Array:
    """Read one image as a person would see it: uint8 [H, W, 3] RGB, contiguous.

    EXIF rotation is applied, transparency is laid on white, 16-bit values are scaled to 8 bits, floating-
    point values must lie in [0, 1]; of a file with several pages the first is read, or the one that a `Page` names.
    `max_pixels` limits H·W before anything is decoded (default: environment variable STADX_MAX_PIXELS, else 2**28).

    Raises `DataError` for a file that is missing, unreadable, empty, damaged, not an image, or too large.
    """
    path = as_path(path)
    return to_rgb(decode_image(path, max_pixels), path)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of what `read_image` gives, from the file's header; `DataError` if that cannot be read."""
    with open_file(path) as file:
        try:
            width, height = open_header(file, path).size
        except Exception as error:  # damaged files make Pillow raise nearly anything
            raise damaged(path, error) from error
    return (width, height) if is_turned(path) else (height, width)


def stretched(path: Path, size: ImageSize) -> str | None:
    """What to say if resizing an image to `size` changes its shape by more than a few percent.

    Raises `DataError` as `read_pixels` does.
    """
    height, width = read_pixels(path).values.shape[:2]
    new_height, new_width = resized(height, width, size)
    change = (new_width / new_height) / (width / height)
    if max(change, 1 / change) <= _UNSEEN:
        return None
    side = math.sqrt(new_height * new_width * height / width)
    kept = [max(1, round(length)) for length in (side, side * width / height)]
    how = "stretched" if change > 1 else "squeezed"
    return (
        f"{path}: is {width}x{height}, and is resized to {new_width}x{new_height}: {how} in width by "
        f"{100 * (max(change, 1 / change) - 1):.0f} %. An image size of {kept[0]},{kept[1]} (height, width) keeps its "
        "shape in as many pixels, --keep-aspect that of every image."
    )


def write_image(path: str | os.PathLike[str], image: UInt8Array, *, durable: bool = True) -> None:
    """Write uint8 [H, W] (grey) or [H, W, 3] (RGB) as PNG, making missing folders.

    `durable`: wait until it is on the disk.

    Raises `OutputError` naming `path` if it cannot be written; then nothing half-written is left.
    Raises `ValueError` for an array of another form.
    """
    write_bytes(path, to_png(image), durable=durable)


def write_map(path: str | os.PathLike[str], scores: Float32Array, *, durable: bool = True) -> None:
    """Write float32 [H, W] as a 32-bit floating-point TIFF, making missing folders.

    `durable`, and `OutputError`, as of `write_image`.

    Raises `DataError` naming `path` for a map of another form, or without a pixel, and for one of 4 GiB.
    """
    shape = np.shape(scores)
    if len(shape) != 2 or 0 in shape:
        raise DataError(f"{path}: a map of shape {list(shape)} cannot be written; give one [H, W] with some pixels")
    try:
        header = float_tiff_header(*shape)
    except ValueError as error:
        raise DataError(
            f"{path}: a map of {shape[0]} x {shape[1]} pixels is too large for a TIFF that is written at once; leave "
            "it out (--no-map), or write it by rows, with stadx.data.strip_writer.RowWriter"
        ) from error
    values = np.ascontiguousarray(scores, dtype="<f4")
    with replacement(path, durable=durable) as file, writing_to(path):
        file.write(header)
        file.write(values.data)


def read_map(path: str | os.PathLike[str], max_pixels: int | None = None) -> Float32Array:
    """Read a map that `write_map` wrote: float32 [H, W]. Raises `DataError` for any other file."""
    path = as_path(path)
    image = decode_image(path, max_pixels)
    if image.mode != "F":
        raise DataError(f"{path}: not an anomaly map but an image; give a 32-bit floating-point TIFF")
    return np.array(image, dtype=np.float32)
