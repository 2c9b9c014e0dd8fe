"""Reviewed images as a data set in the layout of MVTec AD, with the masks that were painted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stadx.core.errors import DataError, OutputError
from stadx.core.files import write_bytes
from stadx.core.progress import Progress, silent
from stadx.data.images import write_image
from stadx.data.opening import check_pixels, pixel_limit
from stadx.data.page_files import write_page
from stadx.data.pages import page_of

from ..output_names import longest_name, output_names
from .reading import Judged, Review


class Written(NamedTuple):
    """How many images went where: test/good, test/defect with masks, and unmarked."""

    good: int
    marked: int
    unmarked: int


def write_data_set(review: Review, out: Path, progress: Progress = silent) -> Written:
    """Copy the images judged good or defective into a new folder, which `stadx calibrate` and `evaluate` take.

    Files stay as they are: out/test/good/NAME, out/test/defect/NAME with out/ground_truth/defect/NAME_mask.png, and
    out/unmarked/NAME for defects without a mask. If no defect has a mask, all are in test/defect. Page 3 of a file with
    several is written as a file of its own, NAME_p3, see `write_page`.

    Raises:
        DataError: if there is none, one is gone or changed, or a page is too large to be read whole.
        OutputError: if `out` has files already, or cannot be written.
    """
    good, defects = review.of("good"), review.of("defect")
    images = [*good, *defects]
    if not images:
        raise DataError(f"{review.file}: no image is judged good or defect; judge some on the review page, and save")
    if os.path.lexists(out) and (not os.path.isdir(out) or any(os.scandir(out))):
        raise OutputError(f"{out}: is there already; name a new folder")
    review.check_images(images, progress)
    for image in images:  # before anything is written
        if page_of(image.path) is not None:
            check_pixels(image.path, image.size[1], image.size[0], pixel_limit())
    masks = {image: image.full_mask() for image in defects}
    marked = [image for image in defects if masks[image] is not None]
    unmarked = [image for image in defects if masks[image] is None]
    _copy(good, out / "test" / "good", out)
    for image, name in _copy(marked or unmarked, out / "test" / "defect", out):
        if (mask := masks[image]) is not None:
            write_image(out / "ground_truth" / "defect" / f"{name}_mask.png", mask.astype(np.uint8) * 255)
    if marked:
        _copy(unmarked, out / "unmarked", out)
    return Written(len(good), len(marked), len(unmarked))


def _copy(images: Sequence[Judged], folder: Path, out: Path) -> list[tuple[Judged, str]]:
    """Copy image files, pages as files of their own; each with its name there, without ending, that no other has."""
    paths = [image.path for image in images]
    named = list(zip(images, output_names(paths, longest=longest_name(out.parent)), strict=True))
    for image, name in named:
        source = image.path
        if page_of(source) is not None:
            write_page(source, folder, name)
            continue
        try:
            content = source.read_bytes()
        except OSError as error:
            raise DataError(f"{source}: cannot be read ({error.strerror or error})") from error
        write_bytes(folder / f"{name}{source.suffix}", content)
    return named
