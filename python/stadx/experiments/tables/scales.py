"""Detectors of single scales, each trained once and scoring an image once, and what they say together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stadx.data.tensors import resize, resize_maps
from stadx.data.value_range import ValueRange
from stadx.detectors.student_teacher.channel_weights import scale_weights
from stadx.detectors.student_teacher.detector import Detector


class OneScale:
    """A detector of one scale that computes the map of an image once, however often it is asked for it.

    Maps are kept at the detector's image size, which for large images is a small part of their own.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self._maps: dict[tuple[bytes, int], Tensor] = {}

    @property
    def threshold_(self) -> float:
        return float(self.detector.threshold_)

    @property
    def stride(self) -> int:
        return self.detector.stride

    @property
    def value_range_(self) -> ValueRange | None:
        return self.detector.value_range_

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.detector.settings

    def image_threshold(self, stride: int = 1) -> float:
        """As `Detector.image_threshold`."""
        return self.detector.image_threshold(stride)

    def score(self, images: Tensor, *, stride: int = 1) -> Tensor:
        """As `Detector.score`."""
        key = hashlib.sha256(repr(images.shape).encode() + images.cpu().numpy().tobytes()).digest(), stride
        if key not in self._maps:
            self._maps[key] = self.detector.score(resize(images, self.detector.image_size), stride=stride)
        return resize_maps(self._maps[key], *images.shape[2:])


class ScalesTogether:
    """The mean over the scales (Eq. 12), weighted: what a `Detector` of them gives, to rounding, without scoring again.

    Its thresholds, which only colour pictures, are likewise those of theirs: those of all scales together would take
    the held-out images once more.
    """

    def __init__(self, scales: Sequence[OneScale]) -> None:
        self.scales = scales
        self.settings: dict[str, Any] = {
            **scales[0].settings,
            "scales": [p for s in scales for p in s.settings["scales"]],
        }
        ensembles = [ensemble for s in scales for ensemble in s.detector.ensembles_]
        first = scales[0].detector
        self._weights = scale_weights(ensembles, first.channel_weight, first.scale_weight)
        self.threshold_ = self._mean([s.threshold_ for s in scales])
        self.stride = scales[0].stride
        self.value_range_ = scales[0].value_range_  # all learned from the same images

    def image_threshold(self, stride: int = 1) -> float:
        """As `Detector.image_threshold`."""
        return self._mean([s.image_threshold(stride) for s in self.scales])

    def score(self, images: Tensor, *, stride: int = 1) -> Tensor:
        """As `Detector.score`."""
        maps = [w * scale.score(images, stride=stride) for w, scale in zip(self._weights, self.scales, strict=True)]
        return torch.stack(maps).mean(0)

    def _mean(self, values: Sequence[float]) -> float:
        return float(np.mean([w * value for w, value in zip(self._weights, values, strict=True)]))
