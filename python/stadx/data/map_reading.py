"""One anomaly map, or its mask, from a file that any tool wrote."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tifffile import TiffFile

from stadx.core.errors import DataError

from .arrays import REAL, WHOLE, Array, checked, copy_of, open_array, plane_of
from .decode import damaged, decode_image, is_wide_grey, open_file, pixel_limit
from .layouts.category import GOOD
from .masks import Doubts, truth_of

_PILLOW_READS = ("bool", "uint8", "uint16", "int16", "int32", "float32")  # dtypes of TIFF, without loss

# It logs oddities of files that are readable all the same; without a handler they would go to the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read_scores(path: Path) -> Array:
    """A map [H, W] as stored, of any real dtype; raises `DataError` naming a file that is none."""
    values = open_array(path, REAL) if path.suffix.lower() == ".npy" else _read_picture(path)
    return copy_of(plane_of(values, path))


def _read_picture(path: Path) -> Array:
    """Values [H, W] of a grey picture as stored; of a TIFF of rare dtype maybe of more dimensions."""
    values = _read_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else None
    if values is not None:
        return values
    image = decode_image(path)
    if image.mode not in ("1", "L", "F") and not is_wide_grey(image):
        raise DataError(f"{path}: is a colour picture, not a map; save the scores as float TIFF, .npy or grey PNG")
    # Older Pillow widens 16 bits.
    return np.asarray(image, np.uint16 if image.mode == "I" and image.format == "PNG" else None)


def _read_tiff(path: Path) -> Array | None:
    """Values of a TIFF with a dtype that Pillow cannot read, such as float64; None for all other files.

    Raises `DataError` for several pages, of which Pillow would read the first without a word.
    """
    with open_file(path) as file:
        try:
            pages = TiffFile(file).pages
            page, count = pages.first, len(pages)
            height, width, dtype = page.imagelength, page.imagewidth, page.dtype
        except Exception:  # no TIFF or a damaged one: `decode_image` says what is wrong
            return None
        if count > 1:
            raise DataError(f"{path}: holds {count} pictures; save each map as a file of its own")
        if dtype is None or dtype.name in _PILLOW_READS:
            return None
        if height * width > (limit := pixel_limit()):
            raise DataError(f"{path}: {width}x{height} pixels, more than {limit}; raise STADX_MAX_PIXELS")
        try:
            values: Array = page.asarray()
        except Exception as error:
            raise damaged(path, error) from error
    return checked(values, path, REAL)


def read_mask_array(
    path: Path, shape: tuple[int, int], map_path: Path, ignore_value: int | None, doubts: Doubts
) -> npt.NDArray[np.uint8]:
    """The mask of a map in a .npy file, uint8 [H, W]; raises `DataError` for another size or an empty one."""
    values = plane_of(open_array(path, WHOLE), path)
    if values.shape != shape:
        sizes = f"the mask is {list(values.shape)} but its map {map_path} is {list(shape)}"
        raise DataError(f"{path}: {sizes}; give both the same size")
    truth = truth_of(np.asarray(values), values, ignore_value, path, doubts)
    if not truth.any():
        raise DataError(
            f"{path}: the mask marks no pixel of {map_path}; mark the defect with non-zero values, "
            f"or move the map to a folder named {GOOD} and delete the mask"
        )
    return truth
