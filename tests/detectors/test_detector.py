"""The detector from good images to masks, and its file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from rounding import scored
from small import good_images, teacher_file
from torch import Tensor

from stadx import DataError, Detector, ModelFileError, OutputError
from stadx.core.files import read_model, write_model
from stadx.data import strips
from stadx.data.images import read_map
from stadx.detectors.student_teacher import ensemble as scoring
from stadx.detectors.student_teacher.model_file import DETECTOR_VERSION
from stadx.detectors.student_teacher.smoothing import smooth
from stadx.detectors.thresholds import HeldOutScores, split
from stadx.evaluation.prediction import predict_files
from stadx.metrics import auroc
from stadx.networks.training import Checkpoint
from stadx.networks.windows import TensorRows

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detector")


def make_detector(folder: Path, scales: tuple[int, ...] = (17,), **settings: object) -> Detector:
    shared = {"students": 2, "steps": 40, "image_size": None, "precision": "float32"}
    shared |= {"cross": False, "stride": 1, "border": "reflect"}
    given = {**shared, **settings}
    return Detector(scales, teachers=[teacher_file(folder, p) for p in scales], **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Detector:
    return make_detector(folder, held_out=0.4).fit(good_images(8))


def with_defect(images: Tensor) -> Tensor:
    images = images.clone()
    images[:, :, 8:13, 9:15] = torch.tensor([250, 20, 20], dtype=torch.uint8)[:, None, None]
    return images


def test_a_defect_scores_higher_than_what_is_good(fitted: Detector) -> None:
    images = with_defect(good_images(2, seed=5))
    maps = fitted.score(images)
    assert maps.shape == (2, 20, 24) and maps.dtype == torch.float32
    truth = torch.zeros(maps.shape, dtype=torch.bool)
    truth[:, 8:13, 9:15] = True
    assert auroc(maps, truth) > 0.85
    assert maps.max() > 1.2 * fitted.score(good_images(2, seed=6)).max()
    prediction = fitted.predict(images)
    torch.testing.assert_close(prediction.maps, maps)
    torch.testing.assert_close(prediction.image_scores, maps.flatten(1).max(1).values)
    assert torch.equal(prediction.masks, maps > fitted.threshold_)
    assert prediction.masks[:, 8:13, 9:15].any()


def test_threshold_flags_the_target_share_of_the_held_out_pixels(fitted: Detector) -> None:
    pixels = 3 * 20 * 24
    for target in (0.0, 0.001, 0.01, 0.2, 1.0):
        threshold = fitted.set_target_fpr(target).threshold_
        flagged = float(fitted.heldout_fprs_[fitted.heldout_scores_ == torch.tensor(threshold).numpy()].max())
        assert flagged <= target + 1e-7 and flagged >= target - 2 / pixels - 0.01 * target
    assert fitted.set_target_fpr(0).threshold_ == fitted.heldout_scores_.max()
    fitted.set_target_fpr(0.001)
    with pytest.raises(ValueError, match="between 0 and 1"):
        fitted.set_target_fpr(1.5)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_image_threshold_lets_the_share_of_the_held_out_images_pass(
    fitted: Detector, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held-out images scored again, with that stride: it lies at place share · (n + 1) of their scores."""
    monkeypatch.setattr(fitted, "threshold_", -math.inf)
    monkeypatch.setattr(fitted, "image_fpr", 0.05)
    images = good_images(8)[split(8, fitted.held_out, fitted.seed)[1]]
    scores = fitted.predict(images, stride=stride).image_scores.numpy()
    assert len(scores) == 3
    low, middle, high = np.sort(scores)
    places = {0.0: high, 0.25: high, 0.375: (high + middle) / 2, 0.5: middle, 0.75: low, 1.0: low}
    for share, want in places.items():
        threshold = fitted.set_image_fpr(share).image_threshold(stride)
        np.testing.assert_allclose(threshold, want, rtol=1e-3)  # levels differ a little
    with pytest.raises(ValueError, match="image_fpr is -1; it must lie between 0 and 1"):
        fitted.set_image_fpr(-1)
    with pytest.raises(ValueError, match="target_fpr is 'low'; it must lie between 0 and 1"):
        fitted.set_target_fpr("low")  # type: ignore[arg-type]


