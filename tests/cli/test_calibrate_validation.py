"""`stadx calibrate --from-validation`: thresholds by good validation images, whose scores are their brightness."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from commands import stadx
from data_sets import draw_ad2, draw_good, draw_kolektor2
from numpy.typing import NDArray
from small import good_images, small_model

from stadx import DataError, Detector
from stadx.data import strips
from stadx.data.images import read_image
from stadx.data.roi import Roi
from stadx.data.strips import RowReader
from stadx.detectors.thresholds import HeldOutScores, image_threshold_at, joined_scores, threshold_at
from stadx.detectors.validation import calibrate_on_files

pytestmark = pytest.mark.usefixtures("narrow_networks", "brightness")
IMAGES = 30


def score(self: object, images: torch.Tensor, *, stride: int | None = None, **others: object) -> torch.Tensor:
    """From 0 to 255, and lower at strides that leave more pixels out."""
    return images.float().mean(1) - (4 if stride is None else stride)


def score_bands(self: object, image: RowReader, *, stride: int, **others: object) -> Iterator[torch.Tensor]:
    yield from torch.split(score(self, image.rows(0, image.height)[None], stride=stride)[0], 7)


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Detector, "score", score)
    monkeypatch.setattr(Detector, "score_bands", score_bands)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def can(tmp_path: Path) -> Path:
    draw_good(draw_ad2(tmp_path / "can") / "validation/good", IMAGES, "_regular")
    return tmp_path / "can"


def maps_of(paths: list[Path], stride: int = 4) -> NDArray[np.float32]:
    """float32 [N, H, W]."""
    images = [torch.from_numpy(read_image(path)).permute(2, 0, 1)[None] for path in paths]
    return torch.cat([score(None, image, stride=stride) for image in images]).numpy()


def test_both_thresholds_follow_from_the_validation_images_and_are_kept(model: Path, can: Path, tmp_path: Path) -> None:
    before, out = model.read_bytes(), tmp_path / "line.safetensors"
    rates = ("--target-fpr", 0.01, "--image-fpr", 0.1)
    result = stadx("calibrate", model, can, "--from-validation", *rates, "--out", out, "--json", tmp_path / "c.json")
    assert result.exit_code == 0, result.output
    assert model.read_bytes() == before
    detector, previous = Detector.load(out), Detector.load(model)
    paths = sorted((can / "validation/good").iterdir())
    maps = maps_of(paths)
    assert len(maps) == IMAGES
    flagged, wanted = (maps > detector.threshold_).mean(), 0.01
    below = maps[maps < detector.threshold_].max()
    assert flagged <= wanted < (maps > below).mean()
    highest = maps.max((1, 2))
    assert detector.judged_scores().tolist() == highest.tolist()
    assert detector.judged_scores(1).tolist() == highest.tolist()  # at a finer stride nothing is known
    assert detector.judged_scores(8) == pytest.approx(highest - 4)
    assert detector.image_threshold() == pytest.approx(max(detector.threshold_, image_threshold_at(0.1, highest)))
    assert (detector.target_fpr, detector.image_fpr) == (0.01, 0.1)
    alarms = detector.false_alarms()
    assert alarms.images == IMAGES and alarms.low < alarms.flagged / IMAGES < alarms.high
    assert alarms.sentence() in " ".join(result.stderr.split()) and "1 % of the pixels" in result.stderr
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["thresholds"] == {"pixel": detector.threshold_, "image": detector.image_threshold()}
    assert written["previous"] == {"pixel": previous.threshold_, "image": previous.image_threshold()}
    assert [image["score"] for image in written["images"]] == highest.tolist() and written["failures"] == []
    assert written["false_alarms"]["high"] == alarms.high
    again = tmp_path / "again.safetensors"
    assert stadx("calibrate", model, can, "--from-validation", "--out", again).exit_code == 0
    assert Detector.load(again).target_fpr == previous.target_fpr  # the model's own


def test_a_threshold_that_defects_chose_is_replaced_and_the_result_can_be_updated(model: Path, can: Path) -> None:
    detector = Detector.load(model).set_image_threshold(1e6)
    calibrate_on_files(detector, sorted((can / "validation/good").iterdir()))
    assert detector.image_threshold() < 300
    detector.update(good_images(3, seed=5), old=good_images(8), steps=1)
    assert detector.false_alarms().images != IMAGES


def test_a_region_of_interest_cuts_the_images(model: Path, can: Path) -> None:
    detector, paths = Detector.load(model), sorted((can / "validation/good").iterdir())
    left = np.arange(12) < np.full((8, 1), 5)
    calibrate_on_files(detector, paths, roi=Roi(left))
    inside = maps_of(paths)[:, left]
    assert detector.judged_scores().tolist() == inside.max(1).tolist()
    assert len(detector.heldout_scores_) == len(np.unique(inside)) and detector.heldout_scores_[-1] == inside.min()
    detector.set_target_fpr(0.05)
    assert (inside > detector.threshold_).mean() <= 0.05


def test_huge_images_are_read_by_strips(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (35, 20, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tiff", pixels, rowsperstrip=5)
    whole, by_strips = Detector.load(model), Detector.load(model)
    roi = Roi(np.tri(7, 5, dtype=bool))
    calibrate_on_files(whole, [tmp_path / "a.tiff"], roi=roi)
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    calibrate_on_files(by_strips, [tmp_path / "a.tiff"], roi=roi)
    assert by_strips.heldout_scores_.tolist() == whole.heldout_scores_.tolist()
    assert by_strips.judged_scores(8).tolist() == whole.judged_scores(8).tolist()
    monkeypatch.setattr("stadx.detectors.validation._MOST_PIXELS", 100)
    calibrate_on_files(by_strips, [tmp_path / "a.tiff"], roi=roi)
    assert len(by_strips.heldout_scores_) < len(whole.heldout_scores_)
    assert by_strips.judged_scores().tolist() == whole.judged_scores().tolist()


def test_many_images_together_flag_no_more_than_is_asked_for() -> None:
    maps = (
        torch.randn(20, 150, 150, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 2, 20)[:, None, None]
    )
    joined = joined_scores(*(HeldOutScores.of([m]) for m in maps))
    assert joined.image_scores.shape == (4, 20) and len(joined.fprs) <= 4096
    for target in (1e-5, 1e-4, 1e-3, 0.01, 0.3):
        share = (maps > threshold_at(target, joined.fprs, joined.scores)).double().mean().item()
        assert 0.97 * target - 1 / maps.numel() <= share <= target


def test_images_that_cannot_be_read_do_not_stop_the_others(model: Path, can: Path, tmp_path: Path) -> None:
    (can / "validation/good/bad.png").write_bytes(b"")
    out = tmp_path / "line.safetensors"
    result = stadx("calibrate", model, can, "--from-validation", "--out", out, "--json", tmp_path / "c.json")
    assert result.exit_code == 2 and "bad.png" in result.stderr
    assert f"1 of {IMAGES + 1} images could not be scored; the others set the thresholds" in result.stderr
    assert Detector.load(out).false_alarms().images == IMAGES
    assert len(json.loads((tmp_path / "c.json").read_text())["images"]) == IMAGES
    with pytest.raises(DataError, match=r"no validation images that could be scored \(.*bad.png"):
        calibrate_on_files(Detector.load(model), [can / "validation/good/bad.png"])


def test_refusals(model: Path, can: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    without, out = draw_kolektor2(tmp_path / "KolektorSDD2"), tmp_path / "new.safetensors"
    for arguments, message in (
        ((can, "--from-validation", "--recall", 0.9), "--recall: means nothing with --from-validation"),
        ((can, "--from-validation", "--stride", 8), "--stride: means nothing with --from-validation"),
        ((can, "--from-validation", "--good", can), "--good: means nothing with --from-validation"),
        ((can, "--target-fpr", 0.1), "is for --from-validation"),
        (("--from-validation",), "name a category with validation images"),
        ((without, "--from-validation"), "KolektorSDD2: has no validation images"),
        ((can, "--from-validation", "--json", can / "validation/good/000_regular.png"), "is a file that is read"),
    ):
        result = stadx("calibrate", model, *arguments, "--out", out)
        assert result.exit_code == 2 and message in result.stderr, result.output
    assert not out.exists()
