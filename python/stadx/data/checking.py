"""Everything that is wrong with a data set, all at once, before hours are spent on it."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from stadx.core.errors import DataError, DataWarning
from stadx.core.progress import Progress, silent

from .depths import Depths, mixed
from .folders import left_out_in_one, list_images
from .layouts import categories, list_category
from .layouts.category import GOOD, Category, Listing, TestImage
from .masks import Doubts, read_mask
from .pages import entry_of, file_of, listed, page_of
from .pixels import read_pixels
from .region_files import Config, read_config, read_regions
from .samples import Pixels
from .value_range import ValueRange, beyond

_FEW = 10  # good images with which training is hardly worth it


class Finding(NamedTuple):
    """One thing that is wrong: an "error" makes results wrong or impossible, a "warning" may be meant.

    `message` names the file and the fix; `files` are the images and masks that it is about, as far as they are known.
    """

    severity: Literal["error", "warning"]
    message: str
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Values that `json.dumps` takes."""
        return {**self._asdict(), "files": [entry_of(file) for file in self.files]}


@dataclass
class CheckedCategory:
    """What was found in one category, or in one folder of good images.

    Attributes:
        name: of the folder.
        train, test_good, test_defect, validation: counts of the images listed.
        findings: errors and warnings, in the order they were met.
        depth: the kinds of values that the images have, and the range of those to train on; "" if none can be read.
    """

    name: str
    train: int = 0
    test_good: int = 0
    test_defect: int = 0
    findings: list[Finding] = field(default_factory=list)
    depth: str = field(default="", compare=False)
    validation: int = 0

    def error(self, message: str, *files: Path) -> None:
        """Note what makes results wrong or impossible."""
        self.findings.append(Finding("error", message, files or _files_named(message)))

    def warning(self, message: str, *files: Path) -> None:
        """Note what may be meant."""
        self.findings.append(Finding("warning", message, files or _files_named(message)))

    def count(self, severity: Literal["error", "warning"]) -> int:
        """How many findings are of that kind."""
        return sum(finding.severity == severity for finding in self.findings)


def check_set(path: str | os.PathLike[str], *, progress: Progress = silent) -> list[CheckedCategory]:
    """Read every image and mask of a category, of a folder of such, or of a folder of good images.

    Errors: files that cannot be read, defect images without a mask and masks without an image, masks of another size
    or without a defect, the same picture in two of train, validation and test or as good and as defect, files that a
    list of the set names and that are not there, regions that a set's config does not have. Warnings: the same picture
    twice, images of several sizes or depths, values beyond the range of the training images, alpha channels that are 0
    everywhere, files with several pages, files that are left out, masks that are nearly two-valued, inverted or white
    all over, no masks, fewer than 10 good images, nothing to train on or to test.

    Args:
        path: the folder, in any of the layouts of `stadx.data.layouts`.
        progress: told the category and how many of its images are done.

    Returns:
        One entry for each category, in natural order.

    Raises:
        DataError: if there is no such folder, or nothing in it to check.
    """
    if folders := categories(path):
        return [check_listing(partial(list_category, folder), progress=progress) for folder in folders]
    return [check_listing(lambda: Listing(Category(Path(path), list_images(path), [])), progress=progress)]


