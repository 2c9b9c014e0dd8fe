"""Masks: which pixels are a defect, are not to count, or are looked at."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stadx.core.errors import DataError

from .decode import decode_image, is_turned, is_wide_grey, to_rgba
from .folders import IMAGE_SUFFIXES, natural_key, visible
from .pages import as_path, listed, page_of
from .samples import is_unfilled, warn_unfilled

BoolArray = NDArray[np.bool_]
IGNORED = 2
"""In the ground truth, beside 0 and 1 for a defect: neither a defect nor background."""
LABELS = 31
"""The highest whole number that is a label of a kind of defect, in a mask with several of them."""
_MOST_LEVELS, _DARKEST = 8, 16


@dataclass
class Doubts:
    """Masks that are used, but may be meant otherwise.

    Attributes:
        grey: nearly two-valued masks, cut at half their maximum, and which share of their pixels that are not black
            lies between.
        inverted: masks that mark most of the image and its border too.
        whole: masks that mark every pixel.
    """

    grey: dict[Path, float] = field(default_factory=dict)
    inverted: dict[Path, None] = field(default_factory=dict)  # as a set with an order
    whole: dict[Path, None] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """What to say of them, one sentence for each kind."""
        return [sentence for sentence, _ in self.found()]

    def found(self) -> list[tuple[str, list[Path]]]:
        """What to say of each kind, and of which masks."""
        share = f"{100 * max(self.grey.values(), default=0):.0f} %"
        kinds: dict[str, Collection[Path]] = {
            f"up to {share} of the pixels that are not black are grey, as JPEG and smoothing make it; what is above "
            "half of a mask's maximum counts as defect. Save masks as PNG with 0 and 255 alone, or labels as 1, 2, 3, "
            f"… up to {LABELS}; --ignore-value names a value that does not count": self.grey,
            "most of the image is marked, its border too, as if defects were black on white; what is not black counts "
            "as defect: invert the mask if so": self.inverted,
            "marks every pixel of its image; mark the defect alone": self.whole,
        }
        return [(f"{listed(masks)}: {text}", list(masks)) for text, masks in kinds.items() if masks]

    def add(self, others: Doubts) -> None:
        """Those of further masks."""
        for own, more in zip(vars(self).values(), vars(others).values(), strict=True):
            own.update(more)

    def look_at(self, path: Path, values: NDArray[Any], mask: BoolArray) -> None:
        """Note what is odd about a mask [H, W] that was made of `values` [H, W]."""
        if is_nearly_two_valued(values):
            marked = values != 0
            self.grey[path] = float((marked & (values != values.max())).sum() / marked.sum())
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        if mask.all():
            self.whole[path] = None
        elif mask.mean() > 0.5 and border.mean() > 0.9:
            self.inverted[path] = None


def read_mask(
    path: str | os.PathLike[str],
    shape_hw: tuple[int, int],
    image_path: str | os.PathLike[str],
    doubts: Doubts | None = None,
) -> BoolArray:
    """Read a ground-truth mask: bool [H, W], True at a defect, see `defect_of`.

    Raises `DataError` if its size is not `shape_hw` (that of `image_path`), if it marks no pixel, or if
    the file cannot be read. `doubts` is told of what may be meant otherwise.
    """
    mask: BoolArray = read_truth(path, shape_hw, image_path, None, doubts) == 1
    return mask


def read_truth(
    path: str | os.PathLike[str],
    shape_hw: tuple[int, int],
    image_path: str | os.PathLike[str],
    ignore_value: int | None,
    doubts: Doubts | None = None,
) -> NDArray[np.uint8]:
    """As `read_mask`, but uint8 [H, W]: 0, 1 at a defect, `IGNORED` where the file has the value `ignore_value`.

    That is the grey value, the index into a palette, or the value of all of red, green and blue.
    """
    path = as_path(path)
    if os.path.isdir(path):
        return _union_of(path, shape_hw, image_path, ignore_value)
    image = decode_image(path)
    values = _grey_values(image, path)
    check_size(values, path, shape_hw, image_path)
    stored = np.asarray(image)
    if image.mode != "P" and stored.ndim == 3:
        stored = np.asarray(to_rgba(image))[..., :3]
    truth = truth_of(values, stored, ignore_value, path, doubts)
    if not truth.any():
        raise DataError(
            f"{path}: the mask marks no pixel of {image_path}; mark the defect with non-zero pixels, "
            "or delete the mask and put the image among the good ones"
        )
    return truth


def truth_of(
    values: NDArray[Any], stored: NDArray[Any], ignore_value: int | None, path: Path, doubts: Doubts | None = None
) -> NDArray[np.uint8]:
    """uint8 [H, W]: 1 at a defect, `IGNORED` where stored [H, W] or [H, W, C] is `ignore_value`, 0 elsewhere.

    The other values [H, W] alone say what a defect is, see `defect_of`.
    """
    same: BoolArray = np.zeros(values.shape, np.bool_)
    if ignore_value is not None:
        equal = np.asarray(stored == ignore_value)
        same = np.asarray(equal.all(2) if equal.ndim == 3 else equal)
        values = np.where(same, np.zeros((), values.dtype), values)
    mask = defect_of(values)
    if doubts is not None:
        doubts.look_at(path, values, mask)
    truth = mask.astype(np.uint8)
    truth[same] = IGNORED
    return truth


def defect_of(values: NDArray[Any]) -> BoolArray:
    """Which pixels of a mask are a defect, bool [H, W]: all that are not 0.

    Of a mask that is nearly two-valued those above half its maximum: JPEG leaves grey noise around a defect, and
    smoothing a grey edge.
    """
    cut: BoolArray = values > values.max() / 2 if is_nearly_two_valued(values) else values != 0
    return cut


def is_nearly_two_valued(values: NDArray[Any]) -> bool:
    """Whether a mask [H, W] has greys between 0 and its maximum that are no labels.

    Labels are whole numbers up to `LABELS`, or at most 8 values that all are at least a sixteenth of the maximum.
    """
    highest = values.max() if values.size else 0
    if not highest > 0 or values.dtype == np.bool_:
        return False
    found = np.unique(values)
    if found[0] < 0 or (highest <= LABELS and not (found % 1).any()):
        return False
    found = found[found > 0]
    return len(found) > 1 and bool(len(found) > _MOST_LEVELS or found[0] < highest / _DARKEST)


def mask_pixels(path: str | os.PathLike[str]) -> BoolArray:
    """The pixels of an image file that are set, bool [H, W], see `defect_of`; `DataError` if it cannot be read."""
    path = as_path(path)
    if os.path.isdir(path):
        masks = [mask_pixels(file) for file in region_files(path)]
        return read_mask(path, masks[0].shape, path)
    return defect_of(_grey_values(decode_image(path), path))


def is_black_page(path: Path) -> bool:
    """Whether this is one page of a file of masks, and black: that page of the images is a good one."""
    if page_of(path) is None:
        return False
    try:
        return not mask_pixels(path).any()
    except DataError:  # told where it is read for good
        return False


def _grey_values(image: Image.Image, path: Path) -> NDArray[Any]:
    """The highest of red, green and blue, [H, W]; less where it is transparent."""
    if image.mode == "F" or is_wide_grey(image):
        return np.asarray(image)
    rgba = np.asarray(to_rgba(image))
    values: NDArray[Any] = rgba[..., :3].max(axis=2)
    unfilled = is_unfilled(int(rgba[..., 3].max()))
    if unfilled:
        warn_unfilled(path)
    opaque = np.ones_like(values) if unfilled else rgba[..., 3] / 255
    if image.mode == "P" and len(np.unique(np.asarray(image))) <= _MOST_LEVELS:  # labels, whatever their colours
        return np.asarray((values > 0) & (opaque > 0))
    if opaque.min() < 1:
        values = np.ceil(values * opaque).astype(np.uint8)  # what is there at all stays above 0
    return values


def region_files(folder: Path) -> list[Path]:
    """The files of a folder that each mark one region, in natural order. Raises `DataError` if there are none."""
    found = [p for p in visible(folder) if p.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(p)]
    if not found:
        raise DataError(f"{folder}: has no PNG files of regions; add some, or put the image among the good ones")
    return sorted(found, key=natural_key)


def _union_of(
    folder: Path, shape_hw: tuple[int, int], image_path: str | os.PathLike[str], ignore_value: int | None
) -> NDArray[np.uint8]:
    """The truth where each file of a folder marks one region."""
    if ignore_value is not None:
        raise DataError(f"{folder}: has a file for each region; a value to ignore is for whole masks alone")
    truth = np.zeros(shape_hw, np.uint8)
    for path in region_files(folder):
        truth |= read_mask(path, shape_hw, image_path).astype(np.uint8)
    return truth


def check_size(mask: NDArray[Any], path: Path, shape_hw: tuple[int, int], image_path: str | os.PathLike[str]) -> None:
    """Raise `DataError` unless the mask of the file `path` has the size of its image."""
    if mask.shape == tuple(shape_hw)[::-1] != tuple(shape_hw) and is_turned(as_path(image_path)):
        raise DataError(
            f"{path}: the mask was drawn on the pixels of {image_path} as stored, but that is shown, and scored, "
            "turned by a quarter, as its EXIF says; turn the mask likewise, or remove the orientation from the image"
        )
    if mask.shape != tuple(shape_hw):
        raise DataError(
            f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its image {image_path} is "
            f"{shape_hw[1]}x{shape_hw[0]}; give both the same size"
        )
