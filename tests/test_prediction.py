"""Which files `predict` reads, and what it calls its outputs."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
import torch

from stadx.data.images import write_image
from stadx.errors import DataError
from stadx.prediction import collect_images, output_names, predict_files


class Found(NamedTuple):
    maps: torch.Tensor
    masks: torch.Tensor


class Brightness:
    threshold_ = 0.5
    heldout_scores_ = np.array([0.6], np.float32)
    settings = MappingProxyType[str, object]({})

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(1) / 255

    def predict(self, images: torch.Tensor) -> Found:
        maps = self.score(images)
        return Found(maps, maps > self.threshold_)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.png", "a/y.png"], ["x", "y"]),
        (["a/x.png", "b/x.png"], ["a_x", "b_x"]),
        (["a/x.png", "a/x.jpg"], ["a_x", "a_x_2"]),
        (["a/x.png", "a/X.jpg"], ["a_x", "a_X_2"]),
        (["a/x.png", "b/x.png", "c/a_x.png"], ["a_x_2", "b_x", "a_x"]),
        (["c/a/x.png", "d/a/x.png", "e/a/x.png"], ["a_x", "a_x_2", "a_x_3"]),
    ],
)
def test_names_are_short_and_never_the_same(paths: list[str], names: list[str]) -> None:
    assert output_names([Path(path) for path in paths]) == names


def test_folders_are_listed_and_nothing_is_read_twice(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    assert collect_images([tmp_path / "b.png", tmp_path]) == [tmp_path / "b.png", tmp_path / "a.png"]
    with pytest.raises(DataError, match=r"c\.png: no such file"):
        collect_images([tmp_path, tmp_path / "c.png"])


def test_pixels_and_whole_images_have_their_own_thresholds(tmp_path: Path) -> None:
    for name, value in (("dark", 100), ("middle", 140), ("bright", 200)):
        write_image(tmp_path / f"{name}.png", np.full((4, 5, 3), value, np.uint8))
    paths = [tmp_path / f"{name}.png" for name in ("dark", "middle", "bright")]
    lines, failures = predict_files(Brightness(), paths, tmp_path / "out")
    assert failures == []
    assert [line["anomalous_pixels"] for line in lines] == [0, 20, 20]
    assert [line["is_anomalous"] for line in lines] == [False, False, True]


def test_scores_that_are_no_numbers_are_a_failure_of_that_image(tmp_path: Path) -> None:
    class Broken(Brightness):
        def score(self, images: torch.Tensor) -> torch.Tensor:
            return super().score(images) / 0 * 0

    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    lines, failures = predict_files(Broken(), [tmp_path / "a.png"], tmp_path / "out")
    assert lines == [] and "a.png" in failures[0].message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scores.jsonl"]


def test_what_is_done_is_kept_when_the_work_is_stopped(tmp_path: Path) -> None:
    class Stopped(Brightness):
        left = 1

        def predict(self, images: torch.Tensor) -> Found:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().predict(images)

    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(KeyboardInterrupt):
        predict_files(Stopped(), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")
    lines = (tmp_path / "out/scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["map"] for line in lines] == ["a_map.tiff"]
    assert not any(path.name.startswith(".") for path in (tmp_path / "out").iterdir())
