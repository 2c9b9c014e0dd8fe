"""Measure a detector on the test images of a category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.core.version import versions
from stadx.data.images import read_image
from stadx.data.layouts.category import GOOD, Category, read_mask
from stadx.data.tensors import resize
from stadx.metrics import FPR_LIMIT, PixelMetrics, ProCurve, auroc, evaluate_maps
from stadx.metrics.image_score import image_scores
from stadx.metrics.intervals import clopper_pearson

from .measured_detector import MeasuredDetector, stride_of, top_share_of

At = Literal["original", "model"] | int
"""The size at which maps and masks are compared: the image's own, what the detector resizes images to, or a square's
side."""


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

    @property
    def is_good(self) -> bool:
        return self.defect == GOOD


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a detector on one category, and what they were computed from.

    A metric is None where it is undefined, and `notes` then says why.
    """

    name: str
    image_auroc: float | None
    pixel_auroc: float | None
    au_pro: float | None
    per_defect: dict[str, DefectResult]
    images: list[TestScore]
    curve: ProCurve | None
    threshold: float  # of a pixel
    image_threshold: float
    at: At = "original"
    fpr_limit: float = FPR_LIMIT
    promise: str = ""  # what the model says of its false alarms
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def image_scores(self) -> NDArray[np.float64]:
        """Of every image, float64 [N]."""
        return np.array([image.score for image in self.images], dtype=np.float64)

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Which images have a defect, bool [N]."""
        return np.array([not image.is_good for image in self.images], dtype=np.bool_)

    @property
    def flagged(self) -> dict[str, int]:
        """How many good and how many defect images score above the image threshold."""
        above = self.image_scores > self.image_threshold
        return {"good": int((above & ~self.labels).sum()), "defect": int((above & self.labels).sum())}

    def flagged_sentence(self) -> str:
        """Say what `flagged` holds, and what follows for other images of their kind."""
        defects = int(self.labels.sum())
        good = len(self.images) - defects
        found, alarms = _of_all(self.flagged["defect"], defects), _of_all(self.flagged["good"], good)
        return (
            f"Above the image threshold of {self.image_threshold:.3g}: {found} defect images, {alarms} good ones "
            "(in brackets: of all such images, with 95 % confidence)."
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything but the maps and the curve as values that `json.dumps` takes."""
        return {
            "category": self.name,
            "image_auroc": self.image_auroc,
            "pixel_auroc": self.pixel_auroc,
            "au_pro": self.au_pro,
            "at": self.at,
            "fpr_limit": self.fpr_limit,
            "threshold": self.threshold,
            "image_threshold": self.image_threshold,
            "flagged": self.flagged,
            "promise": self.promise,
            "per_defect": {name: asdict(result) for name, result in self.per_defect.items()},
            "images": [
                {
                    "path": str(image.path),
                    "defect": image.defect,
                    "score": image.score,
                    "pixel_auroc": image.pixel_auroc,
                }
                for image in self.images
            ],
            "notes": self.notes,
            "settings": self.settings,
            "versions": self.versions,
        }


