"""What a detector finds in images."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """What a detector's `predict` finds.

    Attributes:
        maps: anomaly maps, float32 [B, H, W].
        image_scores: the highest of each map, or the mean of the highest, see `Calibrated.top_share`; float32 [B].
        masks: where a map is above the threshold, bool [B, H, W].
    """

    maps: Tensor
    image_scores: Tensor
    masks: Tensor
