"""What evaluation and prediction need of a detector, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from stadx.data.value_range import ValueRange


class MeasuredDetector(Protocol):
    """What an evaluation needs of a detector."""

    @property
    def threshold_(self) -> float: ...

    def image_threshold(self, stride: int = 1) -> float: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor: ...


def stride_of(detector: object, stride: int | None) -> int:
    """The stride to score with: the detector's own, if it has one, where none is given."""
    return int(getattr(detector, "stride", 1)) if stride is None else stride


def top_share_of(detector: object) -> float:
    """The share of a map's pixels whose mean is the image score; of a detector that does not say, 0: the highest."""
    return float(getattr(detector, "top_share", 0.0))


def range_of(detector: object) -> ValueRange | None:
    """Which values of image files are black and white to a detector; None of one that does not say: those of 8 bits."""
    found: ValueRange | None = getattr(detector, "value_range_", None)
    return found
