"""A detector that learns further good images: the old kind, the new one, defects, and small models of the old."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from small import good_images, teacher_file
from torch import Tensor

from stadx import Detector

OLD = good_images(12, (32, 32))


def brighter(count: int, seed: int) -> Tensor:
    """The new kind."""
    return (good_images(count, (32, 32), seed).float() * 0.6 + 90).to(torch.uint8)


NEW = brighter(6, 3)
DEFECTS = good_images(8, (32, 32), 8)
DEFECTS[:, :, 10:20, 10:20] = 200


def new_detector(folder: Path, **settings: Any) -> Detector:
    given = {"students": 2, "steps": 60, "image_size": None, "image_fpr": 0.1, "precision": "float32", **settings}
    return Detector((17,), teachers=[teacher_file(folder)], **given)


def flagged(detector: Detector, images: Tensor) -> int:
    return int((detector.predict(images).image_scores > detector.image_threshold()).sum())


def same(first: Detector, second: Detector) -> bool:
    return first.model_hash() == second.model_hash()


def trained_model(folder: Path) -> Path:
    """The file of a model that keeps no image."""
    new_detector(folder).fit(OLD).save(folder / "m.safetensors")
    return folder / "m.safetensors"
