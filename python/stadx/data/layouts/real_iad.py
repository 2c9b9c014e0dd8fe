"""Categories of Real-IAD: realiad_1024/CATEGORY/{OK,NG}/…, and a split file realiad_jsons/CATEGORY.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from stadx.core.errors import DataError

from ..decode import open_file
from ..images import natural_key
from .category import GOOD, Category, Layout, Listing, TestImage

_SPLITS = "realiad_jsons"
_OK, _NG = "OK", "NG"


def is_category(root: Path) -> bool:
    """Whether a folder has this layout: a split file of its name, or folders OK and NG in one called realiad_…"""
    if not os.path.isdir(root):
        return False
    both = os.path.isdir(root / _OK) and os.path.isdir(root / _NG)  # many other sets have these
    named = os.path.basename(os.path.dirname(os.path.abspath(root))).startswith("realiad_")
    return (both and named) or any(os.path.isfile(file) for file in _split_files(root))


def _split_files(root: Path) -> list[Path]:
    """Where the split file may be: beside the folder of the images, as it is or as the archive unpacks."""
    named = root if root.name not in ("", "..") else Path(os.path.abspath(root))
    splits = named.parent.parent / _SPLITS
    return [splits / f"{named.name}.json", splits / _SPLITS / f"{named.name}.json"]


def list_category(root: Path) -> Listing:
    """List a category as the split file has it; its files must be there."""
    train: list[Path] = []
    test: list[TestImage] = []
    found = Listing(Category(root, train, test), fix="copy the split file again")
    with found.noting():
        file, split = _read_split(root)
        normal = split["meta"]["normal_class"]
        for part in ("train", "test"):
            for number, entry in enumerate(split[part]):
                where = f"entry {number} of {part} in {file}"
                with found.noting():
                    image = _image(root, entry, normal, where)
                    if part == "test":
                        test.append(image)
                    elif image.is_good:
                        train.append(image.path)
                    else:  # of the noisy splits
                        found.errors.append(f"{image.path}: has a defect, but {where} trains on it; remove the entry")
    train.sort(key=natural_key)
    test.sort(key=lambda image: (not image.is_good, natural_key(image.path)))
    return found


def training_images(root: Path) -> list[Path]:
    """The images that the split trains on, in natural order; `DataError` if there are none or one is missing."""
    found = list_category(root)
    if found.errors:
        raise DataError(found.errors[0])
    if not found.category.train:
        raise DataError(f"{root}: its split file trains on no image; copy it again")
    return list(found.category.train)


def _image(root: Path, entry: Any, normal: str, where: str) -> TestImage:
    try:
        kind, name, mask = entry["anomaly_class"], entry["image_path"], entry.get("mask_path")
        path, truth = root / name, root / mask if mask else None
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: has no anomaly_class and image_path ({error!r}); copy the file again") from error
    if not os.path.isfile(path):
        raise DataError(f"{path}: no such image, but {where} names it; copy it, or remove the entry")
    if kind == normal:
        return TestImage(path, None, GOOD)
    if truth is None:
        raise DataError(f"{path}: has no mask in {where}; name one as its mask_path")
    if not os.path.isfile(truth):
        raise DataError(f"{path}: has no mask; {where} says it is {truth}")
    return TestImage(path, truth, str(kind))


def _read_split(root: Path) -> tuple[Path, dict[str, Any]]:
    files = _split_files(root)
    file = next((f for f in files if os.path.isfile(f)), None)
    if file is None:
        raise DataError(
            f"{files[0]}: no such file; Real-IAD says there which images of {root} are for training and which for "
            f"testing: copy the folder {_SPLITS} beside {root.parent}"
        )
    with open_file(file) as stream:
        try:
            split = json.loads(stream.read())
            if not all(isinstance(split[part], list) for part in ("train", "test")):
                raise TypeError("train and test are no lists")
            if not isinstance(split["meta"]["normal_class"], str):
                raise TypeError("normal_class is no text")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file}: is no split file of Real-IAD ({error!r}); copy it again") from error
    return file, split


LAYOUT = Layout(is_category, list_category, training_images)
