"""Open a category, or a set of them, in whichever layout it is: MVTec AD, MPDD, BTAD or VisA."""

from __future__ import annotations

import os
from pathlib import Path

from stadx.core.errors import DataError

from ..images import list_images, subfolders
from . import mvtec, visa
from .category import GOOD, Category, Listing
from .patterns import is_pattern, matching_images

GOOD_FOLDERS = frozenset({GOOD, mvtec.OK, visa.NORMAL})
"""What folders of good images are called in these layouts."""


def categories(path: str | os.PathLike[str]) -> list[Path]:
    """The folders of the categories in `path`, in natural order; `path` itself if it is one; empty if there are none.

    Raises `DataError` if there is no such folder.
    """
    root = Path(path)
    if _is_category(root):
        return [root]
    if not os.path.isdir(root):
        list_images(root)  # raises: says what is wrong with the path itself
    return [folder for folder in subfolders(root) if _is_category(folder)]


def list_category(path: str | os.PathLike[str]) -> Listing:
    """List a category and all that is wrong with it. Raises `DataError` for a folder that is none."""
    root = Path(path)
    if visa.is_category(root):
        return visa.list_category(root)
    if mvtec.is_category(root):
        return mvtec.list_category(root)
    _refuse_set(root)
    raise DataError(
        f"{root}: is no category, it has no folder test; a category holds test/{GOOD} and test/DEFECT with masks in "
        "ground_truth/DEFECT, or is one of BTAD or VisA"
    )


def open_category(path: str | os.PathLike[str]) -> Category:
    """List a category, checking that masks and defect images belong together one to one.

    A category without defects opens (`has_defects` is False), and so does one without training images
    (`train` is empty). Raises `DataError` naming the file or folder that is missing or superfluous.
    """
    return list_category(path).for_testing()


def training_images(path: str | os.PathLike[str]) -> list[Path]:
    """The good images to train on: those of a category, those directly in a folder, or those that a pattern matches.

    Raises `DataError` for a folder that is missing, empty, or holds categories and no images of its own, and
    for a pattern that matches nothing.
    """
    if is_pattern(os.fspath(path)):
        return matching_images(os.fspath(path))
    root = Path(path)
    if visa.is_category(root):
        return visa.training_images(root)
    if os.path.isdir(root / "train"):
        return mvtec.training_images(root)
    try:
        return list_images(root)
    except DataError:
        _refuse_set(root)
        raise


def mask_folder(path: Path) -> Path:
    """Where a category keeps its masks; a folder that is no category is taken for that of the masks itself."""
    return next((path / f for f in ("ground_truth", visa.MASKS) if os.path.isdir(path / f)), path)


def _is_category(root: Path) -> bool:
    return visa.is_category(root) or mvtec.is_category(root)


def _refuse_set(root: Path) -> None:
    """Raise if `root` is no folder, or holds categories."""
    if inside := [] if _is_category(root) else categories(root):
        names = ", ".join(p.name for p in inside)
        raise DataError(f"{root}: is not a category but holds some ({names}); name one, such as {inside[0]}")
