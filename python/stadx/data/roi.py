"""The region of interest: which pixels of images are looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError

from .layouts.category import LOSSLESS_SUFFIXES, mask_files
from .masks import BoolArray, check_size, mask_pixels
from .pages import file_of, page_of

RoiInput = str | os.PathLike[str] | NDArray[Any] | Tensor
"""A mask for all images, or one of each: a file or a folder, or an array or a tensor [h, w] or [N, H, W]."""

_ENDINGS = ("", "_mask", "_roi")  # of a mask's name after the image's


class Roi:
    """Which pixels of images are looked at: those where a mask is not zero.

    Args:
        masks: one for all images, of any size, an image file or [h, w]; or a mask of each at the image's own size, a
            folder or [N, H, W]. In a folder the mask of NAME.jpg is NAME.png, NAME_mask.png or NAME_roi.png (or another
            lossless format), in a sub-folder called as the image's folder if there is one.

    Attributes:
        name: what messages call it.
        mask: the one for all images, bool [h, w]; None where each has its own.

    Raises:
        DataError: if there is no such mask, or it is black.
    """

    def __init__(self, masks: RoiInput) -> None:
        self.name = "the region of interest"
        self.mask: BoolArray | None = None
        self._folder: Path | None = None
        self._masks: BoolArray | None = None
        self._image_of: dict[Path, Path] = {}
        if isinstance(masks, str | os.PathLike):
            self.name = os.fspath(masks)
            if os.path.isdir(masks):
                self._folder = Path(masks)
                self._check_folder()
            else:
                _check_lossless(Path(masks))
                self.mask = mask_pixels(masks)
        else:
            array: BoolArray = np.asarray(masks.cpu() if isinstance(masks, Tensor) else masks) != 0
            if array.ndim not in (2, 3) or 0 in array.shape:
                raise DataError(f"the region of interest has shape {list(array.shape)}; give masks [h, w] or [N, H, W]")
            if array.ndim == 2:
                self.mask = array
            else:
                self._masks = array
        if self.mask is not None and not self.mask.any():
            raise DataError(
                f"{self.name}: the mask is black, nothing would be looked at; paint what is looked at white"
            )

    @property
    def share(self) -> float | None:
        """Which share of the mask for all images is looked at; None where each has its own."""
        return None if self.mask is None else float(self.mask.mean())

    def of(self, image: Path | int, size: tuple[int, int]) -> BoolArray:
        """The mask of one image, bool [H, W].

        Args:
            image: its file, or its number where it has none.
            size: height and width of the image. The mask for all is resized to it, by nearest neighbour.

        Raises:
            DataError: naming a mask that is missing, black, of another size, or cannot be read.
        """
        if self.mask is not None:
            mask, name = nearest(torch.from_numpy(self.mask), size).numpy(), self.name
        elif self._folder is not None and isinstance(image, Path):
            path = self._file_of(image)
            mask, name = mask_pixels(path), os.fspath(path)
            check_size(mask, path, size, image)
        elif self._masks is not None and isinstance(image, int):
            mask, name = self._at(image), f"mask {image} of the region of interest"
            if mask.shape != size:
                raise DataError(f"{name} is {list(mask.shape)}, its image {list(size)}; give both the same size")
        else:
            raise DataError(f"{self.name}: says nothing of image {image}; give a mask for all images")
        if not mask.any():
            raise DataError(
                f"{name}: the mask has no white pixel at {size[1]}x{size[0]}; paint what is looked at white"
            )
        return mask

    def count(self, height: int, width: int) -> int:
        """How many pixels of an image the mask for all lets be looked at; nothing of the image's size is held."""
        assert self.mask is not None
        rows, columns = (
            np.bincount(_nearest_index(length, wanted).numpy(), minlength=length)
            for length, wanted in zip(self.mask.shape, (height, width), strict=True)
        )
        return int(rows @ self.mask.astype(np.int64) @ columns)

    def _at(self, image: int) -> BoolArray:
        assert self._masks is not None
        if image >= len(self._masks):
            raise DataError(
                f"there are {len(self._masks)} masks of the region of interest, but more images; give one each"
            )
        mask: BoolArray = self._masks[image]
        return mask

    def _check_folder(self) -> None:
        assert self._folder is not None
        if not any(path.suffix.lower() in LOSSLESS_SUFFIXES for path in self._folder.rglob("*")):
            raise DataError(f"{self._folder}: has no masks; put NAME.png for every image NAME into it")

    def _file_of(self, image: Path) -> Path:
        """The mask of an image file."""
        assert self._folder is not None
        named = self._folder / image.resolve().parent.name
        places = [place for place in (named, self._folder) if os.path.isdir(place)]
        stems = {image.stem + ending for ending in _ENDINGS}
        if (page := page_of(image)) is not None:  # or the same page of a file of masks
            stems |= {f"{file_of(image).stem}{ending}_p{page}" for ending in _ENDINGS}
        for place in places:
            found = [
                f for f in mask_files(place, LOSSLESS_SUFFIXES) if f.stem in stems and f.resolve() != image.resolve()
            ]
            if len(found) > 1:
                raise DataError(f"{found[1]}: is a second mask of {image}, beside {found[0]}; remove one of them")
            if found:
                other = self._image_of.setdefault(found[0], image.resolve())
                if other != image.resolve():
                    raise DataError(
                        f"{found[0]}: would be the mask of {image} and of {other}; put masks into sub-folders that are "
                        "called as the images' folders"
                    )
                return found[0]
        raise DataError(
            f"{image}: has no mask in the region of interest; expected {self._folder / image.stem}.png, white where it "
            "is looked at"
        )


def nearest(mask: Tensor, size: tuple[int, int], rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
    """Some rows and columns of masks [..., h, w] resized to `size`: a pixel is what the mask is at its centre."""
    index = []
    for length, wanted, part in zip(mask.shape[-2:], size, (rows, columns), strict=True):
        index.append(_nearest_index(length, wanted)[part])
    return mask.index_select(-2, index[0].to(mask.device)).index_select(-1, index[1].to(mask.device))


def _nearest_index(length: int, wanted: int) -> Tensor:
    return (2 * torch.arange(wanted) + 1) * length // (2 * wanted)


def _check_lossless(path: Path) -> None:
    if path.suffix.lower() in (".jpg", ".jpeg", ".webp"):
        raise DataError(f"{path}: is compressed with loss, its black is not black; save the mask as PNG")
    if not os.path.exists(path):
        raise DataError(f"{path}: there is no such mask, nor a folder of masks; check the name")
