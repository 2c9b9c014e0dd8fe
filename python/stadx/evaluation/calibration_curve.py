"""What every image threshold does to known images, and which one suits a goal best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stadx.metrics.intervals import percent

_SLACK = 1e-9  # of shares of whole images, and of costs, against rounding


@dataclass(frozen=True)
class CalibrationCurve:
    """What every threshold that makes a difference does: found against flagged.

    Attributes:
        thresholds: float64 [T], falling: above all scores, between each two neighbouring ones, below all.
        found: how many images with defects score above it, int64 [T], rising.
        flagged: how many good images do, int64 [T], rising.
        defects, good: how many images there are.
    """

    thresholds: NDArray[np.float64]
    found: NDArray[np.int64]
    flagged: NDArray[np.int64]
    defects: int
    good: int

    @classmethod
    def of(cls, good: NDArray[np.float64], defects: NDArray[np.float64]) -> CalibrationCurve:
        """Of image scores, [n] each."""
        values = np.unique(np.concatenate([good, defects]))
        gaps = np.diff(values) if len(values) > 1 else np.abs(values) + 1
        middles = values[:-1] + np.diff(values) / 2
        thresholds = np.concatenate([[values[0] - gaps[0] / 2], middles, [values[-1] + gaps[-1] / 2]])[::-1]
        return cls(thresholds, _above(defects, thresholds), _above(good, thresholds), len(defects), len(good))


@dataclass(frozen=True)
class _Share:
    """A share of the images of a kind, from 0 to 1, else `ValueError`."""

    share: float

    name: ClassVar[str]

    def __post_init__(self) -> None:
        _check_share(self.name, self.share)


class Recall(_Share):
    """As few good images flagged as possible with at least this share of the defects found."""

    name = "recall"

    def __str__(self) -> str:
        return f"at least {percent(self.share, 4)} of the defects found, as few good images flagged as possible"

    def best(self, curve: CalibrationCurve) -> int:
        """The index of the threshold; of those that flag as few good images, the one that finds most."""
        enough = curve.found >= math.ceil(self.share * curve.defects - _SLACK)
        return int(np.flatnonzero(enough & (curve.flagged == curve.flagged[enough].min()))[-1])


class ImageFpr(_Share):
    """As many defects found as possible with at most this share of the good images flagged."""

    name = "image_fpr"

    def __str__(self) -> str:
        return f"at most {percent(self.share, 4)} of the good images flagged, as many defects found as possible"

    def best(self, curve: CalibrationCurve) -> int:
        """The index of the threshold; of those that find as many defects, the one that flags fewest."""
        few = curve.flagged <= math.floor(self.share * curve.good + _SLACK)
        return int(np.flatnonzero(few & (curve.found == curve.found[few].max()))[0])


@dataclass(frozen=True)
class Cost:
    """The lowest expected cost of an image.

    Attributes:
        miss: what a defect costs that is not found.
        alarm: what a good image costs that is flagged.
        defect_rate: the share of defective parts where the threshold is used, not among the images given.

    Raises:
        ValueError: for costs that are no positive numbers, or a rate outside 0 to 1.
    """

    miss: float
    alarm: float
    defect_rate: float = 0.01

    def __post_init__(self) -> None:
        if not (0 < self.miss < math.inf and 0 < self.alarm < math.inf):
            raise ValueError(f"the costs are {self.miss!r} and {self.alarm!r}; both must be positive numbers")
        _check_share("defect_rate", self.defect_rate)

    def __str__(self) -> str:
        return (
            f"lowest cost where a missed defect costs {self.miss:g}, a false alarm {self.alarm:g}, and "
            f"{percent(self.defect_rate, 4)} of the parts are defective"
        )

    def best(self, curve: CalibrationCurve) -> int:
        """The index of the threshold; of those that cost the same, the one that finds most."""
        missed = 1 - curve.found / curve.defects
        costs = self.miss * self.defect_rate * missed + self.alarm * (1 - self.defect_rate) * curve.flagged / curve.good
        return int(np.flatnonzero(costs <= costs.min() * (1 + _SLACK))[-1])


Goal = Recall | ImageFpr | Cost
"""What a threshold is chosen for."""


def _above(scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many scores are above each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="right")


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} is {share!r}; it must lie between 0 and 1")
