"""Masks: which pixels are a defect, are not to count, or are looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError

from .decode import decode_image, is_turned, is_wide_grey, to_rgba
from .images import natural_key, visible

BoolArray = NDArray[np.bool_]
# Lossless only: a compressed mask has grey around its edges, and non-zero means defect.
MASK_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm"})
IGNORED = 2
"""In the ground truth, beside 0 and 1 for a defect: neither a defect nor background."""


def read_mask(path: str | os.PathLike[str], shape_hw: tuple[int, int], image_path: str | os.PathLike[str]) -> BoolArray:
    """Read a ground-truth mask: bool [H, W], True where any colour is non-zero and not fully transparent.

    Raises `DataError` if its size is not `shape_hw` (that of `image_path`), if it marks no pixel, or if
    the file cannot be read.
    """
    mask = mask_pixels(path)
    check_size(mask, Path(path), shape_hw, image_path)
    if not mask.any():
        raise DataError(
            f"{path}: the mask marks no pixel of {image_path}; mark the defect with non-zero pixels, "
            "or delete the mask and put the image among the good ones"
        )
    return mask


def read_truth(
    path: str | os.PathLike[str],
    shape_hw: tuple[int, int],
    image_path: str | os.PathLike[str],
    ignore_value: int | None,
) -> NDArray[np.uint8]:
    """As `read_mask`, but uint8 [H, W]: 0, 1 at a defect, `IGNORED` where the file has the value `ignore_value`.

    That is the grey value, the index into a palette, or the value of all of red, green and blue.
    """
    mask = read_mask(path, shape_hw, image_path)
    if ignore_value is None:
        return mask.astype(np.uint8)
    if os.path.isdir(path):
        raise DataError(f"{path}: has a file for each region; a value to ignore is for whole masks alone")
    image = decode_image(Path(path))
    values = np.asarray(image)
    if image.mode != "P" and values.ndim == 3:
        values = np.asarray(to_rgba(image))[..., :3]
    return truth_of(mask, values, ignore_value)


def truth_of(mask: BoolArray, values: NDArray[Any], ignore_value: int | None) -> NDArray[np.uint8]:
    """uint8 [H, W]: 1 in `mask` [H, W], `IGNORED` where values [H, W] or [H, W, C] are `ignore_value`, 0 elsewhere."""
    truth = mask.astype(np.uint8)
    if ignore_value is not None:
        same = values == ignore_value
        truth[same.all(2) if same.ndim == 3 else same] = IGNORED
    return truth


def mask_pixels(path: str | os.PathLike[str]) -> BoolArray:
    """The pixels of an image file that are set: bool [H, W], True where any colour is non-zero and not transparent.

    Of a folder, those of any of its image files: there each marks one region. Raises `DataError` if a file cannot be
    read, or those of a folder differ in size.
    """
    if os.path.isdir(path):
        return _union([(file, mask_pixels(file)) for file in region_files(Path(path))])
    image = decode_image(Path(path))
    if image.mode == "F" or is_wide_grey(image):
        grey: BoolArray = np.asarray(image) != 0
        return grey
    rgba = np.asarray(to_rgba(image))
    mask: BoolArray = rgba[..., :3].any(axis=2) & (rgba[..., 3] > 0)
    return mask


def region_files(folder: Path) -> list[Path]:
    """The files of a folder that each mark one region, in natural order. Raises `DataError` if there are none."""
    found = [p for p in visible(folder) if p.suffix.lower() in MASK_SUFFIXES and os.path.isfile(p)]
    if not found:
        raise DataError(f"{folder}: has no PNG files of regions; add some, or put the image among the good ones")
    return sorted(found, key=natural_key)


def _union(masks: list[tuple[Path, BoolArray]]) -> BoolArray:
    first, union = masks[0]
    for path, mask in masks[1:]:
        check_size(mask, path, union.shape, first)
        union = union | mask
    return union


def check_size(mask: BoolArray, path: Path, shape_hw: tuple[int, int], image_path: str | os.PathLike[str]) -> None:
    """Raise `DataError` unless the mask of the file `path` has the size of its image."""
    if mask.shape == tuple(shape_hw)[::-1] != tuple(shape_hw) and is_turned(Path(image_path)):
        raise DataError(
            f"{path}: the mask was drawn on the pixels of {image_path} as stored, but that is shown, and scored, "
            "turned by a quarter, as its EXIF says; turn the mask likewise, or remove the orientation from the image"
        )
    if mask.shape != tuple(shape_hw):
        raise DataError(
            f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its image {image_path} is "
            f"{shape_hw[1]}x{shape_hw[0]}; give both the same size"
        )
