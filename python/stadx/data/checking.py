"""Everything that is wrong with a data set, all at once, before hours are spent on it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent

from .images import list_images, read_image
from .layouts import categories, list_category
from .layouts.category import GOOD, Category, Listing, TestImage, read_mask
from .region_files import Config, read_config, read_regions

_FEW = 10  # good images with which training is hardly worth it


class Finding(NamedTuple):
    """One thing that is wrong: an "error" makes results wrong or impossible, a "warning" may be meant.

    `message` names the file and the fix.
    """

    severity: Literal["error", "warning"]
    message: str


@dataclass
class CheckedCategory:
    """What was found in one category, or in one folder of good images.

    Attributes:
        name: of the folder.
        train, test_good, test_defect: counts of the images listed.
        findings: errors and warnings, in the order they were met.
    """

    name: str
    train: int = 0
    test_good: int = 0
    test_defect: int = 0
    findings: list[Finding] = field(default_factory=list)

    def error(self, message: str) -> None:
        """Note what makes results wrong or impossible."""
        self.findings.append(Finding("error", message))

    def warning(self, message: str) -> None:
        """Note what may be meant."""
        self.findings.append(Finding("warning", message))

    def count(self, severity: Literal["error", "warning"]) -> int:
        """How many findings are of that kind."""
        return sum(finding.severity == severity for finding in self.findings)


def check_set(path: str | os.PathLike[str], *, progress: Progress = silent) -> list[CheckedCategory]:
    """Read every image and mask of a category, of a folder of such, or of a folder of good images.

    Errors: files that cannot be read, defect images without a mask and masks without an image, masks of another size
    or without a defect, the same picture in train and test or as good and as defect, files that a list of the set
    names and that are not there, regions that a set's config does not have. Warnings: the same picture twice, images
    of several sizes, masks of the whole image, fewer than 10 good images, nothing to train on or to test.

    Args:
        path: the folder, in any of the layouts of `stadx.data.layouts`.
        progress: told the category and how many of its images are done.

    Returns:
        One entry for each category, in natural order.

    Raises:
        DataError: if there is no such folder, or nothing in it to check.
    """
    if folders := categories(path):
        return [check_listing(list_category(folder), progress=progress) for folder in folders]
    return [check_listing(Listing(Category(Path(path), list_images(path), [])), progress=progress)]


def check_listing(listing: Listing, *, progress: Progress = silent) -> CheckedCategory:
    """The same of a category that is listed already."""
    category = listing.category
    good = sum(image.is_good for image in category.test)
    checked = CheckedCategory(category.name, len(category.train), good, len(category.test) - good)
    for message in listing.errors:
        checked.error(message)
    for message in listing.warnings:
        checked.warning(message)
    _check_images(checked, category.train, category.test, _config_of(checked, category), progress)
    return checked


_Config = tuple[Config, Path] | None


def _config_of(checked: CheckedCategory, category: Category) -> _Config:
    """When regions count as found, where masks are folders of regions."""
    if category.defects_config is None:
        return None
    try:
        return read_config(category.defects_config), category.defects_config
    except DataError as error:
        checked.error(str(error))
        return None


class _Seen(NamedTuple):
    """Where a picture was met first: in which part, as what."""

    path: Path
    part: str
    defect: str


def _check_images(
    checked: CheckedCategory, train: Sequence[Path], test: Sequence[TestImage], config: _Config, progress: Progress
) -> None:
    items = [*(("train", TestImage(path, None, GOOD)) for path in train), *(("test", image) for image in test)]
    sizes: Counter[tuple[int, int]] = Counter()
    seen: dict[bytes, _Seen] = {}
    for done, (part, image) in enumerate(items, 1):
        try:
            pixels = read_image(image.path)
            height, width = pixels.shape[:2]
            sizes[width, height] += 1
            digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()
            here = _Seen(image.path, part, image.defect)
            if (first := seen.setdefault(digest, here)) is not here:
                _report_twice(checked, first, here)
            _check_mask(checked, image, (height, width))
            if config is not None and image.mask is not None:
                read_regions(image.mask, (height, width), image.path, *config)
        except DataError as error:
            checked.error(str(error))
        progress(f"{checked.name}: images", done, len(items), {})
    if len(sizes) > 1:
        kinds = ", ".join(f"{n} of {w}x{h}" for (w, h), n in sizes.most_common(4)) + (" …" if len(sizes) > 4 else "")
        checked.warning(f"{checked.name}: the images have {len(sizes)} sizes ({kinds}); all are resized to one square")
    if 0 < len(train) < _FEW:
        checked.warning(f"{checked.name}: has few images to train on ({len(train)}); give {_FEW} or more")


def _check_mask(checked: CheckedCategory, image: TestImage, shape_hw: tuple[int, int]) -> None:
    if image.mask is not None and read_mask(image.mask, shape_hw, image.path).all():
        checked.warning(f"{image.mask}: marks every pixel of {image.path}; mark the defect alone")


def _report_twice(checked: CheckedCategory, first: _Seen, again: _Seen) -> None:
    same = f"{again.path}: is the same picture, pixel by pixel, as {first.path}"
    if first.part != again.part:
        checked.error(f"{same}, which is trained on: results would be too good; remove one of them")
    elif first.defect != again.defect:
        checked.error(f"{same}, which is {first.defect!r} and not {again.defect!r}; remove the wrong one")
    else:
        checked.warning(f"{same}; remove one of them")
