"""Categories in the layout of MVTec AD: train/good, test/{good,DEFECT}, ground_truth/DEFECT/NAME_mask.png.

MPDD has the same, and so has VisA once converted.
"""

from __future__ import annotations

import os
from pathlib import Path

from stadx.core.errors import DataError

from ..images import list_images, natural_key, subfolders
from .category import GOOD, Category, Layout, Listing, TestImage, mask_files

_GOOD_FOLDERS = {GOOD, "ok"}  # of converted sets


def is_category(root: Path) -> bool:
    """Whether a folder has this layout: a folder train or test."""
    return os.path.isdir(root / "train") or os.path.isdir(root / "test")


def training_images(root: Path, good: str = GOOD) -> list[Path]:
    """The images of train/good, or of a folder that has test alone; `DataError` if there are none."""
    if not os.path.isdir(root / "train"):
        return list_images(root)
    if not os.path.isdir(root / "train" / good):
        raise DataError(f"{root / 'train'}: has no folder {good}; put the good images into train/{good}")
    return list_images(root / "train" / good)


def list_category(root: Path, good: str = GOOD, mask_ending: str = "_mask") -> Listing:
    """List a category, pairing masks and defect images one to one.

    Args:
        root: its folder.
        good: what the folders of good images are called.
        mask_ending: what a message adds to the name of an image to name the mask that is missing.
    """
    train: list[Path] = []
    test: list[TestImage] = []
    found = Listing(Category(root, train, test))
    folders: list[Path] = []
    if os.path.isdir(root / "test"):
        with found.noting():
            folders = sorted(subfolders(root / "test"), key=lambda p: (p.name != good, natural_key(p)))
            if not folders:
                raise DataError(
                    f"{root / 'test'}: has no sub-folders; put good images into test/{good}, others into test/DEFECT"
                )
        with found.noting():
            _look_for_unused_folders(root / "ground_truth", {folder.name for folder in folders}, found.errors)
    else:
        notes = found.errors if os.path.isdir(root / "ground_truth") else found.warnings
        notes.append(
            f"{root}: has no folder test, so nothing can be measured; add test/{good} and test/DEFECT, "
            "with masks in ground_truth/DEFECT"
        )
    for folder in folders:
        with found.noting():
            if folder.name == good:
                test += [TestImage(path, None, GOOD) for path in list_images(folder)]
            else:
                test += pair_masks(folder, root / "ground_truth" / folder.name, good, mask_ending, found.errors)
    if os.path.isdir(root / "train"):
        with found.noting():
            train += training_images(root, good)
    else:
        found.warnings.append(f"{root}: has no folder train; put good images to train on into train/{good}")
    return found


def pair_masks(folder: Path, mask_folder: Path, good: str, mask_ending: str, errors: list[str]) -> list[TestImage]:
    """The images of test/DEFECT, each with its mask from ground_truth/DEFECT; `errors` gets the others."""
    masks = {p.stem: p for p in mask_files(mask_folder)}
    unused = set(masks)
    found: list[TestImage] = []
    for image in list_images(folder):
        stem = next((s for s in (f"{image.stem}_mask", image.stem) if s in masks), None)
        if stem is None:
            expected = mask_folder / f"{image.stem}{mask_ending}.png"
            errors.append(f"{image}: has no mask; expected {expected} (a good image belongs in test/{good})")
        elif stem not in unused:
            errors.append(f"{image}: shares the mask {masks[stem]} with another image; rename one of them")
        else:
            unused.discard(stem)
            found.append(TestImage(image, masks[stem], folder.name))
    if unused:
        names = ", ".join(str(masks[s]) for s in sorted(unused))
        errors.append(f"{names}: no image in {folder} has this name; rename the mask, or remove it")
    return found


def _look_for_unused_folders(folder: Path, defects: set[str], errors: list[str]) -> None:
    """Tell `errors` of the sub-folders of ground_truth that belong to none of the folders of test."""
    for masks in subfolders(folder) if os.path.isdir(folder) else []:
        # Some converted sets keep all-black masks of good images: they say nothing new.
        if masks.name not in defects | _GOOD_FOLDERS and mask_files(masks):
            errors.append(
                f"{masks}: masks without images, there is no folder test/{masks.name}; "
                "add the images, or remove the masks"
            )


LAYOUT = Layout(is_category, list_category, training_images)
