"""Sets whose masks lie beside the images: KolektorSDD, KolektorSDD2 and DAGM 2007."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stadx.core.errors import DataError

from ..images import IMAGE_SUFFIXES, list_images, subfolders, visible
from ..masks import mask_pixels
from .category import GOOD, MASK_SUFFIXES, Category, Layout, Listing, TestImage

DEFECT = "defect"
_KOS = re.compile(r"kos\d+", re.IGNORECASE)
_TESTED = 5  # of KolektorSDD, which has no split: the good images of every so many-th part are for testing
Parts = tuple[list[TestImage], list[TestImage]]
"""Images to train on, those with defects among them, and images to test."""


def kolektor_images(root: Path, errors: list[str]) -> Parts:
    """Of KolektorSDD: kosNN/PartM.jpg with kosNN/PartM_label.bmp, black where there is no defect.

    The set has no split. Good images of every fifth part (kos05, kos10, …) are tested, and all with a defect; the
    others are trained on.
    """
    train: list[TestImage] = []
    test: list[TestImage] = []
    for number, folder in enumerate((p for p in subfolders(root) if _KOS.fullmatch(p.name)), 1):
        for image in _with_masks(folder, "_label", errors):
            (train if image.is_good and number % _TESTED else test).append(image)
    return train, test


def kolektor2_images(root: Path, errors: list[str]) -> Parts:
    """Of KolektorSDD2: train and test with NAME.png and NAME_GT.png, black where there is no defect."""
    train, test = (_with_masks(root / part, "_GT", errors) for part in ("train", "test"))
    return train, test


def dagm_images(root: Path, errors: list[str]) -> Parts:
    """Of DAGM 2007: Train and Test with NAME.PNG, and Label/NAME_label.PNG where there is a defect."""
    train, test = (_labelled(root / part, errors) for part in ("Train", "Test"))
    return train, test


def _with_masks(folder: Path, ending: str, errors: list[str]) -> list[TestImage]:
    """Images each of which has a mask beside it; those are read, as a black one says that the image is good."""
    files = list_images(folder)
    masks = {p.stem: p for p in files if p.stem.endswith(ending) and p.suffix.lower() in MASK_SUFFIXES}
    found = []
    for image in files:
        if image.stem.endswith(ending):
            continue
        mask = masks.pop(image.stem + ending, None)
        if mask is None:
            errors.append(f"{image}: has no mask {image.stem}{ending} beside it; copy it, a black one if it is good")
            continue
        try:
            found.append(TestImage(image, mask, DEFECT) if mask_pixels(mask).any() else TestImage(image, None, GOOD))
        except DataError as error:
            errors.append(str(error))
    if masks:
        errors.append(f"{', '.join(map(str, masks.values()))}: there is no image of this name; remove the mask")
    return found


def _labelled(folder: Path, errors: list[str]) -> list[TestImage]:
    """Images, and masks in the folder Label of those with a defect."""
    labels = folder / "Label"
    files = visible(labels) if os.path.isdir(labels) else []
    masks = {p.stem.removesuffix("_label"): p for p in files if p.suffix.lower() in MASK_SUFFIXES}
    found = [(image, masks.pop(image.stem, None)) for image in list_images(folder)]
    if masks:
        names = ", ".join(str(masks[name]) for name in sorted(masks))
        errors.append(f"{names}: no image in {folder} has this name; rename the mask, or remove it")
    return [TestImage(image, mask, GOOD if mask is None else DEFECT) for image, mask in found]


def _list(images: Callable[[Path, list[str]], Parts], root: Path) -> Listing:
    train: list[Path] = []
    test: list[TestImage] = []
    found = Listing(Category(root, train, test), fix="copy the set again")
    with found.noting():
        learned, tested = images(root, found.errors)
        train += [image.path for image in learned if image.is_good]  # the set's others are for supervised learning
        test += sorted(tested, key=lambda image: not image.is_good)
    return found


def _training_images(images: Callable[[Path, list[str]], Parts], root: Path) -> list[Path]:
    found = _list(images, root)
    if found.errors:
        raise DataError(found.errors[0])
    if not found.category.train:
        raise DataError(f"{root}: has no good images to train on; copy the set again")
    return list(found.category.train)


def _layout(is_category: Callable[[Path], bool], images: Callable[[Path, list[str]], Parts]) -> Layout:
    return Layout(is_category, partial(_list, images), partial(_training_images, images))


def is_kolektor(root: Path) -> bool:
    """Whether a folder is KolektorSDD: it has folders kos01, kos02, …"""
    return os.path.isdir(root) and any(_KOS.fullmatch(p.name) and os.path.isdir(p) for p in visible(root))


def is_kolektor2(root: Path) -> bool:
    """Whether a folder is KolektorSDD2: train or test has a NAME_GT file."""
    folders = [root / part for part in ("train", "test") if os.path.isdir(root / part)]
    return any(p.stem.endswith("_GT") and p.suffix.lower() in IMAGE_SUFFIXES for f in folders for p in visible(f))


def is_dagm(root: Path) -> bool:
    """Whether a folder is a class of DAGM 2007: Train or Test has a folder Label."""
    return any(os.path.isdir(root / part / "Label") for part in ("Train", "Test"))


KOLEKTOR = _layout(is_kolektor, kolektor_images)
KOLEKTOR2 = _layout(is_kolektor2, kolektor2_images)
DAGM = _layout(is_dagm, dagm_images)
