"""Score test images one by one: here, or wherever a detector is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from stadx.data.layouts.category import TestImage
from stadx.data.masks import IGNORED, Doubts
from stadx.data.roi import Roi, nearest
from stadx.data.value_range import read_in_range
from stadx.metrics import auroc
from stadx.metrics.image_score import image_scores

from .looked_at import truth_of_image
from .measured_detector import At, MeasuredDetector, map_of, range_of, top_share_of
from .scored_images import TestScore

Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """Does something with a detector and each of some items; gives the results in the items' order."""

    def __call__(self, do: Callable[[Any, Item], Result], items: Sequence[Item]) -> Iterable[Result]: ...


def each_here(detector: MeasuredDetector) -> Each:
    """One after the other in this process."""

    def each(do: Callable[[Any, Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        return (do(detector, item) for item in items)

    return each


class Outcome(NamedTuple):
    """What became of a test image; `score` is None where nothing of its defect is looked at."""

    score: TestScore | None
    doubts: Doubts


@dataclass(frozen=True)
class TestScoring:
    """Scores a test image; the settings are those of `evaluate`."""

    __test__ = False  # not a test class, whatever its name makes pytest think

    stride: int
    at: At
    roi: Roi | None
    ignore_value: int | None

    def __call__(self, detector: MeasuredDetector, item: TestImage) -> Outcome:
        doubts = Doubts()
        pixels = read_in_range(item.path, range_of(detector))
        size: tuple[int, int] = pixels.shape[:2]
        inside = None if self.roi is None else self.roi.of(item.path, size)
        truth = truth_of_image(item, size, inside, self.ignore_value, doubts)
        if item.mask is not None and not (truth == 1).any():
            return Outcome(None, doubts)
        anomaly_map = map_of(detector, pixels, item.path, self.stride, self.at, inside)
        if self.at != "original":
            truth = nearest(torch.from_numpy(truth), anomaly_map.shape).numpy()
        mask, counts = truth == 1, truth != IGNORED
        within = auroc(anomaly_map[counts], mask[counts]) if mask.any() and not mask[counts].all() else None
        marked = item.is_good or item.mask is not None
        looked_at = None if inside is None else nearest(torch.from_numpy(inside)[None], anomaly_map.shape)
        score = float(image_scores(torch.from_numpy(anomaly_map)[None], top_share_of(detector), looked_at))
        ignored = None if counts.all() else ~counts
        found = TestScore(item.path, item.defect, score, within, anomaly_map, mask, marked, ignored, item.mask, size)
        return Outcome(found, doubts)


@dataclass(frozen=True)
class MapScoring:
    """The map of an image file, float32 [H, W], or [n] of the pixels that are looked at."""

    stride: int
    at: At
    roi: Roi | None = None

    def __call__(self, detector: MeasuredDetector, path: Path) -> NDArray[np.float32]:
        pixels = read_in_range(path, range_of(detector))
        inside = None if self.roi is None else self.roi.of(path, pixels.shape[:2])
        anomaly_map = map_of(detector, pixels, path, self.stride, self.at, inside)
        if inside is None:
            return anomaly_map
        looked_at: NDArray[np.float32] = anomaly_map[nearest(torch.from_numpy(inside), anomaly_map.shape).numpy()]
        return looked_at
