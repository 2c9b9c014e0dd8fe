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
    """The mean over the scales (Eq. 12): what a `Detector` of them all gives, to rounding, without scoring again.

    Its thresholds, which only colour pictures, are the means of theirs: those of all scales together would take the
    held-out images once more.
    """

    def __init__(self, scales: Sequence[OneScale]) -> None:
        self.scales = scales
        self.settings: dict[str, Any] = {
            **scales[0].settings,
            "scales": [p for s in scales for p in s.settings["scales"]],
        }
        self.threshold_ = float(np.mean([s.threshold_ for s in scales]))
        self.stride = scales[0].stride
        self.value_range_ = scales[0].value_range_  # all learned from the same images

    def image_threshold(self, stride: int = 1) -> float:
        """As `Detector.image_threshold`."""
        return float(np.mean([s.image_threshold(stride) for s in self.scales]))

    def score(self, images: Tensor, *, stride: int = 1) -> Tensor:
        """As `Detector.score`."""
        return torch.stack([scale.score(images, stride=stride) for scale in self.scales]).mean(0)
