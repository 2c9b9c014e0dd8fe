"""`stadx train-many` in this process: a model for each category, none trained twice, one that fails stops no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import stadx
from data_sets import draw_loco
from small import good_images, teacher_file

from stadx import Detector
from stadx.data.images import write_image
from stadx.data.layouts import open_category
from stadx.evaluation.of_detector import evaluate

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture
def train_many(tmp_path: Path) -> Any:
    for seed, name in enumerate(("cup", "lid")):
        for number, image in enumerate(good_images(6, (40, 48), seed=seed)):
            write_image(tmp_path / "set" / name / f"{number}.png", np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    small = ("--scales", 17, "--image-size", 0, "--students", 2, "--steps", 6, "--crop", 16, "--held-out", 0.3)
    teacher = teacher_file(tmp_path)

    def run(*more: object) -> Any:
        return stadx("train-many", tmp_path / "set", "--out", tmp_path / "out", *small, "--teacher", teacher, *more)

    return run


def test_what_is_done_is_kept(train_many: Any, tmp_path: Path) -> None:
    result = train_many("--json", tmp_path / "all.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "all.json").read_text())
    assert [one["name"] for one in found] == ["cup", "lid"] and found[0]["images"] == 6
    assert found[1]["threshold"] == Detector.load(tmp_path / "out/lid.safetensors").threshold_
    assert not list((tmp_path / "out").glob("*.part"))
    assert "2 of 2 categories were done by a previous run" in train_many().output
    write_image(tmp_path / "set/lid/more.png", np.full((40, 48, 3), 90, np.uint8))
    assert "1 of 2 categories were done by a previous run" in train_many().output
    assert "were done by a previous run" not in train_many("--seed", 1).output


def test_loco_is_measured_by_its_own_metric(tmp_path: Path) -> None:
    small = ("--scales", 17, "--image-size", 32, "--students", 2, "--steps", 2, "--crop", 16)
    given = (draw_loco(tmp_path / "set/box").parent, "--out", tmp_path / "out", "--json", tmp_path / "all.json")
    result = stadx("train-many", *given, *small, "--teacher", teacher_file(tmp_path))
    assert result.exit_code == 0 and "AU-s" in result.output, result.output
    (found,) = json.loads((tmp_path / "all.json").read_text())
    model = Detector.load(found["model"])
    own = evaluate(model, open_category(tmp_path / "set/box")).spro
    assert own is not None and found["metrics"]["au_spro"] == pytest.approx(own.mean[0.05], abs=1e-6)


def test_one_that_fails_stops_no_other(train_many: Any, tmp_path: Path) -> None:
    (tmp_path / "set/cup/0.png").write_bytes(b"")
    result = train_many()
    assert result.exit_code == 2 and "1 of 2 categories could not be trained" in result.output
    assert "0.png: is empty" in result.output and (tmp_path / "out/lid.safetensors").is_file()


def test_options_that_would_do_nothing(train_many: Any) -> None:
    assert "means nothing without --cluster" in train_many("--workers", 2).output
    assert "give --workers" in train_many("--cluster", "auto", "--jobs", 2).output
