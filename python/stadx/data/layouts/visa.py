"""Categories of VisA as it is published: CATEGORY/Data/Images, CATEGORY/Data/Masks, and one split file for all."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import NamedTuple

from stadx.core.errors import DataError

from ..decode import open_file
from ..images import natural_key
from .category import GOOD, Category, Layout, Listing, TestImage, mask_files

IMAGES = Path("Data", "Images")
MASKS = Path("Data", "Masks")
NORMAL, ANOMALY = "Normal", "Anomaly"  # folders in them
SPLIT = Path("split_csv", "1cls.csv")  # of good images alone to train on
_COLUMNS = ("object", "split", "label", "image", "mask")


class _Row(NamedTuple):
    """A line of the split file; `where` names it."""

    where: str
    split: str
    label: str
    image: Path
    mask: Path | None


def is_category(root: Path) -> bool:
    """Whether a folder has this layout: a folder Data/Images."""
    return os.path.isdir(root / IMAGES)


def training_images(root: Path) -> list[Path]:
    """The images that the split trains on, in natural order; `DataError` if there are none or one is missing."""
    file, rows = _read_split(root)
    images = [row.image for row in rows if row.split == "train"]
    if not images:
        raise DataError(f"{file}: has no line of {root} with split train; add some, or copy the file again")
    for row in rows:
        if row.split == "train" and (problem := _missing(row)):
            raise DataError(problem)
    return sorted(images, key=natural_key)


def list_category(root: Path) -> Listing:
    """List a category as the split file has it: its files must be there, and every mask must be used."""
    train: list[Path] = []
    test: list[TestImage] = []
    found = Listing(Category(root, train, test), fix=f"add lines with split test to {SPLIT}")
    try:
        file, rows = _read_split(root)
    except DataError as error:
        found.errors.append(str(error))
        return found
    for row in rows:
        if problem := _missing(row):
            found.errors.append(problem)
        elif row.split == "train":
            train.append(row.image)
        else:
            test.append(TestImage(row.image, row.mask, GOOD if row.mask is None else row.label))
    train.sort(key=natural_key)
    test.sort(key=lambda image: (not image.is_good, natural_key(image.path)))
    named = {os.path.abspath(row.mask) for row in rows if row.mask is not None}
    unused = [str(p) for p in mask_files(root / MASKS / ANOMALY) if os.path.abspath(p) not in named]
    if unused:
        found.errors.append(f"{', '.join(unused)}: of no image that {file} has; add a line for it, or remove the mask")
    if not test:
        found.warnings.append(f"{file}: has no images of {root} to test, so nothing can be measured; {found.fix}")
    if not train:
        found.warnings.append(f"{file}: has no images of {root} to train on; add lines with split train")
    return found


def _missing(row: _Row) -> str | None:
    """What is wrong with the files of a row."""
    if not os.path.isfile(row.image):
        return f"{row.image}: no such image, but {row.where} names it; copy it, or remove the line"
    if row.label == "normal":
        return None
    if row.split == "train":
        return f"{row.image}: has a defect, but {row.where} trains on it; give it split test"
    if row.mask is None:
        return f"{row.image}: has no mask in {row.where}; name one in its last column"
    return None if os.path.isfile(row.mask) else f"{row.image}: has no mask; {row.where} says it is {row.mask}"


def _read_split(root: Path) -> tuple[Path, list[_Row]]:
    """The split file, and its rows of this category."""
    # "." and ".." have no name, and the file is beside the folder.
    named = root if root.name not in ("", "..") else Path(os.path.abspath(root))
    top = named.parent
    file = top / SPLIT
    if not os.path.isfile(file):
        raise DataError(
            f"{file}: no such file; VisA says there which images of {root} are for training and which for testing: "
            "copy it beside the categories"
        )
    rows: list[_Row] = []
    with open_file(file) as stream:
        try:
            reader = csv.DictReader(stream.read().decode("utf-8-sig").splitlines())
            if missing := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
                raise DataError(f"{file}: has no column {', '.join(missing)}; expected {','.join(_COLUMNS)}")
            for line in reader:
                if line["object"] == named.name:
                    rows.append(_row(top, f"line {reader.line_num} of {file}", line))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{file}: cannot be read as CSV ({error}); copy it again") from error
    if not rows:
        raise DataError(f"{file}: has no line whose object is {named.name}; rename {root} to what it is called there")
    return file, rows


def _row(top: Path, where: str, line: dict[str, str | None]) -> _Row:
    split, label, image, mask = (line[column] or "" for column in _COLUMNS[1:])
    if split not in ("train", "test") or label not in ("normal", "anomaly") or not image:
        raise DataError(
            f"{where}: has split {split!r}, label {label!r} and image {image!r}; expected train or test, "
            "normal or anomaly, and a file"
        )
    return _Row(where, split, label, top / image, top / mask if mask and label == "anomaly" else None)


LAYOUT = Layout(is_category, list_category, training_images, good_folder=NORMAL, mask_folder=MASKS)
