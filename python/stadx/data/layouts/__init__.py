"""Open a category, or a set of them, in whichever layout it is, stadx's own or another package's."""

from __future__ import annotations

import os
from pathlib import Path

from stadx.core.errors import DataError

from ..folders import list_images, subfolders
from ..globbing import literal
from ..layout_registry import in_words, layout_names, layout_of, layouts
from .category import GOOD, GOOD_NAMES, Category, Listing
from .patterns import is_pattern, matching_images


def __getattr__(name: str) -> frozenset[str]:
    if name == "GOOD_FOLDERS":  # of 0.1.0
        return good_folders()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def good_folders() -> frozenset[str]:
    """What folders of good images are called in all layouts."""
    return frozenset(layout.good_folder for layout in layouts())


def is_good_folder(name: str) -> bool:
    """Whether a folder of that name has good images, in some layout or by what such folders usually are called."""
    return name.casefold() in {*GOOD_NAMES, *(folder.casefold() for folder in good_folders())}


def categories(path: str | os.PathLike[str]) -> list[Path]:
    """The folders of the categories in `path`, in natural order; `path` itself if it is one; empty if there are none.

    Raises `DataError` if there is no such folder.
    """
    root = Path(path)
    if layout_of(root) is not None:
        return [root]
    if not os.path.isdir(root):
        list_images(root)  # raises: says what is wrong with the path itself
    return [folder for folder in subfolders(root) if layout_of(folder) is not None]


def list_category(path: str | os.PathLike[str]) -> Listing:
    """List a category and all that is wrong with it. Raises `DataError` for a folder that is none."""
    root = Path(path)
    layout = layout_of(root)
    if layout is not None:
        return layout.list_category(root)
    _refuse_set(root)
    raise DataError(
        f"{root}: is no category, it has no folder test; a category holds test/{GOOD} and test/DEFECT with masks in "
        f"ground_truth/DEFECT, or is one of {in_words(layout_names())}"
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
    root = literal(path)
    layout = layout_of(root)
    try:
        return list_images(root) if layout is None else layout.training_images(root)
    except DataError:
        _refuse_set(root)
        raise


def mask_folder(path: Path) -> Path:
    """Where a category keeps its masks; a folder that is no category is taken for that of the masks itself."""
    return next((path / x.mask_folder for x in layouts() if os.path.isdir(path / x.mask_folder)), path)


def _refuse_set(root: Path) -> None:
    """Raise if `root` is no folder, or holds categories."""
    if inside := [] if layout_of(root) is not None else categories(root):
        names = ", ".join(p.name for p in inside)
        raise DataError(f"{root}: is not a category but holds some ({names}); name one, such as {inside[0]}")
