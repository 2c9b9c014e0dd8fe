"""Categories in the MVTec AD layout: train/good, test/{good,DEFECT}, ground_truth/DEFECT/NAME_mask.png."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stadx.data.decode import decode_image, is_wide_grey, to_rgba
from stadx.data.images import list_images, natural_key, subfolders, visible
from stadx.errors import DataError

GOOD = "good"
# Lossless only: a compressed mask has grey around its edges, and non-zero means defect.
_MASK_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm"})


@dataclass(frozen=True)
class TestImage:
    """One test image; `mask` is None and `defect` is "good" where it has no defect."""

    __test__ = False  # the name is the field's own; pytest must not collect it

    path: Path
    mask: Path | None
    defect: str

    @property
    def is_good(self) -> bool:
        return self.mask is None


@dataclass(frozen=True)
class Category:
    """One category: its folder, and its images in natural order, the good test images first."""

    root: Path
    train: list[Path]
    test: list[TestImage]

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


def training_images(path: str | os.PathLike[str]) -> list[Path]:
    """The good images to train on: train/good of a category, else the images directly in the folder `path`.

    Raises `DataError` for a folder that is missing, empty, or holds several categories.
    """
    root = Path(path)
    if os.path.isdir(root / "train"):
        if not os.path.isdir(root / "train" / GOOD):
            raise DataError(f"{root / 'train'}: has no folder {GOOD}; put the good images into train/{GOOD}")
        return list_images(root / "train" / GOOD)
    _refuse_set_of_categories(root, f"train/{GOOD}")
    return list_images(root)


def open_category(path: str | os.PathLike[str]) -> Category:
    """List a category in MVTec AD layout, checking that masks and defect images belong together one to one.

    A category without defects opens (`has_defects` is False), and so does one without a folder train
    (`train` is empty). Raises `DataError` naming the file or folder that is missing or superfluous.
    """
    root = Path(path)
    test_folder = root / "test"
    if not os.path.isdir(test_folder):
        if os.path.isdir(root):
            _refuse_set_of_categories(root, "test")
            raise DataError(
                f"{root}: has no folder test; a category holds test/{GOOD} and test/DEFECT "
                "with masks in ground_truth/DEFECT"
            )
        list_images(root)  # raises: says what is wrong with the path itself
    folders = subfolders(test_folder)
    if not folders:
        raise DataError(f"{test_folder}: has no sub-folders; put good images into test/{GOOD}, others into test/DEFECT")
    folders.sort(key=lambda p: (p.name != GOOD, natural_key(p)))
    test: list[TestImage] = []
    for folder in folders:
        if folder.name == GOOD:
            test += [TestImage(p, None, GOOD) for p in list_images(folder)]
        else:
            paired, problems = pair_masks(folder, root / "ground_truth" / folder.name)
            if problems:
                raise DataError(problems[0])
            test += paired
    for problem in masks_without_images(root / "ground_truth", {f.name for f in folders}):
        raise DataError(problem)
    train = training_images(root) if os.path.isdir(root / "train") else []
    return Category(root, train, test)


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
    if mask.shape != tuple(shape_hw):
        raise DataError(
            f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its image {image_path} is "
            f"{shape_hw[1]}x{shape_hw[0]}; give both the same size"
        )
    if not mask.any():
        raise DataError(
            f"{path}: the mask marks no pixel of {image_path}; mark the defect with non-zero pixels, "
            f"or move the image to test/{GOOD} and delete the mask"
        )
    return mask


def pair_masks(folder: Path, mask_folder: Path) -> tuple[list[TestImage], list[str]]:
    """The images of test/DEFECT, each with its mask from ground_truth/DEFECT, and what is wrong with the others.

    Raises `DataError` if a folder cannot be listed or `folder` holds no image.
    """
    masks = {p.stem: p for p in _mask_files(mask_folder)}
    unused = set(masks)
    found: list[TestImage] = []
    problems: list[str] = []
    for image in list_images(folder):
        stem = next((s for s in (f"{image.stem}_mask", image.stem) if s in masks), None)
        if stem is None:
            problems.append(
                f"{image}: has no mask; expected {mask_folder / f'{image.stem}_mask.png'} "
                f"(a good image belongs in test/{GOOD})"
            )
        elif stem not in unused:
            problems.append(f"{image}: shares the mask {masks[stem]} with another image; rename one of them")
        else:
            unused.discard(stem)
            found.append(TestImage(image, masks[stem], folder.name))
    if unused:
        names = ", ".join(str(masks[s]) for s in sorted(unused))
        problems.append(f"{names}: no image in {folder} has this name; rename the mask, or remove it")
    return found, problems


def _mask_files(folder: Path) -> list[Path]:
    if not os.path.isdir(folder):
        return []
    return sorted((p for p in visible(folder) if p.suffix.lower() in _MASK_SUFFIXES), key=natural_key)


def masks_without_images(folder: Path, defects: set[str]) -> list[str]:
    """What is wrong with the sub-folders of ground_truth that belong to none of the folders of test."""
    problems = []
    for masks in subfolders(folder) if os.path.isdir(folder) else []:
        # Some converted sets keep all-black masks of good images: they say nothing new.
        if masks.name not in defects | {GOOD} and _mask_files(masks):
            problems.append(
                f"{masks}: masks without images, there is no folder test/{masks.name}; "
                "add the images, or remove the masks"
            )
    return problems


def _refuse_set_of_categories(root: Path, sign: str) -> None:
    """Raise if sub-folders of `root` are categories: those that hold a folder `sign`."""
    inside = [p for p in subfolders(root) if os.path.isdir(p / sign)] if os.path.isdir(root) else []
    if inside:
        names = ", ".join(p.name for p in inside)
        raise DataError(f"{root}: is not a category but holds some ({names}); name one, such as {inside[0]}")
