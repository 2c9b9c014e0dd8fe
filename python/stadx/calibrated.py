"""What all detectors share: settings, and a threshold that follows from the scores of held-out good images."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .calibration import threshold_at, threshold_levels
from .detector_checks import check_fpr
from .errors import DataError

Self = TypeVar("Self", bound="Calibrated")


class Prediction(NamedTuple):
    """What a detector's `predict` finds.

    Attributes:
        maps: anomaly maps, float32 [B, H, W].
        image_scores: the maximum of each map, float32 [B].
        masks: where a map is above the threshold, bool [B, H, W].
    """

    maps: Tensor
    image_scores: Tensor
    masks: Tensor


class Calibrated:
    """A detector's threshold.

    Attributes:
        target_fpr: share of the pixels of good images that the threshold may flag.
        threshold_: scores above it are anomalous; see `set_target_fpr`.
        heldout_fprs_, heldout_scores_: float32 arrays; a threshold of heldout_scores_[i] flags the share
            heldout_fprs_[i] of the held-out pixels.
    """

    target_fpr: float
    threshold_: float
    heldout_fprs_: NDArray[np.float32]
    heldout_scores_: NDArray[np.float32]

    def set_target_fpr(self: Self, target_fpr: float) -> Self:
        """Choose the lowest threshold that flags at most this share of the held-out good pixels.

        Args:
            target_fpr: from 0 (nothing held out is flagged) to 1.

        Returns:
            The detector itself, `threshold_` changed.
        """
        check_fpr(target_fpr)
        self.target_fpr = float(target_fpr)
        self._check_fitted()
        self.threshold_ = threshold_at(self.target_fpr, self.heldout_fprs_, self.heldout_scores_)
        return self

    def _calibrate(self, maps: Sequence[Tensor]) -> None:
        """Find the threshold from maps of held-out good images."""
        self.heldout_fprs_, self.heldout_scores_ = threshold_levels(maps)
        self.set_target_fpr(self.target_fpr)

    def _predicted(self, maps: Tensor) -> Prediction:
        return Prediction(maps, maps.flatten(1).amax(1), maps > self.threshold_)

    def _check_fitted(self) -> None:
        if not hasattr(self, "heldout_scores_"):
            raise DataError("the detector knows no good images yet; call fit, or load one")

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
