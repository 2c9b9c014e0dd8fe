"""Thresholds as a float32 graph compares with them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stadx.detectors.base import Calibrated


class Thresholds(NamedTuple):
    """Scores above them are anomalous.

    Attributes:
        pixel: of a pixel.
        image: of an image's score.
    """

    pixel: float
    image: float

    @classmethod
    def of(cls, detector: Calibrated) -> Thresholds:
        """Those that a detector has at its own stride."""
        return cls(float(detector.threshold_), float(detector.image_threshold()))

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """The graph's inputs, float32 [1] each."""
        return {"pixel_threshold": _below(self.pixel), "image_threshold": _below(self.image)}


def _below(threshold: float) -> NDArray[np.float32]:
    """The highest float32 that is not above it: a float32 score is above both, or above none."""
    value = np.float32(threshold)
    return np.array([np.nextafter(value, np.float32(-np.inf)) if float(value) > threshold else value], np.float32)
