"""Detectors take images from memory, and the frames of a camera one after the other."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small import good_images
from small_detectors import small_settings, tiny_network

from stadx import DataError, Detector
from stadx.data.images import write_image
from stadx.data.tensors import resize
from stadx.detectors.base import Calibrated
from stadx.detectors.baselines import feature_dictionary
from stadx.detectors.prediction import Prediction
from stadx.detectors.registry import STUDENT_TEACHER, detector_class, detector_names

pytestmark = pytest.mark.usefixtures("narrow_networks")
IMAGES = good_images(6, (24, 28))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> Detector:
    return Detector(**small_settings(STUDENT_TEACHER, tmp_path_factory.mktemp("teacher"))).fit(IMAGES)


class Flat(Calibrated):
    """Costs nothing: scores are the red values; it knows no region of interest, nor an order of colours."""

    method = "flat"
    image_size = None
    target_fpr = image_fpr = 0.01
    heldout_scores_ = np.ones(1, np.float32)
    threshold_ = 0.5

    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        return images[:, 0].float() / (255 if images.dtype == torch.uint8 else 1)


def same(one: Prediction, other: Prediction) -> bool:
    return all(map(torch.equal, one, other))


@pytest.mark.parametrize("name", detector_names())
def test_every_detector_takes_opencv_frames(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_dictionary, "load_pretrained", tiny_network)
    cls, settings = detector_class(name), small_settings(name, tmp_path)
    images = resize(IMAGES, cls(**settings).image_size)
    frames = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1]) for image in images]
    expected = cls(**settings).fit(images)
    detector = cls(**settings).fit((frame for frame in frames), channels="bgr")
    whole = expected.predict(images, stride=2)
    assert same(detector.predict(frames, channels="bgr", stride=2), whole)
    assert torch.equal(detector.score(np.stack(frames), channels="bgr", stride=2), whole.maps)
    stream = detector.predict_stream(iter(frames[:2]), channels="bgr", stride=2)
    for number, found in enumerate(stream):
        assert same(found, detector.predict(frames[number], channels="bgr", stride=2))


def test_frames_of_every_kind_and_size(fitted: Detector, tmp_path: Path) -> None:
    array = IMAGES[0].permute(1, 2, 0).numpy()
    write_image(tmp_path / "a.png", array)
    one = fitted.predict(IMAGES[:1])
    frames: list[Any] = [array, Image.fromarray(array), tmp_path / "a.png", str(tmp_path / "a.png"), IMAGES[0]]
    assert all(same(found, one) for found in fitted.predict_stream(frames))
    grey, small = array[..., 1], array[:20, :26]
    sizes = [tuple(found.maps.shape) for found in fitted.predict_stream([array, grey, small, IMAGES[1:2]])]
    assert sizes == [(1, 24, 28), (1, 24, 28), (1, 20, 26), (1, 24, 28)]
    assert len(list(fitted.predict_stream(IMAGES[:2]))) == len(list(fitted.predict_stream(np.stack([array] * 2)))) == 2
    assert list(fitted.predict_stream([])) == []
    mask = np.zeros((12, 14), bool)
    mask[:, 7:] = True
    for found, frame in zip(fitted.predict_stream([array, small], roi=mask), (array, small), strict=True):
        assert same(found, fitted.predict(frame, roi=mask))


def test_a_stream_holds_few_frames_and_asks_for_them_one_by_one() -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = given = 0

    def camera() -> Iterator[np.ndarray]:
        nonlocal most, given
        for number in range(3000):
            frame = np.full((8, 9, 3), number % 200, np.uint8)
            alive[:] = [*(ref for ref in alive if ref() is not None), weakref.ref(frame)]
            most, given = max(most, len(alive)), given + 1
            yield frame

    stream = Flat().predict_stream(camera())
    assert given == 0
    assert float(next(stream).maps[0, 0, 0]) == 0 and given == 1
    scores = [float(found.image_scores[0]) for found in stream]
    assert scores == pytest.approx([number % 200 / 255 for number in range(1, 3000)])
    assert given == 3000 and most <= 3


def test_bad_frames_are_named_by_their_number() -> None:
    good = np.zeros((4, 4, 3), np.uint8)
    for bad, message in (
        (None, "frame 2: the image is None, which cameras give where there is no image"),
        ((True, good), "frame 2: the image is a tuple, as VideoCapture.read gives"),
        (good.astype(np.int16), "frame 2: the image: an array of int16"),
        ("missing.png", r"frame 2: missing\.png: no such file"),
        (np.stack([good] * 3), "frame 2: the image is a batch of 3"),
        (np.zeros((3, 5, 6), np.uint8), r"frame 2: .* transpose\(1, 2, 0\)"),
    ):
        stream = Flat().predict_stream([good, good, bad, good])
        next(stream), next(stream)
        with pytest.raises(DataError, match=message):
            next(stream)
        assert list(stream) == []


def test_what_cannot_be_streamed_is_refused_at_once(fitted: Detector) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    for frames, message in (
        ("a.png", r"frames are one name, a\.png; use predict, or give a list"),
        (image, "frames are one image; use predict"),
        (IMAGES[0], "frames are one image"),
        (Image.fromarray(image), "frames are one image"),
        (None, "images are None"),
        (b"a", "images are bytes"),
    ):
        with pytest.raises(DataError, match=message):
            fitted.predict_stream(frames)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stride"):
        fitted.predict_stream([image], stride=3)
    with pytest.raises(ValueError, match="channels"):
        fitted.predict_stream([image], channels="gray")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="flat scores whole images"):
        Flat().predict_stream([image], roi=np.ones((2, 2)))
    with pytest.raises(DataError, match="call fit"):
        Detector().predict_stream([image])
