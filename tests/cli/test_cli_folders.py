"""Commands on folders as people have them: sub-folders, pages, files left out, doubtful masks."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from data_sets import draw_image, draw_mask
from PIL import Image
from small import teacher_file
from typer.testing import CliRunner

from stadx.cli import app as cli
from stadx.cli.setting_options import image_size
from stadx.data.demo.demo_set import write_demo_set
from stadx.detectors.registry import load_model


def stadx(*arguments: object) -> Any:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 1, 2) and "Traceback" not in result.output, result.output
    return result


@pytest.fixture(scope="module")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_set(tmp_path_factory.mktemp("set"), size=48, train=4, test_good=2, test_defect=2)[0]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return teacher_file(tmp_path_factory.mktemp("teacher"))


def train(data: Path | str, teacher: Path, out: Path, *more: object) -> Any:
    small = ("--scales", 17, "--students", 1, "--steps", 2, "--teacher", teacher)
    return stadx("train", data, "--out", out, *small, *(more or ("--image-size", 48)))


@pytest.fixture(scope="module")
def model(category: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    assert train(category, teacher, path).exit_code == 0
    return path


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def test_predict_goes_through_sub_folders(model: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in ("a.png", "x/a.png", "x/y/b.png", "x/c.heic", "z/d.HEIC"):
        draw_image(photos / "t.png").rename(photos / "t") and (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / "t").rename(photos / name)
    out = photos / "found"
    for _ in range(2):  # the second run finds the results of the first
        result = stadx("predict", model, photos, "--out", out)
        assert result.exit_code == 0
        assert {line["path"] for line in lines(out)} == {
            f"{photos}/{name}" for name in ("a.png", "x/a.png", "x/y/b.png")
        }
        assert "of 3 images are anomalous" in result.stderr
        assert len(re.findall(r"2 files are left out.*\(2 \.heic\)", result.stderr)) == 1
    result = stadx("predict", model, photos, "--out", tmp_path / "flat", "--no-recursive")
    assert [line["path"] for line in lines(tmp_path / "flat")] == [f"{photos}/a.png"]
    stadx("predict", model, f"{photos}/x/**/*.png", "--out", tmp_path / "pattern")
    assert len(lines(tmp_path / "pattern")) == 2


def test_pages_are_scored_trained_on_and_measured(model: Path, category: Path, teacher: Path, tmp_path: Path) -> None:
    frames = [np.asarray(Image.open(path)) for path in sorted((category / "test/good").iterdir())]
    frames += [np.asarray(Image.open(path)) for path in sorted((category / "test").glob("[!g]*/*"))[:1]]
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/stack.tif", np.stack(frames), photometric="rgb")
    out = tmp_path / "out"
    assert stadx("predict", model, tmp_path / "in", "--out", out, "--export", "csv,coco").exit_code == 0
    images = json.loads((out / "regions.coco.json").read_text())["images"]
    assert [(image["file_name"], image["page"]) for image in images] == [
        (f"{tmp_path}/in/stack.tif", i) for i in (1, 2, 3)
    ]
    rows = (out / "regions.csv").read_text().splitlines()[1:]
    pages = [row.removeprefix(f"{tmp_path}/in/stack.tif,").split(",")[0] for row in rows]
    assert pages and set(pages) <= {"1", "2", "3"}
    found = lines(out)
    assert [(line["path"], line["page"]) for line in found] == [(f"{tmp_path}/in/stack.tif", i) for i in (1, 2, 3)]
    assert [line["map"] for line in found] == [f"stack_p{i}_map.tiff" for i in (1, 2, 3)]
    Image.fromarray(frames[2]).save(tmp_path / "single.png")
    stadx("predict", model, tmp_path / "single.png", "--out", tmp_path / "one")
    assert lines(tmp_path / "one")[0]["image_score"] == pytest.approx(found[2]["image_score"])
    assert train(tmp_path / "in/*.tif", teacher, tmp_path / "m.safetensors").exit_code == 0
    patterns = ("--good", tmp_path / "in", "--defects", tmp_path / "single.png")
    result = stadx("evaluate", model, *patterns, "--json", tmp_path / "e.json", "--report", tmp_path / "e.html")
    assert result.exit_code == 0 and "stack.tif, page " in (tmp_path / "e.html").read_text()
    images = json.loads((tmp_path / "e.json").read_text())["images"]
    assert [image.get("page") for image in images] == [1, 2, 3, None]
    result = stadx("data", "check", tmp_path / "in")
    assert "in: 3 images to train on" in result.stderr and "each of the 3 pages" in result.stdout


def test_what_is_left_out_is_said_once(model: Path, category: Path, teacher: Path, tmp_path: Path) -> None:
    for part in ("train/good", "test/good", "test/bad", "test/worse"):
        for i in range(2):
            draw_image(tmp_path / f"part/{part}/{i}.png", (48, 48))
        (tmp_path / f"part/{part}/x.heic").write_bytes(b"x")
    small = ("--steps", 1, "--students", 1, "--image-size", 48, "--scales", 17, "--teacher", teacher)
    for arguments in (
        ("train", tmp_path / "part", "--out", tmp_path / "m", *small),
        ("evaluate", model, tmp_path / "part"),
        ("predict", model, tmp_path / "part", "--out", tmp_path / "o"),
        ("data", "check", tmp_path / "part"),
    ):
        count = 1 if arguments[0] == "train" else 4
        told = re.findall(rf"{count} files? (?:are|is) left out.*\({count} \.heic\)", stadx(*arguments).output)
        assert len(told) == 1, arguments


def test_a_test_set_without_masks_is_measured_by_images(model: Path, tmp_path: Path) -> None:
    for part in ("train/OK", "test/OK", "test/NG"):
        for i in range(2):
            draw_image(tmp_path / f"part/{part}/{i}.png", (48, 48))
    result = stadx("evaluate", model, tmp_path / "part", "--json", tmp_path / "e.json")
    assert "2 of 2 defect images of part have no mask, so pixel AUROC and AU-PRO are undefined" in result.stderr
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["image_auroc"] is not None and found["pixel_auroc"] is None


def test_grey_masks_are_told(model: Path, category: Path, tmp_path: Path) -> None:
    for i in range(2):
        draw_image(tmp_path / f"part/test/good/{i}.png", (48, 48))
        draw_image(tmp_path / f"part/test/bad/{i}.png", (48, 48))
        mask = draw_mask(tmp_path / f"part/ground_truth/bad/{i}_mask.png", size=(48, 48))
        buffer = io.BytesIO()
        Image.open(mask).save(buffer, "JPEG")
        Image.open(buffer).save(mask)
    for command in (("evaluate", model), ("data", "check")):
        assert "pixels that are not black are grey" in stadx(*command, tmp_path / "part").output


def test_the_page_of_the_check(tmp_path: Path) -> None:
    root = tmp_path / "part"
    for i in range(10):
        draw_image(root / f"train/good/{i}.png")
    draw_image(root / "test/bad/<b>&.png")
    draw_mask(root / "ground_truth/bad/<b>&_mask.png", size=(9, 9))
    (root / "test/bad/broken.png").write_bytes(b"x")
    draw_mask(root / "ground_truth/bad/broken.png")
    result = stadx("data", "check", root, "--html", tmp_path / "c.html", "--json", tmp_path / "c.json")
    assert result.exit_code == 1 and f"Page: {tmp_path}/c.html" in result.stderr
    page = (tmp_path / "c.html").read_text()
    assert "<b>&.png" not in page and "&lt;b&gt;&amp;.png" in page
    assert page.count("data:image/png;base64,") == 3 and "http" not in page  # image and mask; the other's mask
    (entry,) = json.loads((tmp_path / "c.json").read_text())
    assert {"path": f"{root}/test/bad/broken.png"} in entry["findings"][1]["files"]
    assert "is a folder; name a file" in stadx("data", "check", root, "--html", tmp_path).stderr


def test_image_size(category: Path, teacher: Path, tmp_path: Path) -> None:
    assert [image_size(text) for text in ("48", "32,48", "0")] == [48, (32, 48), None]
    result = train(category, teacher, tmp_path / "m.safetensors", "--image-size", "32,48")
    assert result.exit_code == 0 and load_model(tmp_path / "m.safetensors").image_size == (32, 48)
    assert "stretched in width by 50 %. An image size of 39,39" in result.stderr


@pytest.mark.parametrize("text", ["48x32", "-1", "0,5", "1,2,3", "", "a"])
def test_no_image_size(category: Path, teacher: Path, tmp_path: Path, text: str) -> None:
    result = train(category, teacher, tmp_path / "m.safetensors", f"--image-size={text}")
    assert result.exit_code == 2 and "--image-size" in result.output and "is no size" in result.output
