"""`stadx calibrate`: what it reads, chooses, writes and refuses; a model whose scores are the images' brightness."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import stadx
from PIL import Image
from small import small_model

from stadx import Detector
from stadx.data.images import write_image

pytestmark = pytest.mark.usefixtures("narrow_networks", "brightness")


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores from 0 to 255 that are known."""
    monkeypatch.setattr(Detector, "score", lambda self, images, **settings: images.float().mean(1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


def write(folder: Path, *levels: int) -> Path:
    """An image of each level."""
    for level in levels:
        write_image(folder / f"{level:03}.png", np.full((8, 8, 3), level, np.uint8))
    return folder


@pytest.fixture
def known(tmp_path: Path) -> tuple[object, ...]:
    """The options of four good images and five with defects, which overlap."""
    good, defects = write(tmp_path / "ok", 10, 20, 30, 60), write(tmp_path / "ng", 40, 80, 90, 100, 120)
    return ("--good", good, "--defects", defects)


def test_the_threshold_is_kept_and_used(model: Path, known: tuple[object, ...], tmp_path: Path) -> None:
    before = model.read_bytes()
    out, plot = tmp_path / "new" / "line.safetensors", tmp_path / "new" / "line-calibration.png"
    result = stadx("calibrate", model, *known, "--out", out)
    assert result.exit_code == 0, result.output
    assert model.read_bytes() == before
    assert sorted(path.name for path in out.parent.iterdir()) == [plot.name, out.name]
    assert Image.open(plot).size == (640, 600)
    assert Detector.load(out).image_threshold() == 35
    previous = Detector.load(model).image_threshold()
    for part in ("35 ", "5 of 5", "47.8–100.0 %", "1 of 4", "0.6–80.6 %", f"{previous:.5g}, before"):
        assert part in result.stdout
    for part in ("at least 95 % of the defects found", "the default", "images chose the threshold", "up to 81 %"):
        assert part in result.stderr
    assert f"Model: {out} (image threshold 35, before {previous:.4g})" in result.stderr

    assert stadx("predict", out, tmp_path / "ok", tmp_path / "ng", "--out", tmp_path / "p").exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "p/scores.jsonl").read_text().splitlines()]
    assert [line["is_anomalous"] for line in lines] == [False] * 3 + [True] * 6
    assert {line["image_threshold"] for line in lines} == {35}
    assert stadx("evaluate", out, *known, "--json", tmp_path / "e.json").exit_code == 0
    assert json.loads((tmp_path / "e.json").read_text())["flagged"] == {"good": 1, "defect": 5}
    assert stadx("predict", out, tmp_path / "ok", "--out", tmp_path / "p", "--image-fpr", 0.05).exit_code == 0
    assert json.loads((tmp_path / "p/scores.jsonl").read_text().splitlines()[-1])["image_threshold"] == previous


@pytest.mark.parametrize(
    ("goal", "threshold", "said"),
    [
        (("--recall", 0.8), 70, "at least 80 % of the defects"),
        (("--image-fpr", 0.1), 70, "at most 10 % of the good images"),
        (("--image-fpr", 0.25), 35, "at most 25 % of the good images"),
        (("--cost", "20:1"), 70, "a missed defect costs 20, a false alarm 1, and 1 % of the parts are defective"),
        (("--cost", "20:1", "--defect-rate", 0.5), 35, "50 % of the parts are defective"),
    ],
)
def test_one_goal_chooses(
    goal: tuple[object, ...], threshold: float, said: str, model: Path, known: tuple[object, ...], tmp_path: Path
) -> None:
    result = stadx("calibrate", model, *known, *goal, "--out", tmp_path / "m.safetensors")
    assert result.exit_code == 0, result.output
    assert said in result.stderr and "the default" not in result.stderr
    assert Detector.load(tmp_path / "m.safetensors").image_threshold() == threshold


