"""What evaluation and prediction need of a detector, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.data.masks import BoolArray
from stadx.data.tensors import ImageSize, resize
from stadx.data.value_range import ValueRange, read_in_range

from .looked_at import roi_argument

At = Literal["original", "model"] | int
"""The size at which maps and masks are compared: the image's own, what the detector resizes images to, or a square's
side."""


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


def map_of(
    detector: MeasuredDetector,
    pixels: NDArray[np.uint8] | NDArray[np.float32],
    path: Path,
    stride: int,
    at: At,
    inside: BoolArray | None = None,
) -> NDArray[np.float32]:
    """The map of an image [H, W, 3] as `read_in_range` reads it, float32 [H, W] of the size that `at` says."""
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
    if at != "original":
        tensor = resize(tensor, working_size_of(detector))
    scored = detector.score(tensor, stride=stride, **roi_argument(inside))
    if isinstance(at, int):
        scored = resize(scored[:, None].float(), at)[:, 0]
    anomaly_map: NDArray[np.float32] = scored[0].float().cpu().numpy()
    if not np.isfinite(anomaly_map).all():
        raise DataError(f"{path}: the model's score is not a finite number here; train the model again")
    return anomaly_map


def working_size_of(detector: MeasuredDetector) -> ImageSize:
    """What images are resized to before scoring; of a detector that does not say, its setting `image_size`."""
    size: ImageSize = getattr(detector, "working_size", detector.settings.get("image_size"))
    return size


def range_of(detector: object) -> ValueRange | None:
    """Which values of image files are black and white to a detector; None of one that does not say: those of 8 bits."""
    found: ValueRange | None = getattr(detector, "value_range_", None)
    return found


def map_of_file(detector: MeasuredDetector, path: Path, stride: int, at: At) -> NDArray[np.float32]:
    """The same of an image file."""
    return map_of(detector, read_in_range(path, range_of(detector)), path, stride, at)
