"""What all layouts of a data set have in common: a category, its test images, and their masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stadx.core.errors import DataError

from ..folders import IMAGE_SUFFIXES, LOSSY_SUFFIXES, natural_key, visible, with_pages
from ..masks import is_black_page
from ..masks import read_mask as read_mask

GOOD = "good"
GOOD_NAMES = (GOOD, "ok", "normal", "goods", "io", "pass", "passed")
"""What folders of good images are called, in small letters."""
BAD_NAMES = ("bad", "ng", "nok", "ko", "nio", "abnormal", "anomaly", "anomalies", "defect", "defects", "fail")
"""What folders of images with defects are called, where they have no name of their own; in small letters."""
MASK_SUFFIXES = IMAGE_SUFFIXES
LOSSLESS_SUFFIXES = IMAGE_SUFFIXES - LOSSY_SUFFIXES


@dataclass(frozen=True)
class TestImage:
    """One test image; `defect` is "good" where it has none, `mask` is None there and where nobody marked the defect.

    A mask may be a folder, each of whose files marks one region.
    """

    __test__ = False  # the name is the field's own; pytest must not collect it

    path: Path
    mask: Path | None
    defect: str

    @property
    def is_good(self) -> bool:
        return self.defect == GOOD


@dataclass(frozen=True)
class Category:
    """One category: its folder, and its images in natural order, the good test images first.

    Attributes:
        validation: good images that are neither trained on nor tested.
        defects_config: where masks are folders of regions, the file that says when a region is found.
        fpr_limit: up to which the set's authors take AU-PRO, where that is not 0.3.
    """

    root: Path
    train: Sequence[Path]
    test: Sequence[TestImage]
    validation: Sequence[Path] = ()
    defects_config: Path | None = None
    fpr_limit: float | None = None

    @property
    def name(self) -> str:
        return self.root.resolve().name

    @property
    def defects(self) -> list[str]:
        """The defect types of the test images, without "good"."""
        return list(dict.fromkeys(t.defect for t in self.test if not t.is_good))

    @property
    def has_defects(self) -> bool:
        return bool(self.defects)


@dataclass(frozen=True)
class Listing:
    """A category as far as its files can be listed, and what is wrong with the others; no image is read for it.

    Attributes:
        category: the images that are in order.
        errors: what makes results wrong or impossible, each naming the file and the fix.
        warnings: what may be meant.
        fix: what to do where there are no test images.
    """

    category: Category
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    fix: str = f"put them into test/{GOOD} and test/DEFECT and masks into ground_truth/DEFECT"

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Makes a `DataError` inside the block one of the errors, and goes on behind the block."""
        try:
            yield
        except DataError as error:
            self.errors.append(str(error))

    def for_testing(self) -> Category:
        """The category; `DataError` with the first of the errors, or where there are no test images."""
        if self.errors:
            raise DataError(self.errors[0])
        if not self.category.test:
            raise DataError(f"{self.category.root}: has no test images; {self.fix}")
        return self.category


@dataclass(frozen=True)
class Layout:
    """How a data set lies in folders, one for each of its categories.

    Attributes:
        is_category: whether a folder is a category in this layout.
        list_category: lists one, without reading an image.
        training_images: its good images to train on; `DataError` if there are none.
        good_folder: what folders of good images are called, in lists of maps too.
        mask_folder: where in a category the masks are.
    """

    is_category: Callable[[Path], bool]
    list_category: Callable[[Path], Listing]
    training_images: Callable[[Path], list[Path]]
    good_folder: str = GOOD
    mask_folder: str | os.PathLike[str] = "ground_truth"


def mask_files(folder: Path, suffixes: Collection[str] = MASK_SUFFIXES) -> list[Path]:
    """Files of `folder` that can be masks, in natural order, those without loss last; none if there is no folder."""
    if not os.path.isdir(folder):
        return []
    files = sorted((p for p in visible(folder) if p.suffix.lower() in suffixes), key=natural_key)
    return with_pages(sorted(files, key=lambda path: path.suffix.lower() not in LOSSY_SUFFIXES))


def paired(path: Path, mask: Path | None, defect: str) -> TestImage:
    """An image with that mask: of a page whose page of the mask is black, a good one."""
    if mask is not None and is_black_page(mask):
        return TestImage(path, None, GOOD)
    return TestImage(path, mask, defect)
