"""An image threshold from the scores of known good and known defective images: nothing is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.metrics import auroc
from stadx.metrics.intervals import clopper_pearson, percent

from .calibration_curve import CalibrationCurve, Goal, Recall

_WIDE = 0.1  # an interval wider than this says little


class Share(NamedTuple):
    """k of n images."""

    k: int
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the true share."""
        return clopper_pearson(self.k, self.n)

    def __str__(self) -> str:
        return f"{self.k} of {self.n}"

    def to_json(self) -> dict[str, Any]:
        return {"k": self.k, "n": self.n, "interval": list(self.interval)}


@dataclass(frozen=True)
class Calibration:
    """The threshold that was chosen, and what it does.

    Attributes:
        goal: what it was chosen for.
        threshold: image scores above it are anomalous. It lies in the middle between two scores, so that rounding on
            another machine flags no other images.
        found, flagged: shares of the images with defects and of the good ones that score above it. It was chosen by
            these images: such figures are too good.
        found_left_out, flagged_left_out: how many score above the threshold that all other images choose, each image
            left out in turn; None where there is but one of a kind. Their intervals are nearly exact: images that
            choose for each other are not independent.
        image_auroc: of the scores.
        good, defects: the scores, float64 [n] each.
        curve: found against flagged for every threshold.
    """

    goal: Goal
    threshold: float
    found: Share
    flagged: Share
    found_left_out: Share | None
    flagged_left_out: Share | None
    image_auroc: float
    good: NDArray[np.float64]
    defects: NDArray[np.float64]
    curve: CalibrationCurve

    def at(self, threshold: float) -> tuple[Share, Share]:
        """Defects found and good images flagged at another threshold."""
        above = (int((scores > threshold).sum()) for scores in (self.defects, self.good))
        return Share(next(above), len(self.defects)), Share(next(above), len(self.good))

    def notes(self) -> list[str]:
        """Say in a sentence each what the figures do not say."""
        found, flagged = self.found_left_out, self.flagged_left_out
        notes = []
        if self.found.k == 0:
            notes.append("No defect is found with this goal; let more good images be flagged, or train longer.")
        if 2 * self.flagged.k > self.flagged.n:
            notes.append("Most good images are flagged with this goal; let more defects be missed, or train longer.")
        if self.image_auroc < 0.5:
            notes.append("The defects score lower than the good images; see that they are not exchanged.")
        if found is None or flagged is None:
            notes.append("The images chose the threshold, so its figures are too good.")
            found, flagged = self.found, self.flagged
        else:
            notes.append(
                "The images chose the threshold, so its own figures are too good. With each image left out, the others "
                "chose it: that is nearer to what new images will show."
            )
        low, high = found.interval
        if high - low > _WIDE:
            notes.append(
                f"With {found.n} defect images, {found.k} found, the true share may be as low as {percent(low)}."
            )
        low, high = flagged.interval
        if high - low > _WIDE:
            notes.append(
                f"With {flagged.n} good images, {flagged.k} flagged, the true share may be up to {percent(high)}."
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        """Everything but the scores as values that `json.dumps` takes."""
        left_out = (self.found_left_out, self.flagged_left_out)
        return {
            "goal": {type(self.goal).__name__: vars(self.goal)},
            "threshold": self.threshold,
            "found": self.found.to_json(),
            "flagged": self.flagged.to_json(),
            "found_left_out": left_out[0] and left_out[0].to_json(),
            "flagged_left_out": left_out[1] and left_out[1].to_json(),
            "image_auroc": self.image_auroc,
            "notes": self.notes(),
            "curve": {name: getattr(self.curve, name).tolist() for name in ("thresholds", "found", "flagged")},
        }


def choose_threshold(good: Sequence[float], defects: Sequence[float], goal: Goal | None = None) -> Calibration:
    """Choose an image threshold.

    Args:
        good: image scores of good images that the model did not learn from.
        defects: image scores of images with defects.
        goal: what for; None is `Recall(0.95)`.

    Returns:
        The threshold, for `Detector.set_image_threshold`, and what it does.

    Raises:
        DataError: if one of the kinds is missing, a score is not finite, or all are equal.
    """
    goal = Recall(0.95) if goal is None else goal
    of_good, of_defects = np.asarray(good, np.float64), np.asarray(defects, np.float64)
    for scores, kind in ((of_good, "good"), (of_defects, "defect")):
        if not scores.size:
            raise DataError(f"there are no {kind} images; a threshold is chosen by images of both kinds")
        if scores.ndim != 1 or not np.isfinite(scores).all():
            raise DataError(f"the scores of the {kind} images are no list of finite numbers; give one for each image")
    if len(np.unique(np.concatenate([of_good, of_defects]))) == 1:
        raise DataError(
            f"all images score {of_good[0]:g}, good or not, so no threshold tells them apart; train the model again"
        )
    curve = CalibrationCurve.of(of_good, of_defects)
    chosen = goal.best(curve)
    found, flagged = _left_out(of_good, of_defects, goal)
    labels = [0] * len(of_good) + [1] * len(of_defects)
    return Calibration(
        goal,
        float(curve.thresholds[chosen]),
        Share(int(curve.found[chosen]), curve.defects),
        Share(int(curve.flagged[chosen]), curve.good),
        found,
        flagged,
        auroc([*of_good.tolist(), *of_defects.tolist()], labels),
        of_good,
        of_defects,
        curve,
    )


def _left_out(
    good: NDArray[np.float64], defects: NDArray[np.float64], goal: Goal
) -> tuple[Share, Share] | tuple[None, None]:
    """Defects found and good images flagged, each by the threshold that all other images choose."""
    if len(good) < 2 or len(defects) < 2:
        return None, None

    def exceeds(score: float, others: tuple[NDArray[np.float64], NDArray[np.float64]]) -> bool:
        curve = CalibrationCurve.of(*others)
        return bool(score > curve.thresholds[goal.best(curve)])

    found = sum(exceeds(score, (good, np.delete(defects, i))) for i, score in enumerate(defects.tolist()))
    flagged = sum(exceeds(score, (np.delete(good, i), defects)) for i, score in enumerate(good.tolist()))
    return Share(found, len(defects)), Share(flagged, len(good))
