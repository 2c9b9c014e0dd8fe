"""Settings with which every detector of ours trains in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import teacher_file
from torch import nn

from stadx.detectors.baselines import DescriptorBaseline
from stadx.detectors.registry import STUDENT_TEACHER, detector_class
from stadx.teachers.pretrained import PretrainedNetwork, as_pretrained

FEW: dict[str, dict[str, Any]] = {
    STUDENT_TEACHER: {"scales": (17,), "image_size": None, "students": 2, "steps": 4, "crop": 16},
    "knn": {"samples": 300},
    "kmeans": {"samples": 300},
    "ocsvm": {"samples": 300},
    "l2-ae": {"samples": 300, "epochs": 4},
    "vae": {"samples": 300, "epochs": 4},
    "ssim-ae": {"image_size": 32, "samples": 8, "batch": 4, "epochs": 3},
    "anogan": {"image_size": 32, "samples": 8, "batch": 4, "epochs": 3, "width": 4, "latent": 8, "search_steps": 3},
    "ocgan": {"image_size": 29, "samples": 8, "batch": 4, "epochs": 3, "width": 8, "mining_steps": 1},
    "feature-dictionary": {"image_size": 32, "patch_size": 17, "step": 8, "samples": 60},
}


def tiny_network(name: str = "") -> PretrainedNetwork:
    """In place of EfficientNet, which is an extra."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 24, 7), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return as_pretrained(nn.Sequential(*layers), 17)


def small_settings(name: str, folder: Path) -> dict[str, Any]:
    """Settings of a detector, its teacher in `folder`; the test is skipped where it needs scikit-learn in vain."""
    settings: dict[str, Any] = {"held_out": 0.3, **FEW[name]}
    if name == STUDENT_TEACHER:
        settings["teachers"] = (str(teacher_file(folder)),)
    if issubclass(detector_class(name), DescriptorBaseline):
        settings |= {"patch_size": 17, "image_size": (12, 16), "teacher": str(teacher_file(folder))}
        if name in ("knn", "kmeans", "ocsvm"):
            pytest.importorskip("sklearn")
    return settings
