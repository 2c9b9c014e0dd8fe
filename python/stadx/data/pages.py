"""Files that hold several images: every page of a TIFF, every frame of a GIF, WebP, AVIF or APNG is one of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from tifffile import TiffFile, TiffPage

if TYPE_CHECKING:
    _Path = Path
else:
    _Path = type(Path())  # Path itself cannot be derived from before Python 3.12

_KIND, _OLD_KIND = 254, 255  # TIFF's NewSubfileType and SubfileType
_REDUCED, _TRANSPARENCY, _OLD_REDUCED = 1, 4, 2


class Page(_Path):
    """One page of a file with several, wherever a path is taken: it opens as the file, messages name the page too.

    Its `stem` is NAME_p3, which outputs and masks are called after; folder, name and suffix are the file's. What is
    derived from it, such as `parent` or `resolve()`, has no page.

    Attributes:
        number: of the page in its file, counted from 1; 0: none.
    """

    number: int = 0

    def __new__(cls, file: Path, number: int = 0) -> Page:
        page = super().__new__(cls, file)
        page.number = number
        return page

    def __init__(self, file: Path, number: int = 0) -> None:
        if sys.version_info >= (3, 12):
            super().__init__(file)

    def with_segments(self, *segments: Any) -> Path:
        return Path(*segments)

    @property
    def stem(self) -> str:
        return f"{super().stem}_p{self.number}" if self.number else super().stem

    def __fspath__(self) -> str:
        return super().__str__()

    def __str__(self) -> str:
        return f"{super().__str__()}, page {self.number}" if self.number else super().__str__()

    def __repr__(self) -> str:
        return f"Page({super().__str__()!r}, {self.number})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Path):
            return NotImplemented
        return self.number == (page_of(other) or 0) and file_of(self) == file_of(other)

    def __hash__(self) -> int:
        return hash((file_of(self), self.number)) if self.number else hash(file_of(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Page, (file_of(self), self.number)


def page_of(path: Path) -> int | None:
    """The number of the page that a path names, counted from 1; None: the file has but one image."""
    return (path.number or None) if isinstance(path, Page) else None


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path as such; one that names a page still does."""
    return path if isinstance(path, Path) else Path(path)


def file_of(path: Path) -> Path:
    """The file alone."""
    return Path(path.__fspath__()) if isinstance(path, Page) else path


def entry_of(path: Path) -> dict[str, Any]:
    """How JSON names an image: "path", and "page" where the file has several."""
    page = page_of(path)
    return {"path": path.__fspath__(), **({} if page is None else {"page": page})}


def listed(paths: Iterable[Path]) -> str:
    """How a sentence names some files: "a.png, b.png, c.png and 4 more"."""
    names = list(map(str, paths))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def go_to_page(image: Image.Image, path: Path) -> None:
    """Turn an opened image to the page that `path` names, or to the first that is no thumbnail."""
    if (number := page_of(path)) is not None:
        image.seek(number - 1)
        return
    tags: Any = getattr(image, "tag_v2", {})  # of a TIFF
    while is_lesser(tags.get(_KIND), tags.get(_OLD_KIND)):
        try:
            image.seek(image.tell() + 1)
        except EOFError:
            image.seek(0)
            return
        tags = getattr(image, "tag_v2", {})


def tiff_page(tiff: TiffFile, path: Path) -> TiffPage:
    """The page of an opened TIFF that `path` names, or the first that is no thumbnail.

    Raises:
        Exception: of nearly any kind, if it is damaged.
    """
    if (number := page_of(path)) is not None:
        page = tiff.pages[number - 1]
    else:
        page = next((page for page in tiff.pages if not is_lesser(*page_kind(page))), tiff.pages.first)
    if not isinstance(page, TiffPage):
        raise ValueError("a page without tags")
    return page


def page_kind(page: Any) -> tuple[Any, Any]:
    """Of a page as tifffile has it, what `is_lesser` asks."""
    return page.tags.valueof(_KIND), page.tags.valueof(_OLD_KIND)


def is_lesser(kind: Any, old_kind: Any) -> bool:
    """Whether a TIFF's page is no image of its own, by its tags NewSubfileType and SubfileType."""
    kind = kind if isinstance(kind, int) else 0
    return bool(kind & (_REDUCED | _TRANSPARENCY)) or old_kind == _OLD_REDUCED
