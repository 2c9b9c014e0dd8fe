"""Images in any folders, named by patterns such as photos/*_ok.png."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stadx.core.errors import DataError

from ..folders import is_image, list_images, pages_of, warn_left_out, with_pages
from ..globbing import is_pattern as is_pattern
from ..globbing import literal, matches
from ..pages import Page, file_of, page_of
from .category import GOOD, MASK_SUFFIXES, Category, Listing, TestImage, paired

_NAME, _FOLDER = "{name}", "{folder}"  # of a defect image, in the pattern of masks


def matching_images(pattern: str) -> list[Path]:
    """The images that `pattern` matches, in natural order; of a folder, those in it.

    Args:
        pattern: * stands for any part of a name, ? for one character, {a,b} for one of several, ** for any folders;
            what exists is meant literally. One that matches folders alone, or ends in /, stands for the images in
            these.

    Raises:
        DataError: if there are none.
    """
    if os.path.isdir(folder := literal(pattern)):
        return list_images(folder)
    found = matches(pattern)
    files = [path for path in found if os.path.isfile(path)] if pattern[-1:] not in ("/", os.sep) else []
    folders = [path for path in found if os.path.isdir(path)]
    if folders and not files:
        return _images_in(folders)
    warn_left_out(pattern, files)
    if not (images := [path for path in files if is_image(path)]):
        raise DataError(
            f"{pattern}: no images have such a name; * stands for any part of a name, ** for any folders, as in "
            "'photos/**/ok_*.png'"
        )
    return with_pages(images)


def _images_in(folders: Sequence[Path]) -> list[Path]:
    """The images directly in several folders, of which some may have none; `DataError` if all have none."""
    found: list[Path] = []
    for folder in folders:
        try:
            found += list_images(folder)
        except DataError:
            if folder == folders[-1] and not found:
                raise
    return found


def named_images(names: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The images that `names` say, in their order: files, those directly in folders, those that patterns match.

    Raises:
        DataError: for a folder without images or a pattern that matches none.
    """
    found: list[Path] = []
    for name in names:
        path, text = literal(name), os.fspath(name)
        found += matching_images(text) if os.path.isdir(path) or is_pattern(text) else pages_of(path)
    return found


def list_patterns(
    good: str | None = None, defects: str | None = None, masks: str | None = None, *, train: Sequence[Path] = ()
) -> Listing:
    """A category whose test images are named by patterns.

    Args:
        good, defects: patterns of the test images without and with defects, as in `matching_images`. A defect's type
            is the name of the folder that its image is in.
        masks: the mask of a defect image, where {name} stands for its name without suffix and {folder} for the name
            of its folder, such as masks/{name}_mask.png; None: nobody marked the defects.
        train: the images that are trained on, if there are any.

    Returns:
        Defect images without a mask are errors, masks without an image a warning: not all defects have to be meant.

    Raises:
        DataError: if a pattern matches no image, or `masks` is no such pattern.
    """
    _check(good, defects, masks)
    good_images = [] if good is None else matching_images(good)
    known_good = set(good_images)
    test = [TestImage(path, None, GOOD) for path in good_images]
    defect_images = [] if defects is None else matching_images(defects)
    root = os.path.commonpath([os.path.abspath(path.parent) for path in [*good_images, *defect_images]])
    found = Listing(Category(Path(root), train, test))
    image_of: dict[Path, Path] = {}
    for image in defect_images:
        mask = None if masks is None else _filled(masks, image)
        folder = image.parent.name
        defect = folder if folder not in ("", GOOD) else "defect"
        if image in known_good:
            found.errors.append(f"{image}: matches both {good} and {defects}; make one of the patterns narrower")
        elif mask is None:
            test.append(TestImage(image, mask, defect))
        elif not os.path.isfile(mask):
            found.errors.append(f"{image}: has no mask; expected {mask}")
        elif mask == image:
            found.errors.append(f"{image}: would be its own mask; {masks} must name other files")
        elif mask in image_of:
            found.errors.append(
                f"{image}: shares the mask {mask} with {image_of[mask]}; tell them apart by {_FOLDER}, or rename one"
            )
        else:
            image_of[mask] = image
            test.append(paired(image, mask, defect))
    if masks is None:
        return found
    # Images lie beside masks in some sets, and some have all-black masks of good images.
    known = {*image_of, *known_good, *defect_images, *(_filled(masks, image) for image in good_images)}
    known |= {file_of(path) for path in known}
    any_mask = masks.replace(_NAME, "*").replace(_FOLDER, "*")
    if unused := [str(path) for path in matches(any_mask) if os.path.isfile(path) and path not in known]:
        listed = ", ".join(unused[:3]) + (", …" if len(unused) > 3 else "")
        found.warnings.append(f"{listed}: {len(unused)} masks belong to no image that {defects} matches")
    return found


def _check(good: str | None, defects: str | None, masks: str | None) -> None:
    if good is None and defects is None:
        raise DataError("no test images; give a pattern of good images, one of defects, or both")
    if defects is None and masks is not None:
        raise DataError(f"{masks}: masks belong to images with defects; give a pattern of these, or no masks")
    if masks is not None and (_NAME not in masks or Path(masks).suffix.lower() not in MASK_SUFFIXES):
        raise DataError(
            f"{masks}: does not say which mask an image has; name image files (PNG, BMP, TIFF) and put {_NAME} "
            "where they have the image's name, such as masks/{name}.png"
        )
    if masks is not None and ("*" in masks or "?" in masks):  # brackets are in names of folders
        raise DataError(
            f"{masks}: * and ? stand for nothing here, an image has one mask; put {_NAME} where masks have the image's "
            f"name, and {_FOLDER} where they have its folder's"
        )


def _filled(masks: str, image: Path) -> Path:
    """The mask of an image; that of a page has its own name, or is the same page of the mask of its file."""
    file, page = file_of(image), page_of(image)
    folder = masks.replace(_FOLDER, image.parent.name)
    mask = literal(folder.replace(_NAME, image.stem))
    if page is None or os.path.isfile(mask):
        return mask
    whole = literal(folder.replace(_NAME, file.stem))
    return Page(whole, page) if len(pages_of(whole)) > 1 else mask
