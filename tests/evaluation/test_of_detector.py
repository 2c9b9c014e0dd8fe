"""Evaluation of a detector on a category, with detectors simple enough to know the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stadx.core.errors import DataError
from stadx.data.images import read_image, write_image
from stadx.data.layouts import open_category
from stadx.data.layouts.patterns import list_patterns
from stadx.data.tensors import resize
from stadx.evaluation.of_detector import evaluate
from stadx.evaluation.report.html import write_report
from stadx.metrics import au_pro, auroc

pytestmark = pytest.mark.arithmetic


class Brightness:
    """Scores a pixel by its brightness."""

    def __init__(self, scales: tuple[int, ...] = (33,), students: int = 3) -> None:
        self.settings: dict[str, object] = {"scales": scales, "students": students}
        self.threshold_ = 0.5

    def image_threshold(self, stride: int = 1) -> float:
        return 0.6

    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        return images.float().mean(1) / 255


class Darkness(Brightness):
    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        return 1 - super().score(images)


def draw(
    root: Path, *, good: int = 3, defects: dict[str, int] | None = None, shape: tuple[int, int] = (24, 31)
) -> Path:
    """A category of dark noise, with a square of the given brightness in each defect image."""
    rng = np.random.default_rng(0)
    for index in range(good):
        write_image(root / f"test/good/{index:03}.png", rng.integers(60, 90, (*shape, 3), dtype=np.uint8))
    for defect, brightness in (defects or {}).items():
        for index in range(2):
            image = rng.integers(60, 90, (*shape, 3), dtype=np.uint8)
            mask = np.zeros(shape, np.uint8)
            mask[4:9, 5 + index : 12] = 255
            image[mask > 0] = brightness
            write_image(root / f"test/{defect}/{index:03}.png", image)
            write_image(root / f"ground_truth/{defect}/{index:03}_mask.png", mask)
    return root


def test_a_detector_that_is_always_right_gets_ones(tmp_path: Path) -> None:
    result = evaluate(Brightness(), open_category(draw(tmp_path / "cup", defects={"spot": 200})))
    assert (result.name, result.image_auroc, result.pixel_auroc) == ("cup", 1.0, 1.0)
    assert result.au_pro == pytest.approx(1.0, abs=1e-12)
    assert result.per_defect["spot"].count == 2
    assert [image.pixel_auroc for image in result.images] == [None, None, None, 1.0, 1.0]
    assert result.labels.tolist() == [False, False, False, True, True]
    assert result.notes == []


def test_a_detector_that_is_always_wrong_gets_zeros(tmp_path: Path) -> None:
    result = evaluate(Darkness(), open_category(draw(tmp_path, defects={"spot": 200})))
    assert result.pixel_auroc == 0.0
    assert result.au_pro == 0.0


def test_a_defect_type_is_measured_against_all_good_images_and_no_other_defect(tmp_path: Path) -> None:
    result = evaluate(Brightness(), open_category(draw(tmp_path, defects={"bright": 220, "black": 5})))
    bright, black = result.per_defect["bright"], result.per_defect["black"]
    assert (bright.image_auroc, bright.pixel_auroc, black.pixel_auroc) == (1.0, 1.0, 0.0)
    chosen = [image for image in result.images if image.defect in ("good", "black")]
    expected = au_pro([image.map for image in chosen], [image.mask for image in chosen])
    assert black.au_pro == pytest.approx(expected, abs=1e-15)
    assert black.image_auroc == auroc([i.score for i in chosen], [not i.is_good for i in chosen])
    assert result.au_pro is not None and bright.au_pro is not None
    assert bright.au_pro > result.au_pro > black.au_pro


def test_images_are_scored_at_their_own_size(tmp_path: Path) -> None:
    draw(tmp_path, good=2, defects={"spot": 200})
    draw(tmp_path, good=1, shape=(40, 17))
    result = evaluate(Brightness(), open_category(tmp_path))
    assert [image.map.shape for image in result.images] == [(40, 17), (24, 31), (24, 31), (24, 31)]
    assert result.image_auroc == 1.0


@pytest.mark.parametrize("size", [12, (20, 50)])
def test_at_the_models_size_images_are_resized_and_masks_by_nearest_neighbour(
    size: int | tuple[int, int], tmp_path: Path
) -> None:
    category = open_category(draw(tmp_path, good=2, defects={"spot": 200}))
    detector = Brightness()
    detector.settings["image_size"] = size
    result = evaluate(detector, category, at="model")
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = ((2 * np.arange(n) + 1) * old // (2 * n) for n, old in ((height, 24), (width, 31)))
    original = evaluate(detector, category)
    for image, own, item in zip(result.images, original.images, category.test, strict=True):
        assert own.map.shape == own.mask.shape == (24, 31)
        assert np.array_equal(image.mask, own.mask[np.ix_(rows, columns)])
        pixels = torch.from_numpy(read_image(item.path)).permute(2, 0, 1)[None]
        assert np.array_equal(image.map, detector.score(resize(pixels, size))[0].numpy())
    assert result.images[-1].mask.any()
    assert result.au_pro == pytest.approx(au_pro([i.map for i in result.images], [i.mask for i in result.images]))
    assert (result.at, original.at) == (result.to_json()["at"], original.to_json()["at"]) == ("model", "original")


@pytest.mark.parametrize("own", [12, 24, None])
def test_at_one_size_for_all_a_map_of_the_detectors_own_size_is_resized(own: int | None, tmp_path: Path) -> None:
    category = open_category(draw(tmp_path, good=2, defects={"spot": 200}))
    detector = Brightness()
    detector.settings["image_size"] = own
    result = evaluate(detector, category, at=24)
    for image, item in zip(result.images, category.test, strict=True):
        pixels = torch.from_numpy(read_image(item.path)).permute(2, 0, 1)[None]
        map_of_own_size = detector.score(resize(pixels, own))
        assert image.mask.shape == (24, 24)
        assert np.allclose(image.map, resize(map_of_own_size[:, None], 24)[0, 0].numpy())
    assert result.at == result.to_json()["at"] == 24
    if own == 24:
        assert result.au_pro == evaluate(detector, category, at="model").au_pro


def test_a_model_that_takes_images_as_they_are_has_their_size(tmp_path: Path) -> None:
    category = open_category(draw(tmp_path, defects={"spot": 200}))
    detector = Brightness()
    detector.settings["image_size"] = None
    assert evaluate(detector, category, at="model").au_pro == evaluate(detector, category).au_pro


def test_a_defect_too_small_for_the_models_size_is_told(tmp_path: Path) -> None:
    category = open_category(draw(tmp_path, defects={"spot": 200}))
    for item in category.test:
        if item.mask is not None:
            mask = np.zeros((24, 31), np.uint8)
            mask[0, 0] = 255
            write_image(item.mask, mask)
    detector = Brightness()
    detector.settings["image_size"] = 4
    result = evaluate(detector, category, at="model")
    assert (result.image_auroc, result.au_pro) == (1.0, None)
    assert "2 of 2 defect images" in result.notes[0] and "no defect or no background" in result.notes[1]
    assert evaluate(detector, category).notes == []


def test_without_defects_the_metrics_are_none_and_a_note_says_why(tmp_path: Path) -> None:
    result = evaluate(Brightness(), open_category(draw(tmp_path / "cup")))
    assert (result.image_auroc, result.pixel_auroc, result.au_pro, result.curve) == (None, None, None, None)
    assert result.per_defect == {}
    assert len(result.notes) == 1 and "cup has no defect images" in result.notes[0]
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert written["au_pro"] is None and len(written["images"]) == 3


def test_without_good_images_only_the_image_metric_is_none(tmp_path: Path) -> None:
    result = evaluate(Brightness(), open_category(draw(tmp_path, good=0, defects={"spot": 200})))
    assert result.image_auroc is None and result.pixel_auroc == 1.0
    assert "no good test images" in result.notes[0]


def test_json_holds_all_that_explains_the_result(tmp_path: Path) -> None:
    result = evaluate(Brightness(students=5), open_category(draw(tmp_path, defects={"spot": 200})))
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert written["settings"] == {"scales": [33], "students": 5}
    assert {"stadx", "torch", "numpy", "python"} <= set(written["versions"])
    assert written["per_defect"]["spot"] == {
        "count": 2,
        "image_auroc": 1.0,
        "pixel_auroc": 1.0,
        "au_pro": result.per_defect["spot"].au_pro,
    }
    assert written["images"][-1]["defect"] == "spot"
    assert written["images"][-1]["score"] == pytest.approx(200 / 255)


def test_a_score_that_is_no_number_is_an_error_that_names_the_image(tmp_path: Path) -> None:
    class Broken(Brightness):
        def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
            return super().score(images) * float("nan")

    with pytest.raises(DataError, match=r"good/000\.png.*not a finite number"):
        evaluate(Broken(), open_category(draw(tmp_path)))


def test_an_image_cut_short_is_an_error_that_names_it(tmp_path: Path) -> None:
    broken = draw(tmp_path) / "test/good/001.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DataError, match=r"001\.png"):
        evaluate(Brightness(), open_category(tmp_path))


def test_progress_reaches_the_end_of_both_stages(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    category = open_category(draw(tmp_path, defects={"spot": 200}))
    evaluate(Brightness(), category, progress=lambda stage, done, total, _: told.append((stage, done, total)))
    assert [t for t in told if t[0] == "Test images"] == [("Test images", done, 5) for done in range(6)]
    assert [t for t in told if t[0] == "Metrics"][-1] == ("Metrics", 2, 2)


def test_settings_become_plain_values(tmp_path: Path) -> None:
    detector = Brightness()
    detector.settings = {"scales": (17, 33), "size": None, "dense": False, "teacher": tmp_path}
    result = evaluate(detector, open_category(draw(tmp_path)))
    assert result.settings == {"scales": [17, 33], "size": None, "dense": False, "teacher": str(tmp_path)}


def test_images_are_flagged_above_the_image_threshold(tmp_path: Path) -> None:
    result = evaluate(Brightness(), open_category(draw(tmp_path, defects={"spot": 200, "dim": 140})))
    assert result.image_threshold == pytest.approx(0.6)  # the dim squares have 0.55, above the pixel threshold
    assert result.flagged == {"good": 0, "defect": 2}
    assert "2 of 4 (6.8 … 93 %) defect images, 0 of 3 (0 … 71 %) good" in result.flagged_sentence()


def test_defects_that_nobody_marked_have_an_image_auroc_alone(tmp_path: Path) -> None:
    root = draw(tmp_path / "cup", defects={"spot": 200, "stain": 10})
    category = list_patterns(str(root / "test/good/*.png"), str(root / "test/*t*n*/*.png")).for_testing()
    result = evaluate(Darkness(), category)
    assert result.image_auroc == 1.0 and result.per_defect["stain"].image_auroc == 1.0
    assert (result.pixel_auroc, result.au_pro, result.curve) == (None, None, None)
    assert (result.per_defect["stain"].pixel_auroc, result.per_defect["stain"].au_pro) == (None, None)
    assert [(image.is_good, image.marked) for image in result.images] == [(True, True)] * 3 + [(False, False)] * 2
    assert result.notes == ["2 of 2 defect images of test have no mask, so pixel AUROC and AU-PRO are undefined."]
    # one without a mask among others: which pixels are background is not known
    marked = open_category(root)
    some = replace(marked, test=[replace(marked.test[-1], mask=None), *marked.test[:-1]])
    result = evaluate(Darkness(), some)
    assert result.image_auroc is not None and result.au_pro is None and result.per_defect["stain"].au_pro is None
    assert result.per_defect["spot"].au_pro is not None
    assert result.notes == ["1 of 4 defect images of cup have no mask, so pixel AUROC and AU-PRO are undefined."]
    alone = evaluate(Darkness(), replace(some, test=some.test[:1]))
    for evaluation in (result, alone):
        write_report(tmp_path / "report.html", [evaluation])
        assert "defect not marked" in (tmp_path / "report.html").read_text()


def test_all_defects_found_is_a_hundred_percent(tmp_path: Path) -> None:
    result = evaluate(Brightness(), open_category(draw(tmp_path / "cup", defects={"spot": 200})))
    assert "2 of 2 (16 … 100 %) defect images, 0 of 3 (0 … 71 %) good ones" in result.flagged_sentence()