def check_listing(listing: Listing | Callable[[], Listing], *, progress: Progress = silent) -> CheckedCategory:
    """The same of a category that is listed already, or that a function lists: what is left out then is found too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = listing if isinstance(listing, Listing) else listing()
    category = found.category
    good = sum(image.is_good for image in category.test)
    checked = CheckedCategory(category.name, len(category.train), good, len(category.test) - good)
    checked.validation = len(category.validation)
    for message in found.errors:
        checked.error(message)
    for message in [*found.warnings, *left_out_in_one(caught)]:
        checked.warning(message)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _check_images(checked, category, _config_of(checked, category), progress)
    for message in left_out_in_one(caught):
        checked.warning(message)
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


def _check_images(checked: CheckedCategory, category: Category, config: _Config, progress: Progress) -> None:
    good = {"train": category.train, "validation": category.validation}
    items = [(part, TestImage(path, None, GOOD)) for part, paths in good.items() for path in paths]
    items += [("test", image) for image in category.test]
    sizes: Counter[tuple[int, int]] = Counter()
    seen: dict[bytes, _Seen] = {}
    depths, learned = Depths(), Depths()
    ends: dict[Path, Pixels] = {}  # the lowest and the highest value of each test image
    doubts = Doubts()
    odd: dict[str, list[Path]] = {}
    _check_pages(checked, [image.path for _, image in items])
    for done, (part, image) in enumerate(items, 1):
        try:
            found = _read(image.path, odd)
            pixels = found.values
            depths.add(found)
            if part == "train":
                learned.add(found)
            elif part == "test":
                ends[image.path] = found._replace(values=np.stack([pixels.min((0, 1)), pixels.max((0, 1))]))
            height, width = pixels.shape[:2]
            sizes[width, height] += 1
            digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()
            here = _Seen(image.path, part, image.defect)
            if (first := seen.setdefault(digest, here)) is not here:
                _report_twice(checked, first, here)
            if image.mask is not None:
                read_mask(image.mask, (height, width), image.path, doubts)
            if config is not None and image.mask is not None:
                read_regions(image.mask, (height, width), image.path, *config)
        except DataError as error:
            checked.error(str(error), *filter(None, (image.path, image.mask)))
        progress(f"{checked.name}: images", done, len(items), {})
    for message, images in odd.items():
        checked.warning(f"{listed(images)}: {message}", *images)
    for message, masks in doubts.found():
        checked.warning(message, *masks)
    if len(sizes) > 1:
        kinds = ", ".join(f"{n} of {w}x{h}" for (w, h), n in sizes.most_common(4)) + (" …" if len(sizes) > 4 else "")
        checked.warning(f"{checked.name}: the images have {len(sizes)} sizes ({kinds}); all are resized to one square")
    if len(depths.kinds) > 1:
        checked.warning(f"{checked.name}: {mixed(depths.kinds)}")
    if depths.kinds:
        value_range = (learned if learned.kinds else depths).range()
        checked.depth = f"{', '.join(depths.kinds)}, values from {value_range}"
        _check_range(checked, value_range, ends)
    if 0 < checked.train < _FEW:
        checked.warning(f"{checked.name}: has few images to train on ({checked.train}); give {_FEW} or more")


def _read(path: Path, odd: dict[str, list[Path]]) -> Pixels:
    """An image; what reading it warns of goes into `odd`, with all images of which the same is said."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", DataWarning)
        pixels = read_pixels(path)
    for warning in told:
        if issubclass(warning.category, DataWarning):
            odd.setdefault(str(warning.message).removeprefix(f"{path}: "), []).append(path)
    return pixels


def _check_range(checked: CheckedCategory, value_range: ValueRange, ends: Mapping[Path, Pixels]) -> None:
    """Warn of test images with values that a detector would clip."""
    clipped = [path for path, (values, full, _) in ends.items() if beyond(values, value_range, full).any()]
    if clipped:
        checked.warning(
            f"{clipped[0]}: has values outside the range of the training images, {value_range}, as have "
            f"{len(clipped)} of {len(ends)} test images: they will be clipped; where they matter, train with a wider "
            "one (--range LOW,HIGH)",
            *clipped,
        )


def _check_pages(checked: CheckedCategory, paths: Sequence[Path]) -> None:
    pages = [path for path in paths if page_of(path) is not None]
    if files := list(dict.fromkeys(map(file_of, pages))):
        checked.warning(f"{listed(files)}: each of the {len(pages)} pages in it is an image of its own", *pages)


def _report_twice(checked: CheckedCategory, first: _Seen, again: _Seen) -> None:
    same = f"{again.path}: is the same picture, pixel by pixel, as {first.path}"
    files = again.path, first.path
    if first.part != again.part:
        why = "is trained on" if first.part == "train" else "is a validation image"
        checked.error(f"{same}, which {why}: results would be too good; remove one of them", *files)
    elif first.defect != again.defect:
        checked.error(f"{same}, which is {first.defect!r} and not {again.defect!r}; remove the wrong one", *files)
    else:
        checked.warning(f"{same}; remove one of them", *files)


def _files_named(message: str) -> tuple[Path, ...]:
    """The files that a message begins with."""
    names = message.partition(": ")[0].split(", ")
    return tuple(Path(name) for name in names if os.path.isfile(name))
