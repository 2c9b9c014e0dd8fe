"""`--roi` and `--ignore-value` on the command line."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import stadx as run
from small import good_images, teacher_file
from torch import Tensor

from stadx import Detector
from stadx.data.images import read_map, write_image
from stadx.detectors.base import Calibrated
from stadx.detectors.baselines import METHODS
from stadx.detectors.registry import load_model
from stadx.metrics.image_score import image_scores

pytestmark = pytest.mark.usefixtures("narrow_networks")

LEFT = np.zeros((48, 64), np.uint8)
LEFT[:, :40] = 255


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def told(result: Any) -> str:
    assert result.exit_code == 2, result.output
    return " ".join(result.output.replace("│", " ").split())


def _write(path: Path, image: Tensor) -> None:
    write_image(path, image.permute(1, 2, 0).numpy())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A category whose defects are on the right, a mask of the left, and a model that was trained with it."""
    root = tmp_path_factory.mktemp("roi")
    for i, image in enumerate(good_images(8, (48, 64))):
        _write(root / f"cup/train/good/{i}.png", image)
    for i, image in enumerate(good_images(6, (48, 64), seed=1)):
        if i >= 2:
            columns = slice(50, 60) if i < 4 else slice(15, 25)
            image[:, 20:30, columns] = 255
            mask = np.zeros((48, 64), np.uint8)
            mask[20:30, columns], mask[20:22, columns] = 255, 128
            write_image(root / f"cup/ground_truth/spot/{i}_mask.png", mask)
        _write(root / f"cup/test/{'spot' if i >= 2 else 'good'}/{i}.png", image)
    write_image(root / "left.png", LEFT)
    options = ("--scales", 17, "--students", 2, "--steps", 10, "--image-size", 0, "--teacher", teacher_file(root))
    said = done("train", root / "cup", "--out", root / "model", "--roi", root / "left.png", *options)
    assert "left.png, 62.5 % of 64x48 pixels" in said
    return root


def test_the_model_keeps_and_uses_its_mask(place: Path) -> None:
    assert np.array_equal(load_model(place / "model").roi_, LEFT > 0)
    images = place / "cup/test/spot"
    said = done("predict", place / "model", images, "--out", place / "own")
    assert "Region of interest: the model's own, 62.5 % of an image" in said
    assert len(np.unique(read_map(place / "own/2_map.tiff")[:, 40:])) == 1
    assert "the model's own" not in done("predict", place / "model", images, "--out", place / "all", "--roi", "none")
    assert len(np.unique(read_map(place / "all/2_map.tiff")[:, 40:])) > 100
    write_image(place / "right.png", ~LEFT)
    done("predict", place / "model", images, "--out", place / "right", "--roi", place / "right.png")
    right = read_map(place / "right/2_map.tiff")
    assert len(np.unique(right[:, :40])) == 1 and len(np.unique(right[:, 40:])) > 100
    for name in ("own", "all", "right"):
        lines = [json.loads(line) for line in (place / name / "scores.jsonl").read_text().splitlines()]
        maps = [read_map(place / name / line["map"]) for line in lines]
        columns = {"own": slice(0, 40), "all": slice(0, 64), "right": slice(40, 64)}[name]
        scores = [float(image_scores(torch.from_numpy(m[None, :, columns]), 0.001)) for m in maps]
        assert [line["image_score"] for line in lines] == pytest.approx(scores, rel=1e-6)


def test_evaluate_leaves_out_what_is_outside_or_ignored(place: Path) -> None:
    def evaluated(*options: object) -> dict[str, Any]:
        done("evaluate", place / "model", place / "cup", "--json", place / "metrics.json", *options)
        found: dict[str, Any] = json.loads((place / "metrics.json").read_text())
        return found

    own, everywhere = evaluated(), evaluated("--roi", "none")
    assert len(own["images"]) == 4 and len(everywhere["images"]) == 6
    assert "neither defect nor background" in own["notes"][0] and everywhere["notes"] == []
    assert evaluated("--roi", place / "left.png")["au_pro"] == own["au_pro"] != everywhere["au_pro"]
    assert evaluated("--roi", "none", "--ignore-value", 128)["au_pro"] != everywhere["au_pro"]
    assert len(evaluated("--roi", "none", "--ignore-value", 255)["images"]) == 6  # 128 alone is the defect then


def test_calibrate_writes_the_mask_into_the_new_model(place: Path) -> None:
    done("calibrate", place / "model", place / "cup", "--out", place / "same")
    assert np.array_equal(load_model(place / "same").roi_, LEFT > 0)
    done("calibrate", place / "model", place / "cup", "--out", place / "without", "--roi", "none")
    assert load_model(place / "without").roi_ is None
    done("calibrate", place / "without", place / "cup", "--out", place / "with", "--roi", place / "left.png")
    with_mask = load_model(place / "with")
    assert np.array_equal(with_mask.roi_, LEFT > 0)
    assert with_mask.image_threshold() == load_model(place / "same").image_threshold()


def test_a_folder_of_masks_trains_and_is_not_kept(place: Path) -> None:
    for i in range(8):
        write_image(place / f"masks/{i}_mask.png", LEFT)
    options = (
        "--scales",
        17,
        "--students",
        2,
        "--steps",
        10,
        "--image-size",
        0,
        "--teacher",
        place / "teacher17.safetensors",
    )
    done("train", place / "cup", "--out", place / "each", "--roi", place / "masks", *options)
    one, each = Detector.load(place / "model"), Detector.load(place / "each")
    assert each.roi_ is None and each.threshold_ == one.threshold_  # the masks are the same
    (place / "masks/3_mask.png").unlink()
    message = told(run("train", place / "cup", "--out", place / "x", "--roi", place / "masks", *options))
    assert "3.png: has no mask in the region of interest; expected" in message
    assert "none.png: there is no such mask" in told(
        run("predict", place / "model", place / "cup/test/good", "--out", place / "x", "--roi", "none.png")
    )


def test_detectors_without_support_refuse(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(self: Calibrated, images: Tensor, *, stride: int | None = None) -> Tensor:
        raise AssertionError

    assert "--method knn; leave it out" in told(
        run("train", place / "cup", "--out", place / "x", "--method", "knn", "--roi", place / "left.png")
    )
    assert all("roi" in inspect.signature(chosen.score).parameters for chosen in METHODS.values())
    monkeypatch.setattr(Detector, "score", score)
    for command in ("predict", "evaluate", "calibrate"):
        data = place / ("cup/test/good" if command == "predict" else "cup")
        more = () if command == "evaluate" else ("--out", place / "x")
        message = told(run(command, place / "model", data, *more, "--roi", place / "left.png"))
        assert "student-teacher scores whole images; leave the region of interest out" in message


def test_maps_of_other_tools_have_ignored_values(place: Path) -> None:
    (place / "maps").mkdir()
    for i in range(2, 6):
        np.save(place / f"maps/{i}.npy", np.random.default_rng(i).random((48, 64), np.float32))
    command = ("evaluate-maps", place / "maps", place / "cup/ground_truth/spot", "--json", place / "maps.json")
    done(*command, "--ignore-value", 128)
    assert json.loads((place / "maps.json").read_text())["counts"]["defect pixels"] == 4 * 8 * 10
