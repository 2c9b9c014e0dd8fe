"""Categories in the layout of MVTec AD: train/good, test/{good,DEFECT}, ground_truth/DEFECT/NAME_mask.png.

MPDD has the same, and so has VisA once converted. Upper and lower case are the same; good folders may have another of
the usual names, and train may hold the images itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from stadx.core.errors import DataError

from ..folders import child, is_image, list_images, subfolders, visible
from ..pages import file_of, page_of
from .category import BAD_NAMES, GOOD, GOOD_NAMES, Category, Layout, Listing, TestImage, mask_files, paired


def is_category(root: Path) -> bool:
    """Whether a folder has this layout: a folder train or test, or folders of good and of bad images."""
    return os.path.isdir(child(root, "train")) or os.path.isdir(child(root, "test")) or _is_flat(root)


def training_images(root: Path, good: str = GOOD) -> list[Path]:
    """The images of train/good, of train itself, or of a folder that has test alone; `DataError` if there are none."""
    train = root if _is_flat(root) else child(root, "train")
    if not os.path.isdir(train):
        return list_images(root)
    if folders := _good_folders(train, good):
        return [image for folder in folders for image in list_images(folder)]
    if any(is_image(path) for path in visible(train)):
        return list_images(train)
    inside = ", ".join(path.name for path in subfolders(train)[:8])
    raise DataError(
        f"{train}: has no folder {good}{f', only {inside}' if inside else ''}; put the good images into train/{good}"
    )


def _good_folders(folder: Path, good: str = GOOD) -> list[Path]:
    """The sub-folder with good images that is called `good`; without it those called as such folders usually are."""
    if os.path.isdir(own := child(folder, good)):
        return [own]
    return [path for path in subfolders(folder) if path.name.casefold() in GOOD_NAMES]


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
    test_folder, truth = child(root, "test"), child(root, "ground_truth")
    good_folders: list[Path] = []
    if os.path.isdir(test_folder):
        with found.noting():
            good_folders = _good_folders(test_folder, good)
            folders = good_folders + [path for path in subfolders(test_folder) if path not in good_folders]
            if not folders:
                raise DataError(
                    f"{test_folder}: has no sub-folders; put good images into test/{good}, others into test/DEFECT"
                )
        with found.noting():
            _look_for_unused_folders(truth, {folder.name.casefold() for folder in folders}, found.errors)
    else:
        notes = found.errors if os.path.isdir(truth) else found.warnings
        notes.append(
            f"{root}: has no folder test, so nothing can be measured; add test/{good} and test/DEFECT, "
            "with masks in ground_truth/DEFECT"
        )
    if folders and not os.path.isdir(truth) and folders != good_folders:
        found.warnings.append(
            f"{root}: has no folder ground_truth, so image AUROC alone can be measured; put masks into "
            f"ground_truth/DEFECT/NAME{mask_ending}.png"
        )
    for folder in folders:
        with found.noting():
            if folder in good_folders:
                test += [TestImage(path, None, GOOD) for path in list_images(folder)]
            elif not os.path.isdir(truth):
                test += [TestImage(path, None, folder.name) for path in list_images(folder)]
            else:
                test += pair_masks(folder, child(truth, folder.name), good, mask_ending, found.errors)
    test.sort(key=lambda image: not image.is_good)  # pages of a file with defects may be good
    if os.path.isdir(child(root, "train")) or _is_flat(root):
        with found.noting():
            train += training_images(root, good)
        _look_for_bad_training(root, found.warnings)
    else:
        found.warnings.append(f"{root}: has no folder train; put good images to train on into train/{good}")
    return found


def _is_flat(root: Path) -> bool:
    """Whether good and bad images lie in folders beside each other, such as OK and NG."""
    if os.path.isdir(child(root, "train")) or os.path.isdir(child(root, "test")) or not os.path.isdir(root):
        return False
    return bool(_good_folders(root) and _bad_folders(root))


def _bad_folders(folder: Path) -> list[Path]:
    return [path for path in subfolders(folder) if path.name.casefold() in BAD_NAMES]


def _look_for_bad_training(root: Path, warnings: list[str]) -> None:
    """Tell of images that are not trained on, as their folder says that they have defects."""
    train = root if _is_flat(root) else child(root, "train")
    warnings += [
        f"{folder}: is not trained on, its name says that the images have defects; put it into test to measure with it"
        for folder in _bad_folders(train)
    ]


def pair_masks(folder: Path, mask_folder: Path, good: str, mask_ending: str, errors: list[str]) -> list[TestImage]:
    """The images of test/DEFECT, each with its mask from ground_truth/DEFECT; `errors` gets the others."""
    masks = {_key(mask): mask for mask in mask_files(mask_folder)}
    unused = set(masks)
    found: list[TestImage] = []
    for image in list_images(folder):
        key = next((key for key in _keys_of_masks(image) if key in masks), None)
        if key is None:
            expected = mask_folder / f"{image.stem}{mask_ending}.png"
            errors.append(f"{image}: has no mask; expected {expected} (a good image belongs in test/{good})")
        elif key not in unused:
            errors.append(f"{image}: shares the mask {masks[key]} with another image; rename one of them")
        else:
            unused.discard(key)
            found.append(paired(image, masks[key], folder.name))
    if unused:
        names = ", ".join(sorted(str(masks[key]) for key in unused))
        errors.append(f"{names}: no image in {folder} has this name; rename the mask, or remove it")
    return found


def _key(path: Path, ending: str = "") -> tuple[str, int]:
    """Name of the file without its own ending, in small letters, and page."""
    return (file_of(path).stem + ending).casefold(), page_of(path) or 0


def _keys_of_masks(image: Path) -> list[tuple[str, int]]:
    """What the mask of an image may be called: NAME_mask or NAME; of a page also NAME_p3_mask or NAME_p3."""
    own = [_key(image, ending) for ending in ("_mask", "")]
    return own if page_of(image) is None else [*own, *(((image.stem + e).casefold(), 0) for e in ("_mask", ""))]


def _look_for_unused_folders(folder: Path, defects: set[str], errors: list[str]) -> None:
    """Tell `errors` of the sub-folders of ground_truth that belong to none of the folders of test."""
    for masks in subfolders(folder) if os.path.isdir(folder) else []:
        # Some converted sets keep all-black masks of good images: they say nothing new.
        if masks.name.casefold() not in {*defects, *GOOD_NAMES} and mask_files(masks):
            errors.append(
                f"{masks}: masks without images, there is no folder test/{masks.name}; "
                "add the images, or remove the masks"
            )


LAYOUT = Layout(is_category, list_category, training_images)
