"""Detectors that were never trained, but score as trained ones do, and what exporting them needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from small import good_images, random_teacher
from torch import Tensor

from stadx import Detector
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.normalization import Normalization
from stadx.detectors.thresholds import HeldOutScores

SIZE = 72, 80


def untrained(
    scales: Sequence[int] = (33,), students: int = 2, roi: np.ndarray | None = None, **settings: Any
) -> Detector:
    """A detector of random networks whose thresholds lie within the scores of `images()`."""
    detector = Detector(scales, students, **{"image_size": None, "target_fpr": 0.2, "image_fpr": 0.5, **settings})
    ensembles, normalizations = [], []
    for p in scales:
        teacher, *taught = [random_teacher(p, seed) for seed in range(students + 1)]
        if detector.border != "inside":
            teacher.padding = detector.border
        mean, std = torch.linspace(-0.2, 0.2, 8), torch.linspace(0.8, 1.2, 8)
        ensembles.append(Ensemble(teacher, taught, mean, std, detector.is_inside(p)))
        deviations = {"e": (5.0, float("inf")), "v": (float("inf"), 3.0), "both": (5.0, 3.0)}[detector.terms]
        normalizations.append(Normalization(14.0, deviations[0], 3.0, deviations[1], 8.0, detector.level))
    made = HeldOutScores.of([torch.rand(4, 4)])
    detector = Detector.from_parts(detector.settings, ensembles, normalizations, made)
    detector.calibrate(list(detector.score(images())))
    detector.roi_ = roi
    return detector


def images(size: tuple[int, int] = SIZE, seed: int = 1) -> Tensor:
    """Four images uint8 [4, 3, H, W]: stripes that bend, each with a smooth spot."""
    stripes = good_images(4, size, seed).float()
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, n) for n in size), indexing="ij")
    for image in stripes:
        y, x = torch.rand(2, generator=generator).tolist()
        image += 90 * torch.exp(-40 * ((rows - y) ** 2 + (columns - x) ** 2))
    return stripes.clamp(0, 255).to(torch.uint8)


def frames(of: Tensor) -> np.ndarray:
    """Images as a camera gives them: uint8 [B, H, W, 3]."""
    return of.permute(0, 2, 3, 1).contiguous().numpy()


def lower_half() -> np.ndarray:
    """A region of interest of another size than the images."""
    mask = np.zeros((10, 9), bool)
    mask[5:, 1:] = True
    return mask
