"""What all layouts of a data set have in common: a category, its test images, and their masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stadx.core.errors import DataError

from ..decode import decode_image, is_turned, is_wide_grey, to_rgba
from ..images import natural_key, visible

GOOD = "good"
# Lossless only: a compressed mask has grey around its edges, and non-zero means defect.
MASK_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm"})


@dataclass(frozen=True)
class TestImage:
    """One test image; `defect` is "good" where it has none, `mask` is None there and where nobody marked the defect."""

    __test__ = False  # the name is the field's own; pytest must not collect it

    path: Path
    mask: Path | None
    defect: str

    @property
    def is_good(self) -> bool:
        return self.defect == GOOD


@dataclass(frozen=True)
class Category:
    """One category: its folder, and its images in natural order, the good test images first."""

    root: Path
    train: Sequence[Path]
    test: Sequence[TestImage]

    @property
    def name(self) -> str:
        return self.root.resolve().name

    @property
    def defects(self) -> list[str]:
        """The defect types of the test images, without "good"."""
        return list(dict.fromkeys(t.defect for t in self.test if not t.is_good))

    @property
    def has_defects(self) -> bool:
        return bool(self.defects)


@dataclass(frozen=True)
class Listing:
    """A category as far as its files can be listed, and what is wrong with the others; no image is read for it.

    Attributes:
        category: the images that are in order.
        errors: what makes results wrong or impossible, each naming the file and the fix.
        warnings: what may be meant.
        fix: what to do where there are no test images.
    """

    category: Category
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    fix: str = f"put them into test/{GOOD} and test/DEFECT and masks into ground_truth/DEFECT"

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Makes a `DataError` inside the block one of the errors, and goes on behind the block."""
        try:
            yield
        except DataError as error:
            self.errors.append(str(error))

    def for_testing(self) -> Category:
        """The category; `DataError` with the first of the errors, or where there are no test images."""
        if self.errors:
            raise DataError(self.errors[0])
        if not self.category.test:
            raise DataError(f"{self.category.root}: has no test images; {self.fix}")
        return self.category


@dataclass(frozen=True)
class Layout:
    """How a data set lies in folders, one for each of its categories.

    Attributes:
        is_category: whether a folder is a category in this layout.
        list_category: lists one, without reading an image.
        training_images: its good images to train on; `DataError` if there are none.
        good_folder: what folders of good images are called, in lists of maps too.
        mask_folder: where in a category the masks are.
    """

    is_category: Callable[[Path], bool]
    list_category: Callable[[Path], Listing]
    training_images: Callable[[Path], list[Path]]
    good_folder: str = GOOD
    mask_folder: str | os.PathLike[str] = "ground_truth"


def mask_files(folder: Path) -> list[Path]:
    """The files of `folder` that can be masks, in natural order; none if there is no such folder."""
    if not os.path.isdir(folder):
        return []
    return sorted((p for p in visible(folder) if p.suffix.lower() in MASK_SUFFIXES), key=natural_key)


def read_mask(
    path: str | os.PathLike[str], shape_hw: tuple[int, int], image_path: str | os.PathLike[str]
) -> npt.NDArray[np.bool_]:
    """Read a ground-truth mask: bool [H, W], True where any colour is non-zero and not fully transparent.

    Raises `DataError` if its size is not `shape_hw` (that of `image_path`), if it marks no pixel, or if
    the file cannot be read.
    """
    path = Path(path)
    image = decode_image(path)
    if image.mode == "F" or is_wide_grey(image):
        mask: npt.NDArray[np.bool_] = np.asarray(image) != 0
    else:
        rgba = np.asarray(to_rgba(image))
        mask = rgba[..., :3].any(axis=2) & (rgba[..., 3] > 0)
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
    if not mask.any():
        raise DataError(
            f"{path}: the mask marks no pixel of {image_path}; mark the defect with non-zero pixels, "
            "or delete the mask and put the image among the good ones"
        )
    return mask
