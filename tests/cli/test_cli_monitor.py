"""`stadx monitor` after `stadx predict`: verdict, exit status, files, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import stadx
from small import good_images
from small_detectors import small_settings

from stadx import Detector
from stadx.data.images import write_image

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> dict[str, Path]:
    """A model, and the lines of ten images of a line."""
    root = tmp_path_factory.mktemp("monitor")
    detector = Detector(**small_settings("student-teacher", root), image_fpr=0.1).fit(good_images(14))
    detector.save(root / "m.safetensors")
    for index, image in enumerate(good_images(10, seed=1)):
        write_image(root / f"line/{index:02}.png", image.permute(1, 2, 0).numpy())
    result = stadx(
        "predict", root / "m.safetensors", root / "line", "--out", root / "found", "--no-map", "--no-overlay"
    )
    assert result.exit_code == 0, result.output
    return {"model": root / "m.safetensors", "found": root / "found", "root": root}


def shifted(places: dict[str, Path], to: Path, count: int, by: float) -> Path:
    """Lines of other images whose scores lie so many standard deviations higher."""
    line = json.loads((places["found"] / "scores.jsonl").read_text().splitlines()[0])
    judged = Detector.load(places["model"]).judged_scores()
    scores = np.random.default_rng(count).choice(judged, count) + by * judged.std()
    entries = ({**line, "path": f"{i}.png", "image_score": float(s)} for i, s in enumerate(scores, start=1))
    to.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return to


def test_no_drift(places: dict[str, Path], tmp_path: Path) -> None:
    result = stadx("monitor", places["model"], places["found"], "--json", tmp_path / "m.json")
    assert result.exit_code in (0, 1), result.output  # ten images of a model that learned for four steps
    told = json.loads((tmp_path / "m.json").read_text())
    assert told["images"] == 10 and told["figures"]["reference"]["images"] == 14 and told["stride"] == 4
    assert set(told["left_out"].values()) == {0} and told["verdict"] in ("none", "level", "high")
    result = stadx("monitor", places["model"], shifted(places, tmp_path / "s.jsonl", 60, 0))
    assert result.exit_code == 0 and "No drift: the 60 images" in result.stderr and "Nothing to do." in result.stderr
    assert "│ judged   │     14 │" in result.stdout and "│ last 50  │" in result.stdout


def test_a_drift_ends_with_1(places: dict[str, Path], tmp_path: Path) -> None:
    good, bad = shifted(places, tmp_path / "a.jsonl", 40, 0), shifted(places, tmp_path / "b.jsonl", 41, 9)
    result = stadx("monitor", places["model"], good, bad, "--html", tmp_path / "p.html", "--json", tmp_path / "m.json")
    assert result.exit_code == 1
    assert "Drift: images score higher than the images that judged, since about image " in result.stderr
    assert "(stadx update)" in result.stderr and "│ since " in result.stdout
    assert "<svg" in (tmp_path / "p.html").read_text() and "Page: " in result.stderr
    told = json.loads((tmp_path / "m.json").read_text())
    assert told["verdict"] == "level" and told["rises"] and 30 <= told["since"]["number"] <= 43
    assert told["told_at"]["number"] > 40 and told["told_at"]["name"].endswith(".png")
    assert stadx("monitor", places["model"], good, "--alpha", 0.05, "--window", 10, "--group", 1).exit_code == 0


def test_settings_of_predict_must_be_those(places: dict[str, Path], tmp_path: Path) -> None:
    model, found = places["model"], places["found"]
    result = stadx("monitor", model, found, "--target-fpr", 0.4)
    assert (
        result.exit_code == 2
        and "no line is of this model" in result.stderr
        and "--target-fpr if predict" in result.stderr
    )
    assert "finer than 4, the model's own" in stadx("monitor", model, found, "--stride", 2).stderr
    out = tmp_path / "fine"
    assert stadx("predict", model, places["root"] / "line", "--out", out, "--stride", 1).exit_code == 0
    result = stadx("monitor", model, out)
    assert result.exit_code == 2 and "made with --stride 1, finer than the model's own" in result.stderr
    out = tmp_path / "coarse"
    options = ("--stride", 8, "--image-fpr", 0.3, "--min-area", 2)
    assert stadx("predict", model, places["root"] / "line", "--out", out, *options).exit_code == 0
    assert stadx("monitor", model, out, "--stride", 8, "--image-fpr", 0.3).exit_code in (0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--alpha", "1"), "--alpha: alpha is 1.0"),
        (("--defect-rate", "0.5"), "--defect-rate: defect_rate is 0.5"),
        (("--baseline", "10"), "the first 10 are to compare with"),
        (("--html", "/dev/null/x.html"), "/dev/null/x.html"),
        (("--json", "FOUND/scores.jsonl"), "is a file that is read"),
    ],
)
def test_bad_options(places: dict[str, Path], options: tuple[str, ...], message: str) -> None:
    lines = (places["found"] / "scores.jsonl").read_text()
    options = tuple(option.replace("FOUND", str(places["found"])) for option in options)
    result = stadx("monitor", places["model"], places["found"], *options)
    assert (places["found"] / "scores.jsonl").read_text() == lines
    assert result.exit_code == 2 and message in result.stderr
