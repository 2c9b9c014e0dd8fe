"""Categories in the layout of MVTec AD: train/good, test/{good,DEFECT}, ground_truth/DEFECT/NAME_mask.png.

MPDD has the same, and so has VisA once converted. BTAD calls its good folders "ok", has one kind of defect, "ko", and
masks with the names of their images.
"""

from __future__ import annotations

import os
from pathlib import Path

from stadx.core.errors import DataError

from ..images import list_images, natural_key, subfolders
from .category import GOOD, Category, Listing, TestImage, mask_files

OK = "ok"  # BTAD's word


def is_category(root: Path) -> bool:
    """Whether a folder has this layout: a folder train or test."""
    return os.path.isdir(root / "train") or os.path.isdir(root / "test")


def training_images(root: Path) -> list[Path]:
    """The images of train/good; `DataError` if there are none."""
    good = _good_folder(root)
    if not os.path.isdir(root / "train" / good):
        raise DataError(f"{root / 'train'}: has no folder {good}; put the good images into train/{good}")
    return list_images(root / "train" / good)


def list_category(root: Path) -> Listing:
    """List a category, pairing masks and defect images one to one."""
    good = _good_folder(root)
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
                test += _pair_masks(folder, root / "ground_truth" / folder.name, good, found.errors)
    if os.path.isdir(root / "train"):
        with found.noting():
            train += training_images(root)
    else:
        found.warnings.append(f"{root}: has no folder train; put good images to train on into train/{good}")
    return found


def _good_folder(root: Path) -> str:
    """What the folders of good images are called."""

    def has(name: str) -> bool:
        return any(os.path.isdir(root / part / name) for part in ("train", "test"))

    return OK if has(OK) and not has(GOOD) else GOOD


def _pair_masks(folder: Path, mask_folder: Path, good: str, errors: list[str]) -> list[TestImage]:
    """The images of test/DEFECT, each with its mask from ground_truth/DEFECT; `errors` gets the others."""
    masks = {p.stem: p for p in mask_files(mask_folder)}
    unused = set(masks)
    found: list[TestImage] = []
    for image in list_images(folder):
        stem = next((s for s in (f"{image.stem}_mask", image.stem) if s in masks), None)
        if stem is None:
            expected = mask_folder / (f"{image.stem}.png" if good == OK else f"{image.stem}_mask.png")
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
        if masks.name not in defects | {GOOD, OK} and mask_files(masks):
            errors.append(
                f"{masks}: masks without images, there is no folder test/{masks.name}; "
                "add the images, or remove the masks"
            )
