"""Which lines of scores.jsonl are monitored, and what is said of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stadx import DataError
from stadx.detectors.fitted_thresholds import Thresholds
from stadx.detectors.thresholds import HeldOutScores
from stadx.evaluation.monitor.monitoring import Monitoring, monitor
from stadx.evaluation.monitor.reading import ReadScores, read_scores
from stadx.evaluation.monitor_settings import MonitorSettings
from stadx.evaluation.prediction import ALL_REGIONS, run_of
from stadx.evaluation.report.monitor_page import write_monitoring


class Model(Thresholds):
    """What monitoring needs of a detector: 100 images judged at every 4th pixel."""

    stride, target_fpr, image_fpr = 4, 0.001, 0.05
    settings: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, seed: int = 0) -> None:
        scores = np.random.default_rng(seed).gamma(9, size=100).astype(np.float32) / 9
        levels = np.array([0.0, 1.0], np.float32), np.array([0.9, 0.1], np.float32)
        self._calibrate(HeldOutScores(*levels, np.stack([scores, scores, scores, 0.9 * scores])))

    def score(self, images: Any, *, stride: int = 1) -> Any:
        raise AssertionError("nothing is scored")


def lines_of(model: Model, scores: Sequence[float], stride: int = 4, run: str = "", **more: Any) -> str:
    made = {"image_threshold": model.image_threshold(stride), "pixel_threshold": model.threshold_, "run": run, **more}
    entries = ({"path": f"in/{i}.png", "image_score": score, **made} for i, score in enumerate(scores))
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def read(path: Path, detector: Model, stride: int = 4, **more: Any) -> ReadScores:
    return read_scores([path], detector, stride=stride, **more)


def test_lines_of_this_model_alone_are_taken_in_their_order(tmp_path: Path) -> None:
    model, other = Model(), Model(1)
    text = lines_of(other, [7, 8]) + lines_of(model, [1, 2]) + '{"path": "x.png", "error": "broken"}\nno line\n'
    page = {"path": "a.tif", "page": 3, "image_score": 5, "image_threshold": model.image_threshold()}
    text += json.dumps({**page, "pixel_threshold": model.threshold_}) + "\n" + lines_of(model, [1])
    (tmp_path / "scores.jsonl").write_text(text + lines_of(model, [9])[:-9])  # the last is being written
    found = read(tmp_path, model)
    assert found.names == ["in/0.png", "in/1.png", "a.tif, page 3"] and found.scores.tolist() == [1, 2, 5]
    assert found.notes() == [
        "Left out: 2 lines of another model or other settings.",
        "Left out: 1 line of images that have one already.",
        "Left out: 1 line of images that could not be scored.",
    ]
    both = read_scores([tmp_path, tmp_path / "scores.jsonl"], model, stride=4)
    assert both.scores.tolist() == [1, 2, 5] and both.again == 5


def test_order_by_time(tmp_path: Path) -> None:
    model, file = Model(), tmp_path / "scores.jsonl"
    file.write_text(lines_of(model, [1], modified_ns=30) + lines_of(model, [2], modified_ns=10))
    assert read(file, model).scores.tolist() == [1, 2]
    assert read(file, model, by_time=True).scores.tolist() == [2, 1]
    file.write_text(lines_of(model, [1]))
    with pytest.raises(DataError, match=r"in/0\.png has no time; leave out --order time"):
        read(file, model, by_time=True)


def test_thresholds_tell_another_stride_and_the_run_tells_a_finer_one(tmp_path: Path) -> None:
    model, file = Model(), tmp_path / "scores.jsonl"
    file.write_text(lines_of(model, [1], stride=8))
    assert read(file, model, 8).scores.tolist() == [1]
    with pytest.raises(DataError, match="made with --stride 8; give --stride 8"):
        read(file, model)
    file.write_text(lines_of(model, [1], run=run_of(model, 1, ALL_REGIONS, None, "hash")))
    assert len(read(file, model).scores) == 1  # of an unknown model it cannot be told
    with pytest.raises(DataError, match=r"made with --stride 1, finer than the model's own.*predict with --stride 4"):
        read(file, model, model="hash")
    with pytest.raises(ValueError, match="not known at stride 2"):
        read(file, model, 2)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    model, file = Model(), tmp_path / "scores.jsonl"

    def refused(content: str, message: str) -> None:
        file.write_text(content)
        with pytest.raises(DataError, match=message):
            read(file, model)

    refused("", "has no lines of stadx predict; name the scores.jsonl that it wrote")
    refused('{"path": "a.png", "score": 1}\n[1]\n{"image_score": 1}\n', "has no lines of stadx predict")
    refused(lines_of(model, [1], image_threshold=True), "has no lines of stadx predict")
    refused('{"path": "a.png", "error": "x"}\n', "no image could be scored")
    refused(lines_of(model, [1.0, float("nan")]), r"the score of in/1\.png is nan")
    refused(lines_of(Model(1), [1]), "no line is of this model: its thresholds .* give the model that the images")
    for place, message in ((tmp_path / "none", "no such file or folder"), (tmp_path.parent, "holds no scores.jsonl")):
        with pytest.raises(DataError, match=message):
            read(place, model)


def line(seed: int, *parts: tuple[int, float], defects: float = 0.0) -> NDArray[np.float64]:
    """Scores of as many images, each part times a factor; of the last part some have defects."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.gamma(9, size=count) / 9 * factor for count, factor in parts])
    scores[-parts[-1][0] :][rng.uniform(size=parts[-1][0]) < defects] += 6
    return scores


