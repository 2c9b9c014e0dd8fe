"""An image threshold that was chosen itself, instead of by the held-out images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from small import good_images, teacher_file

from stadx import DataError, Detector, ModelFileError
from stadx.core.files import read_model, write_model
from stadx.detectors.student_teacher.model_file import DETECTOR_VERSION
from stadx.detectors.thresholds import split

pytestmark = pytest.mark.usefixtures("narrow_networks")


def make_detector(folder: Path) -> Detector:
    settings = {"students": 2, "steps": 10, "image_size": None, "held_out": 0.4}
    return Detector((17,), teachers=[teacher_file(folder)], **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_detector(folder).fit(good_images(8)).save(folder / "m.safetensors")
    return folder / "m.safetensors"


@pytest.fixture
def detector(file: Path) -> Detector:
    return Detector.load(file)


@pytest.mark.parametrize("own", [1, 4, 16])
def test_the_threshold_is_what_was_set_at_its_stride(detector: Detector, own: int, tmp_path: Path) -> None:
    """Below that of a pixel too; and so it is in the file, to the last bit."""
    value = detector.threshold_ - 1 / 3
    assert detector.set_image_threshold(value, own) is detector
    detector.save(tmp_path / "m.safetensors")
    again = Detector.load(tmp_path / "m.safetensors")
    for one in (detector, again):
        assert one.image_threshold(own) == value
        assert one.image_threshold(2) == detector.image_threshold(2)
    assert again.threshold_ == detector.threshold_


def test_at_another_stride_it_is_shifted_as_the_held_out_scores(detector: Detector) -> None:
    detector.heldout_image_scores_ = np.array([[9, 5], [8, 5], [7, 4], [6, 3]], np.float32)
    detector.set_image_threshold(5.0, 4)
    assert [detector.image_threshold(stride) for stride in (1, 2, 4, 8, 16)] == [6.5, 6, 5, 4, 4]


def test_a_share_of_the_held_out_images_undoes_it(detector: Detector, tmp_path: Path) -> None:
    before = detector.image_threshold(2)
    detector.set_image_threshold(1e6).set_target_fpr(0.01).set_target_fpr(0.001)
    assert detector.image_threshold(1) == 1e6
    assert detector.set_image_fpr(detector.image_fpr).image_threshold(2) == before
    detector.save(tmp_path / "m.safetensors")
    header, _ = read_model(tmp_path / "m.safetensors", "detector", DETECTOR_VERSION)
    assert "image_threshold" not in header  # as in files of 0.1.0
    assert Detector.load(tmp_path / "m.safetensors").image_threshold(2) == before


def test_learning_anew_undoes_it(tmp_path: Path) -> None:
    detector = make_detector(tmp_path).fit(good_images(8))
    before = detector.image_threshold()
    assert detector.set_image_threshold(1e6).fit(good_images(8)).image_threshold() == before


@pytest.mark.parametrize("value", [math.nan, math.inf, "high", None])
def test_what_is_no_number_is_refused(detector: Detector, value: object) -> None:
    with pytest.raises(ValueError, match="it must be a finite number"):
        detector.set_image_threshold(value)  # type: ignore[arg-type]


def test_other_refusals(detector: Detector, file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stride is 3"):
        detector.set_image_threshold(1.0, 3)
    with pytest.raises(DataError, match="knows no good images"):
        make_detector(tmp_path).set_image_threshold(1.0)
    header, tensors = read_model(file, "detector", DETECTOR_VERSION)
    header["image_threshold"] = {"score": "high"}
    write_model(tmp_path / "bad.safetensors", "detector", DETECTOR_VERSION, header, tensors)
    with pytest.raises(ModelFileError, match=r"bad\.safetensors"):
        Detector.load(tmp_path / "bad.safetensors")


def test_a_model_of_before_that_learns_anew_has_the_threshold_of_now(file: Path, tmp_path: Path) -> None:
    header, tensors = read_model(file, "detector", DETECTOR_VERSION)
    write_model(
        tmp_path / "old.safetensors", "detector", DETECTOR_VERSION, {**header, "image_rate": "counted"}, tensors
    )
    old = Detector.load(tmp_path / "old.safetensors").set_target_fpr(1).set_image_fpr(0.3)
    new = Detector.load(file).set_target_fpr(1).set_image_fpr(0.3)
    old.teachers = new.teachers = [teacher_file(tmp_path)]
    assert old.image_threshold() != new.image_threshold()
    assert old.fit(good_images(8)).image_threshold() == new.fit(good_images(8)).image_threshold()


@pytest.mark.parametrize("stride", [0, 3])
def test_the_threshold_of_no_stride_is_refused(detector: Detector, stride: int) -> None:
    with pytest.raises(ValueError, match="another power of two"):
        detector.image_threshold(stride)


@pytest.mark.parametrize(
    ("images", "image_fpr", "judge"),
    [
        (2, 0.05, 1),
        (15, 0.05, 5),
        (57, 0.05, 19),
        (100, 0.05, 19),
        (300, 0.05, 30),
        (100, 0.01, 33),
        (90, 0.2, 9),
        (9, 0.0, 3),
    ],
)
def test_of_few_images_up_to_a_third_judge(images: int, image_fpr: float, judge: int) -> None:
    learned, held_out = split(images, None, 0, image_fpr)
    assert len(held_out) == judge
    assert sorted(learned + held_out) == list(range(images))
    assert len(split(images, 0.1, 0, image_fpr)[1]) == max(1, round(0.1 * images))
