"""The thresholds of a fitted detector, which follow from the scores of good images that judge."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError
from stadx.networks.dense import check_stride

from .thresholds import (
    FalseAlarms,
    HeldOutScores,
    check_fpr,
    counted_image_threshold_at,
    image_threshold_at,
    threshold_at,
)

Self = TypeVar("Self", bound="Thresholds")


class Thresholds:
    """Of a pixel and of an image.

    Attributes:
        strided: whether `score` leaves pixels out when told to.
        stride: of scoring, where none is told.
        top_share: share of a map's pixels, the highest, whose mean is the image score; 0: the highest alone.
        target_fpr: share of the pixels of good images that the threshold may flag.
        image_fpr: share of the good images that may count as anomalous, see `image_threshold`.
        threshold_: scores above it are anomalous; see `set_target_fpr`.
        heldout_fprs_, heldout_scores_: float32 arrays; a threshold of heldout_scores_[i] flags the share
            heldout_fprs_[i] of the held-out pixels.
        heldout_image_scores_: float32 [4, n], the image score of each image that judged, for strides 1, 2, 4, 8.
    """

    strided: ClassVar[bool] = True
    stride: int = 1
    top_share: float = 0.0

    target_fpr: float
    image_fpr: float
    threshold_: float
    heldout_fprs_: NDArray[np.float32]
    heldout_scores_: NDArray[np.float32]
    heldout_image_scores_: NDArray[np.float32]
    _expected = True  # whether the image threshold follows from the expected share, or as in files of stadx 0.1
    _own_image_threshold: tuple[float, int] | None = None  # that was chosen, and the stride that it belongs to

    def set_target_fpr(self: Self, target_fpr: float) -> Self:
        """Choose the lowest threshold that flags at most this share of the held-out good pixels.

        Args:
            target_fpr: from 0 (nothing held out is flagged) to 1.

        Returns:
            The detector itself, `threshold_` changed.
        """
        check_fpr(target_fpr)
        self.target_fpr = float(target_fpr)
        self.check_fitted()
        self.threshold_ = threshold_at(self.target_fpr, self.heldout_fprs_, self.heldout_scores_)
        return self

    def set_image_fpr(self: Self, image_fpr: float) -> Self:
        """Choose the share of the good images that may count as anomalous, from 0 (none of those that judged) to 1.

        Changes `image_threshold`; returns the detector itself.
        """
        check_fpr(image_fpr, "image_fpr")
        self.image_fpr = float(image_fpr)
        self._own_image_threshold = None
        return self

    def set_image_threshold(self: Self, threshold: float, stride: int | None = None) -> Self:
        """Choose the image threshold itself, instead of by `image_fpr`; `save` keeps it, `set_image_fpr` undoes it.

        Args:
            threshold: an image score; it is used as it is, below the pixel threshold too.
            stride: that the scores were made with from which it follows; None: the detector's own.

        Returns:
            The detector itself, `image_threshold` changed.

        Raises:
            DataError: if nothing was learned yet.
            ValueError: if it is no finite number, or for an unknown stride.
        """
        stride = self._stride(stride)
        check_stride(stride)
        if not isinstance(threshold, Real) or not np.isfinite(float(threshold)):
            raise ValueError(f"the image threshold is {threshold!r}; it must be a finite number")
        self.check_fitted()
        self._own_image_threshold = float(threshold), stride
        return self

    def image_threshold(self, stride: int | None = None) -> float:
        """The image score above which a whole image counts as anomalous.

        Another good image exceeds it with a probability of `image_fpr`, see `image_threshold_at`; what is known of that
        share tells `false_alarms`. The pixel threshold alone would flag most good images, since it lets a share of
        their pixels pass. It is never below the pixel threshold.

        One from `set_image_threshold` is returned as it is at its own stride. At another it is shifted by how much the
        scores of the images that judged change on average: an estimate, as those of defects may change otherwise.

        Args:
            stride: that images are scored with, as in `score`: the more pixels are left out, the lower is the highest.
                At a finer one than the detector's own the threshold is the same, though more pixels may exceed it.
        """
        self.check_fitted()
        stride = self._stride(stride)
        if self._own_image_threshold is not None:
            threshold, own_stride = self._own_image_threshold
            return threshold + float(np.mean(self.judged_scores(stride) - self.judged_scores(own_stride)))
        return max(self.threshold_, self._image_threshold_by(self.judged_scores(stride)))

    def _image_threshold_by(self, scores: NDArray[np.float32]) -> float:
        """What these image scores [n] of good images set, whatever the pixel threshold is."""
        at = image_threshold_at if self._expected else counted_image_threshold_at
        return at(self.image_fpr, scores)

    def false_alarms(self, stride: int | None = None) -> FalseAlarms:
        """What can be said of the share of good images that `image_threshold` flags."""
        threshold = self.image_threshold(stride)
        asked = self.image_fpr if self._own_image_threshold is None else None
        return FalseAlarms.of(asked, threshold, self.judged_scores(stride))

    def judged_scores(self, stride: int | None = None) -> NDArray[np.float32]:
        """The image score [n] of each good image that judged, in their order, at this stride; see `image_threshold`."""
        self.check_fitted()
        stride = self._stride(stride)
        check_stride(stride)
        row = min(stride, 8).bit_length() - 1 if self.strided else 0
        highest: NDArray[np.float32] = self.heldout_image_scores_[row]
        return highest

    def calibrate(self, maps: Sequence[Tensor]) -> None:
        """Find the thresholds.

        Args:
            maps: anomaly scores [H, W] of good images that the model did not learn from, at stride 1.

        Raises:
            StadxError: a score is not finite.
        """
        self._calibrate(HeldOutScores.of(maps, top_share=self.top_share))

    def _stride(self, stride: int | None) -> int:
        return self.stride if stride is None else stride

    def _calibrate(self, held_out: HeldOutScores) -> None:
        """Find the thresholds."""
        self._expected = True
        self.heldout_fprs_, self.heldout_scores_, self.heldout_image_scores_ = held_out
        self._own_image_threshold = None
        self.set_target_fpr(self.target_fpr)

    def check_fitted(self) -> None:
        """Raise `DataError` if there are no thresholds yet."""
        if not hasattr(self, "heldout_scores_"):
            raise DataError("the detector knows no good images yet; call fit, or load one")
