"""Measure a detector on the test images of a category."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.core.version import versions
from stadx.data.layouts.category import Category
from stadx.data.masks import Doubts
from stadx.data.pages import entry_of
from stadx.data.roi import Roi
from stadx.data.value_range import ValueRange
from stadx.metrics import FPR_LIMIT, ProCurve
from stadx.metrics.intervals import clopper_pearson, percent
from stadx.metrics.pixel_metrics import check_limit
from stadx.networks.engine import watched_weights

from .fixed_threshold import FixedF1, f1_at, f1_of_model, validation_threshold
from .looked_at import notes_of, region_for
from .measured_detector import At as At
from .measured_detector import MeasuredDetector, range_of, stride_of
from .scored_images import DefectResult as DefectResult
from .scored_images import TestScore as TestScore
from .scored_images import measure, notes
from .scored_tests import Each, MapScoring, TestScoring, each_here
from .spro import SproEvaluation, spro_of


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
    spro: SproEvaluation | None = None  # of a set whose regions are saturated
    f1: FixedF1 | None = None  # at the model's thresholds
    f1_validation: FixedF1 | None = None  # at that of a set's validation images
    promise: str = ""  # what the model says of its false alarms
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    value_range: ValueRange | None = None  # of the images, as the detector sees them

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

    def f1_sentences(self) -> list[str]:
        """Say what `f1` and `f1_validation` hold."""
        named = {"the model's thresholds": self.f1, "mean + 3 σ of the validation maps": self.f1_validation}
        return [
            f"At {name} (pixels above {f1.threshold:.4g}): SegF1 {f1.seg_f1:.3f}, ClassF1 {f1.class_f1:.3f}."
            for name, f1 in named.items()
            if f1 is not None
        ]

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
            "spro": None if self.spro is None else self.spro.to_json(),
            "f1": None if self.f1 is None else asdict(self.f1),
            "f1_validation": None if self.f1_validation is None else asdict(self.f1_validation),
            "flagged": self.flagged,
            "promise": self.promise,
            "per_defect": {name: asdict(result) for name, result in self.per_defect.items()},
            "images": [
                {
                    **entry_of(image.path),
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
@watched_weights()
def evaluate(
    detector: MeasuredDetector,
    category: Category,
    *,
    stride: int | None = None,
    at: At = "original",
    roi: Roi | None = None,
    ignore_value: int | None = None,
    fpr_limit: float | None = None,
    progress: Progress = silent,
    each: Each | None = None,
) -> Evaluation:
    """Score every test image of `category` and compute the metrics.

    The image score is the highest of the map, or the mean of the highest if the detector says so. AU-PRO is exact,
    overall and per defect type (the images of that type and all good ones). A set with validation images also has F1 at
    mean + 3 σ of their maps, one whose regions are saturated AU-sPRO, whose regions are resized and cut likewise.

    Args:
        detector: what scores.
        category: as `stadx.data.layouts.open_category` gives it.
        stride: that of `Detector.score`; None: the detector's own.
        at: "original" compares at each image's own size: the map is resized to it, the mask as it is. "model"
            compares at the detector's `image_size`: the map as it is, the mask resized by nearest neighbour. A side in
            pixels compares detectors of several sizes at one: the map of the detector's size is resized to it.
        roi: which pixels are looked at; the others cannot alarm, and are neither defect nor background. Images none of
            whose defect is inside are left out. None: the detector's own `roi_`.
        ignore_value: of pixels of masks that are neither defect nor background, see `read_truth`.
        fpr_limit: of AU-PRO, in (0, 1]; None: the set's own, 0.3 for most.
        progress: told how far it is.
        each: how images are shared out; None: one after the other in this process. The results are the same.

    Raises:
        DataError: the category has no test images, an image or mask cannot be read, or a score is not finite.
    """
    stride, value_range = stride_of(detector, stride), range_of(detector)
    each = each_here(detector) if each is None else each
    fpr_limit = fpr_limit if fpr_limit is not None else category.fpr_limit or FPR_LIMIT
    check_limit(fpr_limit)
    images: list[TestScore] = []
    left_out: list[Path] = []
    doubts = Doubts()
    roi = region_for(detector, roi)
    total = len(category.test)
    if not total:
        raise DataError(f"{category.name}: no test images to evaluate; put some into test/good and test/DEFECT")
    progress("Test images", 0, total, {})
    outcomes = each(TestScoring(stride, at, roi, ignore_value), category.test)
    for done, (item, outcome) in enumerate(zip(category.test, outcomes, strict=True), start=1):
        doubts.add(outcome.doubts)
        if outcome.score is None:
            left_out.append(item.path)
            continue
        images.append(outcome.score)
        progress("Test images", done, total, {})

    defects = list(dict.fromkeys(image.defect for image in images if not image.is_good))
    good = [image for image in images if image.is_good]
    progress("Metrics", 0, 1 + len(defects), {})
    overall, pixels_of_all = measure(images, fpr_limit)
    per_defect: dict[str, DefectResult] = {}
    for done, defect in enumerate(defects, start=1):
        progress("Metrics", done, 1 + len(defects), {})
        per_defect[defect], _ = measure([image for image in images if image.defect == defect] + good, fpr_limit)
    progress("Metrics", 1 + len(defects), 1 + len(defects), {})

    threshold, image_threshold = float(detector.threshold_), float(detector.image_threshold(stride))
    validation = None
    if category.validation:
        maps = each(MapScoring(stride, at, roi), category.validation)
        validation = validation_threshold(_told(maps, len(category.validation), progress))
    return Evaluation(
        name=category.name,
        image_auroc=overall.image_auroc,
        pixel_auroc=overall.pixel_auroc,
        au_pro=overall.au_pro,
        per_defect=per_defect,
        images=images,
        curve=None if pixels_of_all is None else pixels_of_all.pro_curve(),
        threshold=threshold,
        image_threshold=image_threshold,
        at=at,
        fpr_limit=fpr_limit,
        spro=spro_of(images, category.defects_config, progress) if category.defects_config else None,
        f1=f1_of_model(images, threshold, image_threshold),
        f1_validation=None if validation is None else f1_at(images, validation),
        promise=detector.false_alarms(stride).sentence() if hasattr(detector, "false_alarms") else "",
        settings={name: _plain(value) for name, value in detector.settings.items()},
        versions=versions(),
        notes=[
            *notes(category.name, images),
            *notes_of(roi, left_out, sum(not item.is_good for item in category.test)),
            *doubts.sentences(),
        ],
        value_range=value_range,
    )


def _told(maps: Iterable[NDArray[np.float32]], total: int, progress: Progress) -> Iterator[NDArray[np.float32]]:
    for done, scores in enumerate(maps, 1):
        yield scores
        progress("Validation images", done, total, {})


def _of_all(count: int, images: int) -> str:
    """ "3 of 60 (1 … 14 %)"."""
    if not images:
        return "0 of 0"
    low, high = (percent(share) for share in clopper_pearson(count, images))
    return f"{count} of {images} ({low.removesuffix(' %')} … {high})"


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