def test_image_threshold_is_never_below_that_of_a_pixel(fitted: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "threshold_", 1e9)
    assert fitted.image_threshold() == 1e9


def test_files_without_image_scores_have_the_highest_of_all(fitted: Detector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    header, tensors = read_model(tmp_path / "m.safetensors", "detector", DETECTOR_VERSION)
    del tensors["heldout_image_scores"]
    write_model(tmp_path / "old.safetensors", "detector", DETECTOR_VERSION, header, tensors)
    old = Detector.load(tmp_path / "old.safetensors")
    assert old.image_threshold() == old.image_threshold(4) == fitted.heldout_scores_.max()
    old.save(tmp_path / "again.safetensors")
    assert Detector.load(tmp_path / "again.safetensors").image_threshold() == old.image_threshold()


def test_saved_and_loaded_it_scores_the_same(fitted: Detector, tmp_path: Path) -> None:
    images = good_images(1, (17, 9), seed=3)
    fitted.save(tmp_path / "m.safetensors")
    loaded = Detector.load(tmp_path / "m.safetensors")
    assert torch.equal(loaded.score(images), fitted.score(images))
    assert loaded.threshold_ == fitted.threshold_
    assert [loaded.image_threshold(s) for s in (1, 8)] == [fitted.image_threshold(s) for s in (1, 8)]
    assert loaded.set_target_fpr(0.05).threshold_ == fitted.set_target_fpr(0.05).threshold_
    fitted.set_target_fpr(0.001)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_detector_of_parts_scores_the_same(fitted: Detector) -> None:
    images = good_images(2, (17, 9), seed=3)
    held_out = HeldOutScores(fitted.heldout_fprs_, fitted.heldout_scores_, fitted.heldout_image_scores_)
    parts = (fitted.ensembles_, fitted.normalizations_, held_out)
    made = Detector.from_parts(fitted.settings, *parts)
    assert torch.equal(made.score(images), fitted.score(images))
    assert (made.threshold_, made.image_threshold()) == (fitted.threshold_, fitted.image_threshold())
    with pytest.raises(ValueError, match=r"the scales are \(33,\), the ensembles' \(17,\)"):
        Detector.from_parts({**fitted.settings, "scales": (33,), "teachers": ()}, *parts)
    with pytest.raises(ValueError, match="students is 7, but an ensemble has 2"):
        Detector.from_parts({**fitted.settings, "students": 7}, *parts)


def test_several_scales_average(folder: Path) -> None:
    images = good_images(4)
    both = make_detector(folder, (17, 33), steps=2).fit(images)
    single = [
        e.computed(TensorRows(images[0])).continued(n.score(*e.error_and_variance(images[:1])))
        for n, e in zip(both.normalizations_, both.ensembles_, strict=True)
    ]
    torch.testing.assert_close(both.score(images[:1])[0], (single[0] + single[1]) / 2)


def test_two_images_are_enough(folder: Path) -> None:
    detector = make_detector(folder, students=3, steps=3, cross=True, patience=5).fit(good_images(2))
    assert detector.heldout_image_scores_.shape == (4, 2)
    assert "give 19 images or more" in detector.false_alarms().sentence()
    assert detector.image_threshold() == detector.heldout_image_scores_[0].max()


def test_smoothing_is_of_maps_and_threshold_alike(folder: Path, fitted: Detector) -> None:
    images = good_images(8)
    smoothed = make_detector(folder, held_out=0.4, smoothing=1.5).fit(images)
    expected = smooth(fitted.score(images[:2]), 1.5)
    torch.testing.assert_close(smoothed.score(images[:2]), expected, atol=1e-5, rtol=1e-5)
    smoothed.save(folder / "smoothed.safetensors")
    loaded = Detector.load(folder / "smoothed.safetensors")
    assert torch.equal(loaded.score(images[:2]), smoothed.score(images[:2]))
    bands = torch.cat(list(smoothed.score_bands(TensorRows(images[0]))))
    assert torch.equal(bands, smoothed.score(images[:1])[0])
    assert smoothed.heldout_scores_.max() < fitted.heldout_scores_.max()  # the threshold is of smoothed maps too


def test_images_are_resized_and_maps_come_back_at_their_size(folder: Path) -> None:
    detector = make_detector(folder, image_size=16, steps=2).fit(good_images(3, (40, 30)))
    images = good_images(1, (40, 30))
    assert detector.score(images).shape == (1, 40, 30)
    floating = detector.score(images.float() / 255)
    torch.testing.assert_close(detector.score(images), floating, rtol=0, atol=0.5)  # uint8 rounds after resizing


def test_fit_from_files_of_different_sizes(folder: Path, tmp_path: Path) -> None:
    for i, size in enumerate([(20, 24), (30, 22), (18, 40)]):
        image = good_images(1, size, seed=i)[0].permute(1, 2, 0).numpy()
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    by_folder = make_detector(folder, steps=3).fit(tmp_path)
    by_list = make_detector(folder, steps=3).fit(sorted(tmp_path.iterdir()))
    images = good_images(1)
    assert torch.equal(by_folder.score(images), by_list.score(images))


def test_a_killed_fit_resumes_and_clears_up(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, prefix = good_images(4), tmp_path / "m.part"
    whole = make_detector(folder, (17, 33), steps=3).fit(images)

    def killed(stage: str, done: int, total: int, figures: object) -> None:
        if stage == "Students, p = 33" and done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    with pytest.raises(KeyboardInterrupt):
        make_detector(folder, (17, 33), steps=3).fit(images, progress=killed, checkpoint=prefix)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["m.part-p17", "m.part-p33"]
    with pytest.raises(ModelFileError, match=r"other settings \(images\)"):
        make_detector(folder, (17, 33), steps=3).fit(good_images(4, seed=9), checkpoint=prefix)
    stages: set[str] = set()
    resumed = make_detector(folder, (17, 33), steps=3)
    resumed.fit(images, progress=lambda s, d, t, f: stages.add(s), checkpoint=prefix)
    assert "Students, p = 17" not in stages and "Students, p = 33" in stages
    assert torch.equal(whole.score(images), resumed.score(images))
    resumed.save(tmp_path / "m")
    assert [f.name for f in tmp_path.iterdir()] == ["m"]  # the checkpoints stay until the model is safe


@pytest.mark.parametrize(
    "images, message",
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), "pass uint8"),
        (torch.full((1, 3, 4, 4), 200.0), r"outside \[0, 1\]"),
        (torch.full((1, 3, 4, 4), float("nan")), "NaN"),
        (torch.zeros(3, 4, 4), "expected"),
        (torch.zeros(1, 1, 4, 4), "expected"),
        (torch.zeros(1, 3, 0, 4), "expected"),
    ],
)
def test_images_that_cannot_be_scored(fitted: Detector, images: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fitted.score(images)


def test_no_images_no_maps(fitted: Detector) -> None:
    prediction = fitted.predict(torch.zeros(0, 3, 4, 5))
    assert prediction.maps.shape == (0, 4, 5) and prediction.image_scores.shape == (0,)


def test_what_cannot_be_learned_from(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one training image"):
        make_detector(folder).fit(good_images(1))
    with pytest.raises(DataError, match="no training images"):
        make_detector(folder).fit(good_images(0))
    with pytest.raises(DataError, match=r"gone\.png"):
        make_detector(folder).fit([tmp_path / "gone.png", tmp_path / "too.png"])
    with pytest.raises(DataError, match="teacher for p = 17, the scales are"):
        Detector((33,), teachers=[teacher_file(folder, 17)]).fit(good_images())
    with pytest.raises(DataError, match="call fit"):
        Detector().score(good_images())
    for wrong in (
        {"scales": (31,)},
        {"scales": (33, 33)},
        {"students": 0},
        {"held_out": 0},
        {"target_fpr": -1},
        {"crop": 0},
        {"batch": 0},
        {"patience": -1},
        {"smoothing": -1},
        {"border": "mirror"},
        {"stride": 3},
    ):
        with pytest.raises(ValueError):
            Detector(**wrong)  # type: ignore[arg-type]


def test_files_that_are_no_detector(fitted: Detector, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    fitted.save(path)
    header, tensors = read_model(path, "detector", DETECTOR_VERSION)
    whole = path.read_bytes()
    for cut in (0, 5, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelFileError, match=r"m\.safetensors: .*train it again"):
            Detector.load(path)
    write_model(path, "detector", DETECTOR_VERSION + 1, header, tensors)
    with pytest.raises(ModelFileError, match=r"version 3.*reads version 2"):
        Detector.load(path)
    write_model(path, "detector", DETECTOR_VERSION, header, {k: v for k, v in tensors.items() if k != "p17.mean"})
    with pytest.raises(ModelFileError, match="lacks a part of a detector"):
        Detector.load(path)
    with pytest.raises(ModelFileError, match="is a teacher file; a detector file is needed"):
        Detector.load(teacher_file(folder))
    with pytest.raises(ModelFileError, match="no such file"):
        Detector.load(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        fitted.save(tmp_path / "file" / "m.safetensors")


@pytest.mark.parametrize("scales", [(17,), (65, 17, 33)], ids=str)
def test_bands_have_the_bits_of_the_whole(
    folder: Path, scales: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = make_detector(folder, scales, steps=2).fit(good_images(3))
    image = with_defect(good_images(1, (40, 45)))
    for stride in (1, 2, 4):
        whole = detector.score(image, stride=stride)[0]
        with monkeypatch.context() as patch:
            patch.setattr(scoring, "_WHOLE_BYTES", 0)
            patch.setattr(scoring, "_TILE_BYTES", 2e5)
            bands = list(detector.score_bands(TensorRows(image[0]), stride=stride))
        assert len(bands) > 1
        assert torch.equal(torch.cat(bands), whole)


def test_a_huge_tiff_is_scored_by_strips_with_the_same_bits(
    fitted: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = with_defect(good_images(1, (70, 45)))
    tifffile.imwrite(tmp_path / "part.tif", image[0].permute(1, 2, 0).numpy(), rowsperstrip=16, compression="zlib")
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    monkeypatch.setattr(scoring, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(scoring, "_TILE_BYTES", 2e5)
    lines, failures = predict_files(fitted, [tmp_path / "part.tif"], tmp_path / "out", stride=2)
    assert failures == []
    prediction = fitted.predict(image, stride=2)
    assert torch.equal(torch.from_numpy(read_map(tmp_path / "out" / "part_map.tiff")), prediction.maps[0])
    assert torch.equal(torch.from_numpy(tifffile.imread(tmp_path / "out" / "part_mask.tiff") > 0), prediction.masks[0])
    assert lines[0]["image_score"] == float(prediction.image_scores[0])


def test_strides_and_methods_agree(fitted: Detector) -> None:
    images = with_defect(good_images(2))
    exact = fitted.score(images)
    n = fitted.normalizations_[0]
    limit = 2 * scored(8, float(fitted.ensembles_[0].std.min())) / min(1, n.e_std, n.v_std)
    torch.testing.assert_close(fitted.score(images, method="direct"), exact, rtol=limit, atol=limit)
    for stride in (2, 4):
        known = fitted.score(images, stride=stride)[:, ::stride, ::stride]
        torch.testing.assert_close(known, exact[:, ::stride, ::stride], rtol=limit, atol=limit)
    with pytest.raises(ValueError, match="stride is 3"):
        fitted.score(images, stride=3)
    with pytest.raises(ValueError, match="method is 'fft'"):
        fitted.predict(images, method="fft")  # type: ignore[arg-type]
