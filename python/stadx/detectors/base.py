"""What all detectors share: settings, and thresholds that follow from the scores of held-out good images."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError

from .thresholds import HeldOutScores, check_fpr, image_threshold_at, threshold_at

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
    """A detector's thresholds, of a pixel and of an image.

    Attributes:
        target_fpr: share of the pixels of good images that the threshold may flag.
        image_fpr: share of the good images that may count as anomalous, see `image_threshold`.
        threshold_: scores above it are anomalous; see `set_target_fpr`.
        heldout_fprs_, heldout_scores_: float32 arrays; a threshold of heldout_scores_[i] flags the share
            heldout_fprs_[i] of the held-out pixels.
        heldout_image_scores_: float32 [4, n], the highest score of each held-out image, scored with strides 1, 2, 4, 8.
    """

    target_fpr: float
    image_fpr: float
    threshold_: float
    heldout_fprs_: NDArray[np.float32]
    heldout_scores_: NDArray[np.float32]
    heldout_image_scores_: NDArray[np.float32]
    strided: ClassVar[bool] = True  # whether `score` leaves pixels out when told to

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

    def set_image_fpr(self: Self, image_fpr: float) -> Self:
        """Choose the share of the good images that may count as anomalous.

        Args:
            image_fpr: from 0 (none of those held out) to 1.

        Returns:
            The detector itself, `image_threshold` changed.
        """
        check_fpr(image_fpr, "image_fpr")
        self.image_fpr = float(image_fpr)
        return self

    def image_threshold(self, stride: int = 1) -> float:
        """The image score above which a whole image counts as anomalous.

        That is the lowest score that at most the share `image_fpr` of the held-out good images exceed: the pixel
        threshold alone would flag most good images, since it lets a share of their pixels pass. It is never below the
        pixel threshold.

        Args:
            stride: that images are scored with, as in `score`: the more pixels are left out, the lower is the highest.
        """
        self._check_fitted()
        row = min(stride, 8).bit_length() - 1 if self.strided else 0
        return max(self.threshold_, image_threshold_at(self.image_fpr, self.heldout_image_scores_[row]))

    def _calibrate(self, held_out: HeldOutScores) -> None:
        """Find the thresholds."""
        self.heldout_fprs_, self.heldout_scores_, self.heldout_image_scores_ = held_out
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
