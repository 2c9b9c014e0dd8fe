"""`stadx update`, what `stadx info` says of it, and `stadx compare`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import stadx
from small import good_images, teacher_file
from small_detectors import small_settings
from torch import Tensor

from stadx import Detector
from stadx.data.images import write_image
from stadx.detectors.registry import detector_class
from stadx.evaluation.compare_models import _auroc_of_draws
from stadx.metrics import auroc

pytestmark = pytest.mark.usefixtures("narrow_networks")


def write(folder: Path, images: Tensor) -> Path:
    for index, image in enumerate(images):
        write_image(folder / f"{index:02}.png", image.permute(1, 2, 0).numpy())
    return folder


def brighter(count: int, seed: int) -> Tensor:
    return (good_images(count, (32, 32), seed).float() * 0.6 + 90).to(torch.uint8)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> dict[str, Path]:
    """A category, new images, a model, and one that was updated."""
    root = tmp_path_factory.mktemp("update")
    data = root / "part"
    write(data / "train/good", good_images(10, (32, 32)))
    write(data / "test/good", torch.cat([good_images(3, (32, 32), 1), brighter(6, 2)]))
    defects = good_images(4, (32, 32), 3)
    defects[:, :, 10:20, 10:20] = 200
    write(data / "test/hole", defects)
    mask = np.zeros((32, 32), np.uint8)
    mask[10:20, 10:20] = 255
    for index in range(4):
        write_image(data / f"ground_truth/hole/{index:02}_mask.png", mask)
    new = write(root / "new", brighter(5, 4))
    model, out = root / "m.safetensors", root / "m2.safetensors"
    options = ("--scales", 17, "--teacher", teacher_file(root), "--students", 2, "--image-size", 0, "--image-fpr", 0.1)
    result = stadx("train", data, "--out", model, *options, "--steps", 60, "--memory", "50KB")
    assert result.exit_code == 0, result.output
    result = stadx("update", model, new, "--out", out)
    assert result.exit_code == 0, result.output
    for part in (
        "Images: 5 new, 10 old; 6 steps.",
        "Of the 10 old images that judged",
        "of an image",
        "m2.safetensors",
    ):
        assert part in result.stderr
    assert not list(root.glob("*.part*"))
    return {"data": data, "new": new, "model": model, "out": out, "root": root}


def test_info_tells_where_a_model_comes_from(places: dict[str, Path], tmp_path: Path) -> None:
    parent = Detector.load(places["model"]).model_hash()
    result = stadx("info", places["out"], "--json", tmp_path / "i.json")
    assert result.exit_code == 0
    for part in (" trained: 10 images, 60 steps", f"updated: 5 new images, 10 old ones, 6 steps, from {parent[:12]}"):
        assert part in " ".join(result.stdout.split())
    told = json.loads((tmp_path / "i.json").read_text())
    first, second = told["lineage"]
    assert first["parent"] is None and second["parent"] == parent and told["model"] != parent
    assert len(first["sha256"]) == 10 and len(second["sha256"]) == 5 and len(second["sha256"][0]) == 64
    assert 0 < told["memory"]["bytes"] <= 50_000
    for key in ("when", "stadx", "steps", "seed", "judged", "thresholds"):
        assert key in second


def test_without_memory_the_command_says_what_is_missing(places: dict[str, Path], tmp_path: Path) -> None:
    result = stadx("update", places["model"], places["new"], "--out", tmp_path / "a", "--memory", 0)
    assert result.exit_code == 0 and Detector.load(tmp_path / "a").memory_.files == ()
    again = write(tmp_path / "more", brighter(3, 9))
    result = stadx("update", tmp_path / "a", again, "--out", tmp_path / "b")
    assert result.exit_code == 0
    assert "keeps no image that its students" in result.stderr and "thresholds alone" in result.stderr
    result = stadx("update", tmp_path / "a", again, "--out", tmp_path / "b", "--old", places["data"], "--steps", 3)
    assert result.exit_code == 0 and "3 new, 10 old; 3 steps" in result.stderr


def test_what_update_refuses(places: dict[str, Path], tmp_path: Path) -> None:
    model, new = places["model"], places["new"]
    result = stadx("update", model, new, "--out", model)
    assert result.exit_code == 2 and "choose another name" in result.stderr
    result = stadx("update", model, new, "--out", tmp_path / "m", "--memory", "16 apples")
    assert result.exit_code == 2 and "is not like 16MB" in result.stderr
    result = stadx("update", places["out"], new, "--out", tmp_path / "m")
    assert result.exit_code == 2 and "knows all of these 5 images already" in result.stderr
    other = tmp_path / "vae"
    detector_class("vae")(**small_settings("vae", tmp_path)).fit(good_images(6)).save(other)
    result = stadx("update", other, new, "--out", tmp_path / "m")
    assert result.exit_code == 2 and "vae model cannot learn further images" in result.stderr
    result = stadx("train", new, "--out", tmp_path / "m", "--method", "vae", "--memory", "1MB")
    assert result.exit_code == 2 and "--memory" in result.stderr


def test_compare(places: dict[str, Path], tmp_path: Path) -> None:
    json_file, page = tmp_path / "c.json", tmp_path / "c.html"
    result = stadx("compare", places["model"], places["out"], places["data"], "--json", json_file, "--html", page)
    assert result.exit_code == 0, result.output
    told = json.loads(json_file.read_text())
    gone = [change for change in told["changes"] if change["what"] == "false alarm gone"]
    assert len(gone) >= 4 and all(change["flagged"] == [True, False] for change in gone)
    assert f"{len(gone)} false alarm gone" in result.stderr
    assert "image AUROC" in result.stdout and "good/03.png" in result.stdout
    for found in told["differences"].values():
        assert found["low"] <= found["difference"] + 1e-9 and found["difference"] <= found["high"] + 1e-9
        assert found["difference"] == pytest.approx(found["a"] - found["b"])
    html = page.read_text()
    assert html.count("<figure") == len(told["changes"]) and "false alarm gone" in html

    same = stadx("compare", places["out"], places["out"], places["data"], "--json", json_file)
    told = json.loads(json_file.read_text())
    assert "Verdicts that change from A to B: none." in same.stderr and told["changes"] == []
    for found in told["differences"].values():  # pairs: of the same images no replicate differs
        assert found["low"] == found["high"] == 0 and found["a_better"] == 0.5
    assert stadx("compare", places["model"], places["out"]).exit_code == 2


def test_image_auroc_of_a_draw_is_that_of_its_images() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 30).astype(float), rng.random(30) < 0.4
    drawn = rng.multinomial(30, np.full(30, 1 / 30), 20)
    expected = [auroc(np.repeat(scores, counts), np.repeat(labels, counts)) for counts in drawn]
    np.testing.assert_allclose(_auroc_of_draws(scores, labels, drawn.astype(float)), expected)
