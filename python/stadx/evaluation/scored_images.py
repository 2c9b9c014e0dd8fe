"""Scored test images, what is measured of them, and why something is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stadx.data.layouts.category import GOOD
from stadx.data.masks import IGNORED
from stadx.metrics import FPR_LIMIT, PixelMetrics, auroc, evaluate_maps


@dataclass(frozen=True)
class DefectResult:
    """The metrics of one defect type against all good test images; None where undefined."""

    count: int
    image_auroc: float | None
    pixel_auroc: float | None
    au_pro: float | None


@dataclass(frozen=True)
class TestScore:
    """One scored test image: its map float32 [H, W] and its ground truth bool [H, W], both of the evaluation's size."""

    __test__ = False  # not a test class, whatever its name makes pytest think

    path: Path
    defect: str
    score: float
    pixel_auroc: float | None  # within this image alone: how well the map finds the defect's place
    map: NDArray[np.float32]
    mask: NDArray[np.bool_]
    marked: bool = True  # whether it is known which of its pixels are defective
    ignored: NDArray[np.bool_] | None = None  # neither defect nor background; None: no pixel
    truth_path: Path | None = None  # of the mask, or the folder of regions
    file_size: tuple[int, int] | None = None  # height and width of the image's own

    @property
    def truth(self) -> NDArray[np.uint8] | NDArray[np.bool_]:
        """The mask, and `IGNORED` at pixels that do not count."""
        return self.mask if self.ignored is None else np.where(self.ignored, np.uint8(IGNORED), self.mask)

    @property
    def counted(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Map and mask of the pixels that count: [H, W], or [n] of some."""
        return (self.map, self.mask) if self.ignored is None else (self.map[~self.ignored], self.mask[~self.ignored])

    @property
    def is_good(self) -> bool:
        return self.defect == GOOD


def measure(images: Sequence[TestScore], fpr_limit: float = FPR_LIMIT) -> tuple[DefectResult, PixelMetrics | None]:
    """Compute the three metrics over `images`, each None where it is undefined; AU-PRO up to `fpr_limit`."""
    labels = np.array([not image.is_good for image in images])
    scores = np.array([image.score for image in images])
    image_auroc = auroc(scores, labels) if labels.any() and not labels.all() else None
    pixels = None
    if has_both_kinds_of_pixels(images):
        pixels = pixel_metrics(images)
    pixel_auroc, area = (None, None) if pixels is None else (pixels.auroc, pixels.au_pro(fpr_limit))
    return DefectResult(int(labels.sum()), image_auroc, pixel_auroc, area), pixels


def pixel_metrics(images: Sequence[TestScore]) -> PixelMetrics:
    """Of the pixels that count; `DataError` if there is no defect or no background."""
    ignore = IGNORED if any(image.ignored is not None for image in images) else None
    return evaluate_maps([(image.map, image.truth) for image in images], ignore_value=ignore)


def has_both_kinds_of_pixels(images: Sequence[TestScore]) -> bool:
    """Whether all images are marked, and there are pixels of defects and of background that count."""
    if not all(image.marked for image in images):
        return False
    return any(image.mask.any() for image in images) and any((image.truth == 0).any() for image in images)


def notes(name: str, images: Sequence[TestScore]) -> list[str]:
    """Say in a sentence each why a metric is undefined."""
    found = []
    defective = [image for image in images if not image.is_good]
    if not defective:
        found.append(
            f"{name} has no defect images, so image AUROC, pixel AUROC and AU-PRO are undefined; "
            "the scores of the good images are still listed."
        )
        return found
    if len(defective) == len(images):
        found.append(f"{name} has no good test images, so image AUROC is undefined.")
    if unmarked := sum(not image.marked for image in defective):
        some = f"{unmarked} of {len(defective)} defect images of {name}"
        found.append(f"{some} have no mask, so pixel AUROC and AU-PRO are undefined.")
        return found
    if gone := sum(not image.mask.any() for image in defective):
        found.append(f"{gone} of {len(defective)} defect images have masks too thin for the size they are measured at.")
    if not has_both_kinds_of_pixels(images):
        found.append(
            f"The masks of {name} leave no defect or no background pixel, so pixel AUROC and AU-PRO are undefined."
        )
    return found