def test_json_holds_everything(model: Path, known: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    options = ("--json", tmp_path / "c.json", "--plot", tmp_path / "c.png", "--stride", 8)
    result = stadx("calibrate", model, *known, "--out", out, *options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "c.png").is_file() and not (tmp_path / "m-calibration.png").exists()
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["stride"] == 8 and written["threshold"] == 35
    assert written["goal"] == {"Recall": {"share": 0.95}}
    assert written["found"]["k"] == written["found"]["n"] == 5 and written["flagged_left_out"]["n"] == 4
    assert written["curve"]["found"] == [0, 1, 2, 3, 4, 4, 5, 5, 5, 5]
    assert [entry["score"] for entry in written["images"]["defect"]] == [40, 80, 90, 100, 120]
    previous = Detector.load(model).image_threshold(8)
    assert written["previous"]["threshold"] == previous
    assert written["previous"]["found"]["k"] == sum(level > previous for level in (40, 80, 90, 100, 120))
    assert written["failures"] == [] and written["versions"] and written["notes"]
    assert "Score with --stride 8" in result.stderr
    detector = Detector.load(out)
    detector.heldout_image_scores_ = detector.heldout_image_scores_ + np.array([[3], [2], [1], [0]], np.float32)
    assert detector.image_threshold(8) == 35 and detector.image_threshold(4) > 35.5  # it belongs to stride 8


def test_images_are_those_of_a_category_or_of_patterns(model: Path, tmp_path: Path) -> None:
    category = tmp_path / "part"
    write(category / "test/good", 10, 20)
    write(category / "test/dent", 50, 60)
    for level in (50, 60):
        write_image(category / f"ground_truth/dent/0{level}_mask.png", np.full((8, 8), 255, np.uint8))
    write(category / "train/good", 1, 2)
    patterns = ("--good", category / "*/good/0[12]0.png", "--defects", category / "test/dent/050.png")
    for number, images in enumerate(((category,), (*patterns, "--defects", category / "test/dent"))):
        out = tmp_path / f"{number}.safetensors"
        result = stadx("calibrate", model, *images, "--out", out, "--json", tmp_path / "c.json")
        assert result.exit_code == 0, result.output
        written = json.loads((tmp_path / "c.json").read_text())
        assert [len(written["images"][kind]) for kind in ("good", "defect")] == [
            2,
            2,
        ]  # what is named twice counts once
        assert Detector.load(out).image_threshold() == 35


def test_the_model_itself_is_replaced_only_where_it_is_named(
    model: Path, known: tuple[object, ...], tmp_path: Path
) -> None:
    own = tmp_path / "m.safetensors"
    own.write_bytes(model.read_bytes())
    assert stadx("calibrate", own, *known, "--out", own).exit_code == 0
    assert Detector.load(own).image_threshold() == 35
    result = stadx("calibrate", own, *known, "--recall", 0.8, "--out", own)
    assert f"Model: {own} (image threshold 70, before 35)" in result.stderr


def test_images_that_cannot_be_read_do_not_stop_the_others(
    model: Path, known: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "ng/bad.png").write_bytes(b"")
    out = tmp_path / "m.safetensors"
    result = stadx("calibrate", model, *known, "--out", out, "--json", tmp_path / "c.json")
    assert result.exit_code == 2
    assert "bad.png" in result.stderr and "1 of 10 images could not be scored; the others chose" in result.stderr
    assert Detector.load(out).image_threshold() == 35
    assert "bad.png" in json.loads((tmp_path / "c.json").read_text())["failures"][0]["path"]


def test_without_an_image_of_a_kind_nothing_is_written(model: Path, known: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/bad.png").write_bytes(b"")
    out = tmp_path / "m.safetensors"
    result = stadx("calibrate", model, *known[:2], "--defects", tmp_path / "bad", "--out", out)
    assert result.exit_code == 2 and "there are no defect images" in result.stderr and "bad.png" in result.stderr
    assert not out.exists() and not (tmp_path / "m-calibration.png").exists()


def test_equal_scores_choose_nothing(model: Path, tmp_path: Path) -> None:
    options = ("--good", write(tmp_path / "a", 50), "--defects", write(tmp_path / "b", 50))
    result = stadx("calibrate", model, *options, "--out", tmp_path / "m.safetensors")
    assert result.exit_code == 2 and "all images score 50" in result.stderr
    assert not (tmp_path / "m.safetensors").exists()


def test_a_threshold_below_that_of_a_pixel_is_told(model: Path, known: tuple[object, ...], tmp_path: Path) -> None:
    detector = Detector.load(model)
    for pixel, told in ((34.0, False), (36.0, True)):
        detector.threshold_ = pixel
        detector.save(tmp_path / "m.safetensors")
        result = stadx("calibrate", tmp_path / "m.safetensors", *known, "--out", tmp_path / "n.safetensors")
        assert (f"The pixel threshold of {pixel:g} is higher" in result.stderr) == told
        assert Detector.load(tmp_path / "n.safetensors").image_threshold() == 35


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--good", "ok"), "--image-fpr of stadx predict"),
        (("--defects", "ng"), "give both"),
        (("ok", "--good", "ok", "--defects", "ng"), "give either a category"),
        (("--good", "ok", "--defects", "ok/010.png", "--defects", "ng"), "010.png: 1 images are both"),
        (("--good", "none*.png", "--defects", "ng"), "none*.png: no images"),
        (("--good", "none.png", "--defects", "ng"), "none.png: no such file"),
        (("--good", "ok", "--defects", "ng", "--recall", "0.9", "--cost", "20:1"), "several goals; give one"),
        (("--good", "ok", "--defects", "ng", "--recall", "1.5"), "--recall"),
        (("--good", "ok", "--defects", "ng", "--cost", "20"), "not like 20:1"),
        (("--good", "ok", "--defects", "ng", "--cost", "0:1"), "not like 20:1"),
        (("--good", "ok", "--defects", "ng", "--defect-rate", "0.1"), "means nothing without --cost"),
        (("--good", "ok", "--defects", "ng", "--plot", "ng/040.png"), "040.png: is a file that is read"),
        (("--good", "ok", "--defects", "ng", "--json", "new.safetensors"), "new.safetensors: is a file that is read"),
        (("--good", "ok", "--defects", "ng", "--plot", "m.safetensors"), "m.safetensors: is a file that is read"),
        (("good-only",), "good-only: has no defect test images"),
    ],
)
def test_refusals(
    arguments: tuple[str, ...],
    message: str,
    model: Path,
    known: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "m.safetensors").write_bytes(model.read_bytes())
    write(tmp_path / "good-only/test/good", 10)
    write(tmp_path / "good-only/train/good", 10)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    result = stadx("calibrate", "m.safetensors", *arguments, "--out", "new.safetensors")
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == files
