"""Every detector keeps to what `stadx.testing.check_detector` says, and that notices those that do not."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from small import teacher_file
from stadx.testing import check_detector
from torch import nn

from stadx.detectors.base import Calibrated
from stadx.detectors.baselines import DescriptorBaseline, feature_dictionary
from stadx.detectors.registry import STUDENT_TEACHER, detector_class, detector_names
from stadx.teachers.pretrained import PretrainedNetwork, as_pretrained

_numbers = count()
DOCS = Path(__file__).resolve().parents[2] / "docs"
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


def _tiny_network(name: str = "") -> PretrainedNetwork:
    """In place of EfficientNet, which is an extra."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 24, 7), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return as_pretrained(nn.Sequential(*layers), 17)


@pytest.mark.parametrize("name", detector_names())
def test_every_detector_of_ours(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_dictionary, "load_pretrained", _tiny_network)
    cls = detector_class(name)
    assert cls.method == name
    settings: dict[str, Any] = {"held_out": 0.3, **FEW[name]}
    if name == STUDENT_TEACHER:
        settings["teachers"] = (str(teacher_file(tmp_path)),)
    if issubclass(cls, DescriptorBaseline):
        settings |= {"patch_size": 17, "image_size": (12, 16), "teacher": str(teacher_file(tmp_path))}
        if name in ("knn", "kmeans", "ocsvm"):
            pytest.importorskip("sklearn")
    check_detector(lambda: cls(**settings))


def _example() -> type[Calibrated]:
    """The detector of docs/extending/detector.md."""
    text = (DOCS / "extending" / "detector.md").read_text("utf-8")
    code = re.search(r'^```python title="mean_image.py"\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    assert code is not None
    namespace: dict[str, Any] = {"__name__": "mean_image"}
    exec(compile(code[1], "mean_image.py", "exec", dont_inherit=True), namespace)
    found: type[Calibrated] = namespace["MeanImageDetector"]
    return found


def _without_return(self: Any, *args: Any, **settings: Any) -> None:
    type(self).__base__.fit(self, *args, **settings)


def _with_state(self: Any, *args: Any, **settings: Any) -> Any:
    self.learned = 1
    return type(self).__base__.fit(self, *args, **settings)


def _with_random_numbers(self: Any, *args: Any, **settings: Any) -> Any:
    torch.rand(1)
    return type(self).__base__.fit(self, *args, **settings)


def _calibrated_elsewhere(self: Any, *args: Any, **settings: Any) -> Any:
    type(self).__base__.fit(self, *args, **settings)
    self.heldout_image_scores_ = self.heldout_image_scores_ + 1
    return self


def _learning_otherwise(self: Any, *args: Any, **settings: Any) -> Any:
    seed, self.seed = self.seed, next(_numbers)
    type(self).__base__.fit(self, *args, **settings)
    self.seed = seed
    return self


def _too_small(self: Any, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
    return type(self).__base__.score(self, images, stride=stride)[:, ::stride]


def _of_bytes(self: Any, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
    maps = type(self).__base__.score(self, images, stride=stride)
    return maps if images.dtype == torch.uint8 else maps / 255


def _to_no_file(cls: Any, path: Path) -> Any:
    detector = cls.__base__.load.__func__(cls, path)
    detector.mean_ = detector.mean_ + 0.1
    return detector


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        ("fit", _without_return, "`fit` does not return the detector"),
        ("fit", _with_state, "`fit` sets learned"),
        ("fit", _with_random_numbers, "random numbers"),
        ("fit", _calibrated_elsewhere, "highest scores of held-out images are of none of the training images"),
        ("fit", _learning_otherwise, "another detector with the same settings learns something else"),
        ("score", _too_small, "with stride 2 is"),
        ("score", _of_bytes, r"images in \[0, 1\] score otherwise"),
        ("load", classmethod(_to_no_file), "a loaded detector scores otherwise"),
        ("__repr__", lambda self: f"{type(self).__name__}()", "`repr` does not show the settings"),
        (
            "settings",
            property(lambda self: {"target_fpr": self.target_fpr, "image_fpr": self.image_fpr}),
            "`settings` are not the constructor's arguments",
        ),
        ("check_fitted", lambda self: None, "`score` before `fit` raises"),
        ("__post_init__", lambda self: None, "the constructor with target_fpr = 1.5 raises no ValueError"),
        ("set_image_threshold", lambda self, threshold, stride: self, "forgets the threshold of `set_image_threshold`"),
        ("set_target_fpr", lambda self, rate: self, "raises no"),
        ("method", None, "the class has no attribute `method`"),
    ],
)
def test_faults_are_noticed(name: str, fault: Any, message: str) -> None:
    example = _example()
    faulty = type(example.__name__, (example,), {name: fault})
    with pytest.raises(AssertionError, match=message):
        check_detector(lambda: faulty(image_size=16, held_out=0.3))
