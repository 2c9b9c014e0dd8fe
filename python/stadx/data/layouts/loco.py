"""Categories of MVTec LOCO AD: as MVTec AD's, but each image's mask is a folder ground_truth/TYPE/NAME of regions."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from stadx.core.errors import DataError

from ..images import list_images, natural_key, subfolders
from ..masks import region_files
from ..region_files import CONFIG
from . import mvtec
from .category import GOOD, Category, Layout, Listing, TestImage

_VALIDATION = Path("validation", GOOD)


def is_category(root: Path) -> bool:
    """Whether a folder has this layout: its defects_config.json."""
    return os.path.isfile(root / CONFIG) and mvtec.is_category(root)


def list_category(root: Path) -> Listing:
    """List a category, pairing folders of regions and images with anomalies one to one."""
    train: list[Path] = []
    test: list[TestImage] = []
    validation: list[Path] = []
    found = Listing(Category(root, train, test, validation, root / CONFIG))
    folders: list[Path] = []
    with found.noting():
        folders = sorted(subfolders(root / "test"), key=lambda p: (p.name != GOOD, natural_key(p)))
    for folder in folders:
        with found.noting():
            if folder.name == GOOD:
                test += [TestImage(path, None, GOOD) for path in list_images(folder)]
            else:
                test += _pair_regions(folder, root / "ground_truth" / folder.name, found.errors)
    with found.noting():
        train += mvtec.training_images(root)
    if os.path.isdir(root / _VALIDATION):
        with found.noting():
            validation += list_images(root / _VALIDATION)
    return replace(found, fix=f"put them into test/{GOOD} and test/TYPE and their regions into ground_truth/TYPE/NAME")


def _pair_regions(folder: Path, truth: Path, errors: list[str]) -> list[TestImage]:
    regions = {p.name: p for p in subfolders(truth)} if os.path.isdir(truth) else {}
    images = list_images(folder)
    found: list[TestImage] = []
    for image in images:
        if image.stem not in regions:
            errors.append(f"{image}: has no regions; expected {truth / image.stem} with a PNG file for each")
            continue
        try:
            region_files(regions[image.stem])
        except DataError as error:
            errors.append(str(error))
            continue
        found.append(TestImage(image, regions[image.stem], folder.name))
    known = {image.stem for image in images}
    if unused := [str(path) for name, path in regions.items() if name not in known]:
        errors.append(f"{', '.join(unused)}: no image in {folder} has this name; rename the folder, or remove it")
    return found


LAYOUT = Layout(is_category, list_category, mvtec.training_images)
