"""Read the decisions that the review page saved, and check that model and images are still those."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent
from stadx.data.folders import pages_of
from stadx.data.image_hash import size_and_hash_of_file
from stadx.data.masks import BoolArray
from stadx.data.pages import Page, page_of
from stadx.data.value_range import ValueRange

from .format import DECISIONS, FORMAT, VERSION, Decision, Model

_AGAIN = "open the review page and save once more"
_PNG = "data:image/png;base64,"


class Judged(NamedTuple):
    """One image with its decision.

    Attributes:
        path: where it is now.
        sha256: see `image_hash`.
        size: height and width.
        decision: of a person.
        score: image score.
        threshold: of a pixel, at the time of the decision.
        mask: PNG of the defect as it was painted; None: nothing was.
    """

    path: Path
    sha256: str
    size: tuple[int, int]
    decision: Decision
    score: float
    threshold: float
    mask: bytes | None

    def full_mask(self) -> BoolArray | None:
        """The defect, bool [H, W] at the image's size; None: nothing was painted.

        Raises:
            DataError: if the mask is damaged or does not belong to the image.
        """
        if self.mask is None:
            return None
        try:
            with Image.open(io.BytesIO(self.mask), formats=["PNG"]) as picture:
                shape = picture.height, picture.width
                block = -(-max(self.size) // max(shape))
                if shape != tuple(-(-length // block) for length in self.size):
                    raise ValueError(f"it has {shape[1]}x{shape[0]} pixels")
                small = np.asarray(picture.convert("L")) > 127
        except Exception as error:  # damaged files make Pillow raise nearly anything
            raise DataError(f"{self.path}: its mask in the review cannot be used ({error}); {_AGAIN}") from error
        rows, columns = (np.arange(length) // block for length in self.size)
        mask: BoolArray = small[rows[:, None], columns]
        return mask if mask.any() else None


class Review(NamedTuple):
    """All decisions of a file.

    Attributes:
        file: their JSON.
        model: that they are about.
        value_range: in which images are read for their hashes.
        judged: the images with a decision.
    """

    file: Path
    model: Model
    value_range: ValueRange
    judged: Sequence[Judged]

    def of(self, decision: Decision) -> list[Judged]:
        """The images judged so."""
        return [image for image in self.judged if image.decision == decision]

    def counts(self) -> str:
        """ "5 good, 2 defect, 0 unsure"."""
        return ", ".join(f"{len(self.of(decision))} {decision}" for decision in DECISIONS)

    def check_model(self, model: Model) -> None:
        """Raise `DataError` unless the decisions are about `model`."""
        if model.sha256 != self.model.sha256:
            raise DataError(
                f"{self.file}: is a review with {self.model.name} ({self.model.sha256[:12]}), not with {model.name} "
                f"({model.sha256[:12]}); give that model, or review again with this one"
            )

    def check_images(self, images: Sequence[Judged], progress: Progress = silent) -> None:
        """Raise `DataError` if some of the images are gone, or are not what was judged."""
        if missing := [image.path for image in images if not image.path.is_file()]:
            raise DataError(
                f"{missing[0]}: is gone since the review, {_counted(missing, images)}; put it back, or name the folder "
                "that the images are in now"
            )
        changed: list[Path] = []
        resized: dict[Path, str] = {}
        for done, image in enumerate(images, 1):
            size, sha256 = size_and_hash_of_file(image.path, self.value_range)
            is_of_several = page_of(image.path) is None and len(pages_of(image.path)) > 1
            if size != image.size:
                resized[image.path] = f"has {_pixels(size)}, the review has it with {_pixels(image.size)}"
            elif sha256 != image.sha256 or is_of_several:  # nobody has judged the other pages
                changed.append(image.path)
            progress("Checking images", done, len(images), {})
        if resized:
            path, sizes = next(iter(resized.items()))
            raise DataError(
                f"{path}: {sizes}, {_counted([*resized], images)} of another size; put the reviewed one back, or "
                "review again"
            )
        if changed:
            raise DataError(
                f"{changed[0]}: is another image than was judged, {_counted(changed, images)}; put the reviewed one "
                "back, or review again"
            )


def _pixels(size: tuple[int, int]) -> str:
    """Height and width in words."""
    return f"{size[1]}x{size[0]} pixels"


def _counted(some: Sequence[Path], of: Sequence[Judged]) -> str:
    return f"{len(some)} of {len(of)} are"


def read_review(file: Path, folder: Path | None = None) -> Review:
    """Read what the review page saved.

    Args:
        file: the JSON.
        folder: where the images are now; None: where they were.

    Raises:
        DataError: if it cannot be read, is none of the page's, or has no decision.
    """
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error}); check the name") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is no JSON, or was cut short ({error}); {_AGAIN}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{file}: is no review; give the JSON that the button Save of the review page writes")
    if content.get("version") != VERSION:
        raise DataError(
            f"{file}: has version {content.get('version')!r} of the format, this stadx reads {VERSION}; update stadx, "
            "or review with this one"
        )
    try:
        model = Model(_text(content["model"], "name"), _text(content["model"], "sha256"))
        value_range = ValueRange.from_json(content["value_range"])
        start = Path(_text(content, "folder")) if folder is None else folder
        judged = [_judged(entry, start) for entry in content["images"]]
        if value_range is None:
            raise ValueError("no value_range")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{file}: is damaged ({type(error).__name__}: {error}); {_AGAIN}") from error
    paths = Counter((image.path, page_of(image.path)) for image in judged)
    if twice := [path for (path, _), count in paths.items() if count > 1]:
        raise DataError(f"{file}: judges {twice[0]} more than once; leave one decision of each image")
    if not judged:
        raise DataError(f"{file}: has no decision; judge some images on the review page, and save")
    return Review(file, model, value_range, judged)


def _text(content: Mapping[str, Any], key: str) -> str:
    if not isinstance(content[key], str):
        raise TypeError(f"{key} is no text")
    return str(content[key])


def _judged(entry: Mapping[str, Any], folder: Path) -> Judged:
    name, decision, mask = PurePosixPath(_text(entry, "path")), entry["decision"], entry["mask"]
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{name} is outside the folder")
    if decision not in DECISIONS:
        raise ValueError(f"decision {decision!r}")
    if mask is not None and not _text(entry, "mask").startswith(_PNG):
        raise ValueError("a mask that is no PNG")
    path, page = folder / name, int(entry.get("page") or 0)
    if page < 0:
        raise ValueError(f"page {page}")
    height, width = (int(length) for length in entry["size"])
    if min(height, width) < 1:
        raise ValueError(f"size {entry['size']}")
    return Judged(
        Page(path, page) if page else path,
        _text(entry, "sha256"),
        (height, width),
        decision,
        float(entry["score"]),
        float(entry["threshold"]),
        None if mask is None else base64.b64decode(mask.removeprefix(_PNG), validate=True),
    )
