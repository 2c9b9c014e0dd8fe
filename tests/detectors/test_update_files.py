"""What a model file keeps for updates: where images were left out, images themselves, and files of before."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from small import good_images
from test_released_files import RELEASED, unpacked
from updates import NEW, OLD, brighter, new_detector, same, trained_model

from stadx import Detector
from stadx.core.errors import DataWarning
from stadx.core.files import read_model
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.known_images import LEARNED, KnownImages
from stadx.detectors.student_teacher.memory import Memory
from stadx.networks import patch_network

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]

WIDE = dict(patch_network._LAYERS)  # before networks are narrow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> Path:
    return trained_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("changed", [False, True])
def test_a_file_without_lineage_is_updated(trained: Path, changed: bool) -> None:
    """Who left out its images follows from their number and order; it is believed if it reproduces the scores."""
    detector = Detector.load(trained)
    expected = detector.known_.left_out
    detector.known_, detector.lineage_ = KnownImages(), []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        detector.update(NEW, old=OLD.flip(0) if changed else OLD)
    assert detector.lineage_[-1]["images"] == {"new": 6, "old": 12, "unknown": 12 if changed else 0}
    assert detector.known_.left_out[:12] == ((LEARNED,) * 12 if changed else expected)
    assert detector.false_alarms().images == (6 if changed else 18)
    assert [str(w.message)[:29] for w in told] == ["12 of the old images are not k"[:29]] * changed


def test_images_of_a_file_of_before_are_known_by_its_own_statistics(tmp_path: Path) -> None:
    contrasts = torch.linspace(0.02, 1, 12)[:, None, None, None]
    uneven = ((OLD.float() - 128) * contrasts + 128).to(torch.uint8)
    before = {"level": 0.5, "level_limit": 10.0, "channel_weight": 0.0, "scale_weight": 0.0}
    detector = new_detector(tmp_path, **before).fit(uneven)
    detector.level_limit = 2.0  # from now on
    detector.known_, detector.lineage_ = KnownImages(), []
    kept = detector._held_out_scores()
    anew = copy.deepcopy(detector).fit(uneven)._held_out_scores()
    assert not np.allclose(anew.image_scores, kept.image_scores, atol=0.05 * float(kept.image_scores.std()))
    detector.update(NEW, old=uneven, steps=1)
    assert detector.lineage_[-1]["images"]["unknown"] == 0


def test_a_released_file_is_updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_network, "_LAYERS", WIDE)
    detector = Detector.load(unpacked(RELEASED / "0.1.0", "detector", tmp_path))
    assert detector.lineage_ == [] and "previous versions" in detector.facts()["lineage"]
    with pytest.warns(DataWarning, match="replayed"):
        detector.update(good_images(2, (9, 10), 1), old=good_images(2, (9, 10)), steps=1)
    detector.save(tmp_path / "m")
    assert same(Detector.load(tmp_path / "m"), detector)


def test_memory_keeps_to_its_budget_and_is_a_uniform_sample(tmp_path: Path) -> None:
    source = ImageSource(OLD, None)
    hashes = [source.hash_of(index) for index in range(12)]
    everything = Memory.of(source, hashes, [True] * 12, 10**9)
    for image, key in zip(everything.images(), everything.hashes, strict=True):
        assert torch.equal(image, OLD[hashes.index(key)])
    assert list(everything.hashes) == sorted(hashes)
    budget = everything.nbytes // 2
    detector = new_detector(tmp_path, memory_bytes=budget, steps=2).fit(OLD)
    assert 4 <= len(detector.memory_.files) <= 7 and detector.memory_.nbytes <= budget
    detector.save(tmp_path / "with")
    detector.memory_ = Memory()
    detector.save(tmp_path / "without")
    sizes = [(tmp_path / name).stat().st_size for name in ("with", "without")]
    assert sizes[0] - sizes[1] <= budget + 1000
    kept = Detector.load(tmp_path / "with")
    kept.update(NEW)
    assert kept.memory_.nbytes <= budget and set(kept.memory_.hashes) & set(kept.known_.of_entry(1))
    assert list(kept.memory_.hashes) == sorted(kept.memory_.hashes)
    kept.memory_bytes = 0
    kept.update(brighter(2, 30))
    assert kept.memory_ == Memory()


def test_memory_keeps_depth_and_both_kinds_of_images() -> None:
    images = torch.rand(4, 3, 5, 7)
    images[0] = images[0, :1]
    source = ImageSource(images, None)
    memory = Memory.of(source, list("dcba"), [True, True, True, False], 10**6)
    assert memory.hashes == ("b", "a", "c", "d")  # those that judge take turns
    for image, key in zip(memory.images(), memory.hashes, strict=True):
        torch.testing.assert_close(image, images["dcba".index(key)], rtol=0, atol=1e-5)


def test_without_memory_the_file_holds_no_pixels(trained: Path) -> None:
    header, tensors = read_model(trained, "detector", 2)
    assert header["settings"]["memory_bytes"] == 0
    assert not any(name.startswith("memory") for name in tensors)
    assert not any(value.dtype == torch.uint8 for name, value in tensors.items() if name != "images.sha256")
    content = trained.read_bytes()
    for image in OLD:
        for pixels in (image, image.permute(1, 2, 0)):
            assert pixels.numpy().tobytes()[:24] not in content
    assert b"PNG" not in content and b"IDAT" not in content