@keep_freed_memory()
def evaluate(
    detector: MeasuredDetector,
    category: Category,
    *,
    stride: int | None = None,
    at: At = "original",
    progress: Progress = silent,
) -> Evaluation:
    """Score every test image of `category` and compute the metrics.

    The image score is the highest of the map, or the mean of the highest if the detector says so. AU-PRO is exact, up
    to a false-positive rate of 0.3, overall and per defect type (the images of that type and all good ones).

    Args:
        detector: what scores.
        category: as `stadx.data.layouts.open_category` gives it.
        stride: that of `Detector.score`; None: the detector's own.
        at: "original" compares at each image's own size: the map is resized to it, the mask as it is. "model"
            compares at the detector's `image_size`: the map as it is, the mask resized by nearest neighbour. A side in
            pixels compares detectors of several sizes at one: the map of the detector's size is resized to it.
        progress: told how far it is.

    Raises:
        DataError: the category has no test images, an image or mask cannot be read, or a score is not finite.
    """
    stride, top_share = stride_of(detector, stride), top_share_of(detector)
    images: list[TestScore] = []
    total = len(category.test)
    if not total:
        raise DataError(f"{category.name}: no test images to evaluate; put some into test/good and test/DEFECT")
    progress("Test images", 0, total, {})
    for done, item in enumerate(category.test, start=1):
        pixels = read_image(item.path)
        height, width = pixels.shape[:2]
        mask = (
            np.zeros((height, width), dtype=np.bool_)
            if item.mask is None
            else read_mask(item.mask, (height, width), item.path)
        )
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
        if at != "original":
            tensor = resize(tensor, detector.settings.get("image_size"))
        scored = detector.score(tensor, stride=stride)
        if isinstance(at, int):
            scored = resize(scored[:, None].float(), at)[:, 0]
        if at != "original":
            mask = _nearest(mask, scored.shape[1:])
        anomaly_map = scored[0].float().cpu().numpy()
        if not np.isfinite(anomaly_map).all():
            raise DataError(f"{item.path}: the model's score is not a finite number here; train the model again")
        within = auroc(anomaly_map, mask) if mask.any() and not mask.all() else None
        marked = item.is_good or item.mask is not None
        score = float(image_scores(scored[:1].float(), top_share))
        images.append(TestScore(item.path, item.defect, score, within, anomaly_map, mask, marked))
        progress("Test images", done, total, {})

    defects = list(dict.fromkeys(image.defect for image in images if not image.is_good))
    good = [image for image in images if image.is_good]
    progress("Metrics", 0, 1 + len(defects), {})
    overall, pixels_of_all = _measure(images)
    per_defect: dict[str, DefectResult] = {}
    for done, defect in enumerate(defects, start=1):
        progress("Metrics", done, 1 + len(defects), {})
        per_defect[defect], _ = _measure([image for image in images if image.defect == defect] + good)
    progress("Metrics", 1 + len(defects), 1 + len(defects), {})

    return Evaluation(
        name=category.name,
        image_auroc=overall.image_auroc,
        pixel_auroc=overall.pixel_auroc,
        au_pro=overall.au_pro,
        per_defect=per_defect,
        images=images,
        curve=None if pixels_of_all is None else pixels_of_all.pro_curve(),
        threshold=float(detector.threshold_),
        image_threshold=float(detector.image_threshold(stride)),
        at=at,
        promise=detector.false_alarms(stride).sentence() if hasattr(detector, "false_alarms") else "",
        settings={name: _plain(value) for name, value in detector.settings.items()},
        versions=versions(),
        notes=_notes(category.name, images),
    )


def _of_all(count: int, images: int) -> str:
    """ "3 of 60 (1 … 14 %)"."""
    if not images:
        return "0 of 0"
    low, high = (100 * share for share in clopper_pearson(count, images))
    return f"{count} of {images} ({low:.2g} … {high:.2g} %)"


def _nearest(mask: NDArray[np.bool_], size: Sequence[int]) -> NDArray[np.bool_]:
    """A mask bool [h, w] at `size` (H, W): each pixel is what the mask is at its centre."""
    values = torch.from_numpy(mask)[None, None].to(torch.uint8)
    resized: NDArray[np.uint8] = F.interpolate(values, tuple(size), mode="nearest-exact")[0, 0].numpy()
    return resized.astype(np.bool_)


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _measure(images: Sequence[TestScore]) -> tuple[DefectResult, PixelMetrics | None]:
    """Compute the three metrics over `images`, each None where it is undefined."""
    labels = np.array([not image.is_good for image in images])
    scores = np.array([image.score for image in images])
    image_auroc = auroc(scores, labels) if labels.any() and not labels.all() else None
    pixels = None
    if _has_both_kinds_of_pixels(images):
        pixels = evaluate_maps([(image.map, image.mask) for image in images])
    pixel_auroc, area = (None, None) if pixels is None else (pixels.auroc, pixels.au_pro(FPR_LIMIT))
    return DefectResult(int(labels.sum()), image_auroc, pixel_auroc, area), pixels


def _has_both_kinds_of_pixels(images: Sequence[TestScore]) -> bool:
    if not all(image.marked for image in images):
        return False
    return any(image.mask.any() for image in images) and any(not image.mask.all() for image in images)


def _notes(name: str, images: Sequence[TestScore]) -> list[str]:
    """Say in a sentence each why a metric is undefined."""
    notes = []
    defective = [image for image in images if not image.is_good]
    if not defective:
        notes.append(
            f"{name} has no defect images, so image AUROC, pixel AUROC and AU-PRO are undefined; "
            "the scores of the good images are still listed."
        )
        return notes
    if len(defective) == len(images):
        notes.append(f"{name} has no good test images, so image AUROC is undefined.")
    if unmarked := sum(not image.marked for image in defective):
        some = f"{unmarked} of {len(defective)} defect images of {name}"
        notes.append(f"{some} have no mask, so pixel AUROC and AU-PRO are undefined.")
        return notes
    if gone := sum(not image.mask.any() for image in defective):
        notes.append(f"{gone} of {len(defective)} defect images have masks too thin for the size they are measured at.")
    if not _has_both_kinds_of_pixels(images):
        notes.append(
            f"The masks of {name} leave no defect or no background pixel, so pixel AUROC and AU-PRO are undefined."
        )
    return notes
