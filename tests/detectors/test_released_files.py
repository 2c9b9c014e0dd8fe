"""Files that released versions wrote are read, and say what they said."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stadx import Detector, dense_features, normalize_images
from stadx.detectors.registry import load_model
from stadx.teachers.teacher_files import load_teacher

pytestmark = pytest.mark.arithmetic


RELEASED = Path(__file__).parent / "released"


@pytest.fixture(params=["0.1.0"])
def release(request: pytest.FixtureRequest) -> Path:
    return RELEASED / str(request.param)


def unpacked(release: Path, name: str, folder: Path) -> Path:
    """The weights are thinned out and packed: networks of this shape have megabytes."""
    file = folder / f"{name}.safetensors"
    file.write_bytes(lzma.decompress((release / f"{file.name}.xz").read_bytes()))
    return file


def said(release: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(release / "said.npz") as file:
        return dict(file), json.loads((release / "thresholds.json").read_text())


def test_channels_of_a_released_detector_count_alike(release: Path, tmp_path: Path) -> None:
    detector = Detector.load(unpacked(release, "detector", tmp_path))
    assert detector.channel_weight == 0 and detector.ensembles_[0].channel_errors is None
    assert detector.steps_of(65) == detector.steps
    assert detector.level_limit == 10 == detector.normalizations_[0].limit


@pytest.mark.parametrize("name", ["detector", "knn"])
@pytest.mark.parametrize(
    "instruction_set", [pytest.param("baseline", marks=pytest.mark.slow), "avx2", "avx512"], indirect=True
)
def test_a_released_model_says_what_it_said(release: Path, name: str, tmp_path: Path, instruction_set: str) -> None:
    detector = load_model(unpacked(release, name, tmp_path))
    arrays, thresholds = said(release)
    images = torch.from_numpy(arrays["images"])
    for stride in (1, 4):
        assert detector.image_threshold(stride) == thresholds[f"{name}.image{stride}"]
        before = torch.from_numpy(arrays[f"{name}.maps{stride}"])
        # Winograd's error is at most 1e-3 of the descriptors' deviation, in the maps written and in these
        torch.testing.assert_close(
            detector.score(images, stride=stride), before, rtol=0, atol=2e-3 * float(before.std())
        )
    assert detector.threshold_ == thresholds[name]
    assert detector.set_target_fpr(0.1).threshold_ == thresholds[f"{name}.tenth"]
    detector.save(tmp_path / "again.safetensors")
    assert torch.equal(load_model(tmp_path / "again.safetensors").score(images), detector.score(images))


def test_a_released_teacher_describes_as_it_did(release: Path, tmp_path: Path, instruction_set: str) -> None:
    teacher = load_teacher(unpacked(release, "teacher", tmp_path))
    arrays, _ = said(release)
    before = torch.from_numpy(arrays["teacher.descriptors"])
    now = dense_features(teacher, normalize_images(torch.from_numpy(arrays["images"][:1])))[:, ::32]
    torch.testing.assert_close(now, before, rtol=0, atol=2e-3 * float(before.std()))


def test_a_released_model_does_not_know_its_images_but_ranks(release: Path, tmp_path: Path) -> None:
    detector = load_model(unpacked(release, "detector", tmp_path))
    assert isinstance(detector, Detector)
    ranking = detector.rank(torch.from_numpy(said(release)[0]["images"]))
    assert ranking.known is None and ranking.images and all(item.novelty > 0 for item in ranking.images)
