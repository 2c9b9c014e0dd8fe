"""`stadx rank`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import stadx
from small import good_images, teacher_file
from small_detectors import small_settings

from stadx import Detector
from stadx.cli.rank import UNKNOWN_IMAGES
from stadx.data.images import write_image
from stadx.detectors.registry import detector_class
from stadx.detectors.student_teacher.known_images import KnownImages

pytestmark = pytest.mark.usefixtures("narrow_networks")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> tuple[Path, Path]:
    """A model, and a folder with images like the learned ones, one of these, others in a sub-folder, and a bad file."""
    root = tmp_path_factory.mktemp("rank")
    learned = good_images(10, (32, 32))
    settings = {"students": 2, "steps": 60, "image_size": None}
    Detector((17,), teachers=[teacher_file(root)], **settings).fit(learned).save(root / "m.safetensors")
    other = (good_images(4, (32, 32), 3).float() * 0.6 + 90).to(torch.uint8)
    for name, images in (("a", good_images(3, (32, 32), 8)), ("known", learned[:1]), ("sub/b", other)):
        for number, image in enumerate(images):
            write_image(root / f"line/{name}{number}.png", image.permute(1, 2, 0).numpy())
    return root / "m.safetensors", root / "line"


def test_table_csv_and_json_hold_the_same(places: tuple[Path, Path], tmp_path: Path) -> None:
    model, line = places
    out, told = tmp_path / "r.csv", tmp_path / "r.json"
    result = stadx("rank", model, line, "--top", 3, "--out", out, "--json", told)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(out.read_text().splitlines()))
    images = json.loads(told.read_text())["images"]
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert [row["path"] for row in rows] == [image["path"] for image in images]
    assert Path(rows[0]["path"]).parent.name == "sub"
    assert [float(row["gain"]) for row in rows] == [image["gain"] for image in images]
    assert all(Path(row["path"]).name in result.stdout for row in rows)
    assert "the model has learned from them: 1" in result.stderr
    result = stadx("rank", model, line, "--no-recursive", "--json", told)
    assert result.exit_code == 0 and len(json.loads(told.read_text())["images"]) == 3


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_ranked(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    model, line = places
    (tmp_path / "bad.png").write_bytes(b"no image")
    told = tmp_path / "r.json"
    result = stadx("rank", model, line, tmp_path / "bad.png", "--json", told)
    assert result.exit_code == 2 and "bad.png" in result.stderr and "1 of 9 images could not be scored" in result.stderr
    content = json.loads(told.read_text())
    assert len(content["images"]) == 7 and content["failures"][0]["path"].endswith("bad.png")


def test_a_region_of_interest(places: tuple[Path, Path], tmp_path: Path) -> None:
    model, line = places
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 16:] = 255
    write_image(tmp_path / "mask.png", mask)
    scores = []
    for more in ([], ["--roi", tmp_path / "mask.png"], ["--roi", "none"]):
        result = stadx("rank", model, line, *more, "--json", tmp_path / "r.json")
        assert result.exit_code == 0, result.output
        images = json.loads((tmp_path / "r.json").read_text())["images"]
        scores.append({image["path"]: image["e"] for image in images})
    assert scores[0] == scores[2] and all(scores[0][path] != scores[1][path] for path in scores[0])


def test_help_and_what_rank_refuses(places: tuple[Path, Path], tmp_path: Path) -> None:
    model, line = places
    assert "Example: stadx rank" in " ".join(stadx("rank", "--help").stdout.split())
    result = stadx("rank", model, tmp_path / "nothing")
    assert result.exit_code == 2 and "no such file or folder" in result.stderr
    result = stadx("rank", model, line, "--out", tmp_path / "no" / "folder" / "r.csv", "--top", 0)
    assert result.exit_code == 2 and "--top" in result.stderr
    other = tmp_path / "vae"
    detector_class("vae")(**small_settings("vae", tmp_path)).fit(good_images(6)).save(other)
    result = stadx("rank", other, line)
    assert result.exit_code == 2 and "vae model cannot learn further images" in result.stderr


def test_a_model_that_does_not_know_its_images_says_so(places: tuple[Path, Path], tmp_path: Path) -> None:
    """As one of stadx 0.1: `novelty` is as ever, but none of the images that it has learned is left out."""
    model, line = places
    old = Detector.load(model)
    old.lineage_, old.known_ = [], KnownImages()
    old.save(tmp_path / "old.safetensors")
    told = tmp_path / "r.json"
    result = stadx("rank", tmp_path / "old.safetensors", line, "--json", told)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert said.count("does not know which images it was trained on") == 1 and "stadx update with --old" in said
    content = json.loads(told.read_text())
    assert content["known"] is None and content["notes"] == [UNKNOWN_IMAGES] and len(content["images"]) == 8
    assert any(Path(image["path"]).name == "known0.png" for image in content["images"])
    assert all(image["novelty"] > 0 for image in content["images"])
    result = stadx("rank", model, line, "--json", told)
    assert "does not know" not in result.stderr and json.loads(told.read_text())["notes"] == []
