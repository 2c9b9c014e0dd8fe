"""Every detector keeps to what `stadx.testing.check_detector` says, and that notices those that do not."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from small_detectors import small_settings, tiny_network
from stadx.testing import check_detector

from stadx.detectors.base import Calibrated
from stadx.detectors.baselines import feature_dictionary
from stadx.detectors.registry import detector_class, detector_names

_numbers = count()
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", detector_names())
def test_every_detector_of_ours(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_dictionary, "load_pretrained", tiny_network)
    cls = detector_class(name)
    assert cls.method == name
    settings = small_settings(name, tmp_path)
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