def told(scores: NDArray[np.float64], **settings: Any) -> Monitoring:
    model = Model()
    names = [f"{i}.png" for i in range(1, len(scores) + 1)]
    return monitor(names, scores, model.judged_scores(), model.image_threshold(), MonitorSettings(**settings))


@pytest.mark.parametrize(
    ("scores", "sentence", "advice"),
    [
        (line(1, (300, 1)), r"No drift: the 300 images .* at most 1 % are ever said", r"Nothing to do\."),
        (line(0, (200, 1), (100, 1.5)), r"Drift: images score higher .* image 2\d\d \(2\d\d\.png\)", "stadx update"),
        (line(3, (200, 1), (100, 0.7)), r"Drift: images score lower than the images that judged", "score lower too"),
        (line(4, (200, 1), (150, 1), defects=0.3), r"More images score high .* rather than the camera", "stadx review"),
    ],
    ids=["none", "higher", "lower", "defects"],
)
def test_what_is_said_and_advised(scores: NDArray[np.float64], sentence: str, advice: str) -> None:
    found = told(scores)
    assert re.search(sentence, found.sentence()) and advice.strip("\\.") in found.advice()
    content = json.loads(json.dumps(found.to_json()))
    assert (content["verdict"] == "none") == (content["since"] is None) == ("since" not in content["figures"])
    figures = content["figures"]["now"]
    assert figures["images"] == 50 and figures["flagged"] == int((scores[-50:] > found.threshold).sum())
    assert figures["median"] == pytest.approx(np.median(scores[-50:]))


def test_a_small_shift_calls_for_a_threshold_alone() -> None:
    found = told(line(7, (100, 1), (400, 1.12)), alpha=0.05)
    assert found.state.verdict == "level" and "stadx calibrate" in found.advice()


def test_a_line_that_differs_from_the_start_may_be_compared_with_its_beginning() -> None:
    scores = line(5, (300, 1.5))
    assert any("--baseline 100" in note for note in told(scores).notes)
    found = told(scores, baseline=100)
    assert found.sentence().startswith("No drift: the 200 images score as the first 100 images do")
    shifted = told(np.concatenate([scores, 2 * scores]), baseline=100)
    assert shifted.state.since is not None and 295 <= shifted.state.since <= 310 and not shifted.notes
    assert shifted.figures["reference"].images == 100 and shifted.figures["all"].images == 500
    with pytest.raises(DataError, match="the first 300 are to compare with; wait for more"):
        told(scores, baseline=300)
    with pytest.raises(
        DataError, match=r"100 images to compare with are 4 groups of 25; 10 are needed.*--baseline 500"
    ):
        told(scores, group=25)
    with pytest.raises(DataError, match=r"5 images are too few to compare with.*larger --baseline"):
        told(scores, baseline=5)


def test_images_that_are_alike_are_told() -> None:
    alike = np.repeat(line(6, (100, 1)), 4)
    assert any(note.startswith("Images of the line that follow each other") for note in told(alike).notes)
    assert not told(alike, group=4).notes


@pytest.mark.parametrize("scores", [line(2, (200, 1), (100, 1.4)), line(1, (12, 1)), 30 * line(1, (5, 1))], ids=len)
def test_the_page_shows_it(tmp_path: Path, scores: NDArray[np.float64]) -> None:
    found = told(scores)
    write_monitoring(tmp_path / "new/line.html", found, "a <line>")
    page = (tmp_path / "new/line.html").read_text()
    assert "<h1>a &lt;line&gt;</h1>" in page and "http" not in page.replace("http://www.w3.org", "")
    for part in (
        "image score",
        "flagged (%)",
        "evidence (martingale)",
        "threshold",
        "2 / α = 200",
        "images that judged",
    ):
        assert part in page
    assert (f"<td>since {found.state.since}</td>" in page) == (found.state.since is not None)
