"""Categories of MVTec AD 2: train/good, validation/good, test_public/{good,bad,ground_truth/bad}, and private tests."""

from __future__ import annotations

import os
from pathlib import Path

from ..images import list_images
from . import mvtec
from .category import GOOD, Category, Layout, Listing, TestImage

BAD = "bad"
FPR_LIMIT = 0.05
VALIDATION = Path("validation", GOOD)
PRIVATE = {"test_private": "regular", "test_private_mixed": "mixed"}
"""Folders without ground truth, and how their images' names end."""
_PUBLIC = Path("test_public")
_MASKS = _PUBLIC / "ground_truth"


def is_category(root: Path) -> bool:
    """Whether a folder has this layout: a folder test_public."""
    return os.path.isdir(root / _PUBLIC)


def list_category(root: Path) -> Listing:
    """List a category: its public test images, and those of train and validation."""
    train: list[Path] = []
    test: list[TestImage] = []
    validation: list[Path] = []
    fix = f"put them into {_PUBLIC}/{GOOD} and {_PUBLIC}/{BAD} and masks into {_MASKS}/{BAD}"
    found = Listing(Category(root, train, test, validation, fpr_limit=FPR_LIMIT), fix=fix)
    with found.noting():
        test += [TestImage(path, None, GOOD) for path in list_images(root / _PUBLIC / GOOD)]
    with found.noting():
        test += mvtec.pair_masks(root / _PUBLIC / BAD, root / _MASKS / BAD, GOOD, "_mask", found.errors)
    with found.noting():
        train += mvtec.training_images(root)
    if os.path.isdir(root / VALIDATION):
        with found.noting():
            validation += list_images(root / VALIDATION)
    else:
        found.warnings.append(f"{root}: has no folder {VALIDATION}, so no threshold of it; copy the set's")
    return found


LAYOUT = Layout(is_category, list_category, mvtec.training_images, mask_folder=_MASKS)
