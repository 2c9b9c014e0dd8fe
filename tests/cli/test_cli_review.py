"""`stadx review`, `stadx update --from` and `stadx data from-review`, one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from commands import stadx
from reviews import content_of, mask_address, saved, saved_file
from small import good_images
from small_detectors import small_settings

from stadx import Detector
from stadx.data.images import write_image
from stadx.detectors.registry import detector_class

pytestmark = pytest.mark.usefixtures("narrow_networks")
DEFECT = np.zeros((32, 32), bool)
DEFECT[10:20, 10:20] = True


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> dict[str, Path]:
    """A model, a folder of images and their review, with decisions about some."""
    root = tmp_path_factory.mktemp("review")
    images = good_images(8, (32, 32), 3)
    images[:4, :, 10:20, 10:20] = 200
    for index, image in enumerate(images):
        write_image(root / "photos" / f"{index}.png", image.permute(1, 2, 0).numpy())
    settings: dict[str, Any] = {**small_settings("student-teacher", root), "memory_bytes": 50_000}
    Detector(**settings).fit(good_images(10, (32, 32))).save(root / "m.safetensors")
    result = stadx("review", root / "m.safetensors", root / "photos", "--out", root / "out")
    assert result.exit_code == 0, result.output
    assert f"Open in a browser: {root / 'out' / 'review.html'}" in result.stderr
    decisions = {
        **{f"{n}.png": "defect" for n in range(4)},
        **{f"{n}.png": "good" for n in range(4, 7)},
        "7.png": "unsure",
    }
    masks = {f"{n}.png": DEFECT for n in range(4)}
    file = saved_file(root / "review.json", root / "out" / "review.html", decisions, masks)
    return {"root": root, "model": root / "m.safetensors", "photos": root / "photos", "review": file}


def test_the_page_says_which_model_it_was(places: dict[str, Path]) -> None:
    head = content_of(places["root"] / "out" / "review.html")["head"]
    detector = Detector.load(places["model"])
    assert head["model"] == {"name": "m.safetensors", "sha256": detector.model_hash()}
    assert head["pixel_threshold"] == pytest.approx(detector.threshold_)
    assert head["image_threshold"] == pytest.approx(detector.image_threshold())


def test_the_good_ones_are_learned(places: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "m2.safetensors"
    result = stadx("update", places["model"], "--from", places["review"], "--out", out, "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "Review: 3 good, 4 defect, 1 unsure; the good ones are the new images." in result.stderr
    assert "Images: 3 new, 10 old; 2 steps." in result.stderr
    learned = Detector.load(out).origin()["lineage"][-1]["sha256"]
    by_path = {image["path"]: image["sha256"] for image in content_of(places["root"] / "out/review.html")["images"]}
    assert sorted(learned) == sorted(by_path[f"{n}.png"] for n in (4, 5, 6))


def test_what_update_refuses_of_a_review(places: dict[str, Path], tmp_path: Path) -> None:
    model, page, out = places["model"], places["root"] / "out" / "review.html", tmp_path / "m2"
    result = stadx("update", model, "--out", out)
    assert result.exit_code == 2 and "or a review by --from" in result.stderr
    few = saved_file(tmp_path / "few.json", page, {"0.png": "defect"})
    result = stadx("update", model, "--from", few, "--out", out)
    assert result.exit_code == 2 and "no image is judged good (0 good, 1 defect, 0 unsure)" in result.stderr
    other = tmp_path / "other.safetensors"
    Detector(**small_settings("student-teacher", tmp_path)).fit(good_images(10, (32, 32), 7)).save(other)
    result = stadx("update", other, "--from", places["review"], "--out", out)
    assert result.exit_code == 2 and "is a review with m.safetensors" in result.stderr
    result = stadx("update", model, tmp_path, "--from", places["review"], "--out", out)
    assert result.exit_code == 2 and "is gone since the review, 3 of 3 are" in result.stderr
    assert not out.exists()


def test_reviewed_images_calibrate_and_evaluate(places: dict[str, Path], tmp_path: Path) -> None:
    result = stadx("data", "from-review", places["review"], "--out", tmp_path / "set")
    assert result.exit_code == 0, result.output
    assert "(3 good, 4 defects with masks, 0 without)" in result.stderr
    result = stadx("calibrate", places["model"], tmp_path / "set", "--out", tmp_path / "line.safetensors")
    assert result.exit_code == 0, result.output
    result = stadx("evaluate", places["model"], tmp_path / "set")
    assert result.exit_code == 0 and "AU-PRO" in result.output
    # a threshold that was chosen is no other model
    command = ("update", tmp_path / "line.safetensors", "--from", places["review"], "--steps", 1)
    assert stadx(*command, "--out", tmp_path / "m3").exit_code == 0


def test_a_table_gives_the_order_and_other_methods_are_reviewed(places: dict[str, Path], tmp_path: Path) -> None:
    model = tmp_path / "vae"
    detector_class("vae")(**small_settings("vae", tmp_path)).fit(good_images(6)).save(model)
    (tmp_path / "t.csv").write_text("path\n5.png\n1.png\n")
    result = stadx("review", model, places["photos"], "--out", tmp_path / "out", "--order", tmp_path / "t.csv")
    assert result.exit_code == 0, result.output
    assert "names 2 of the 8 images; the others are left out" in result.stderr
    content = content_of(tmp_path / "out" / "review.html")
    assert [image["path"] for image in content["images"]] == ["5.png", "1.png"]
    (tmp_path / "all.csv").write_text("path\n" + "".join(f"{n}.png\n" for n in range(8)))
    result = stadx("review", model, places["photos"], "--out", tmp_path / "all", "--order", tmp_path / "all.csv")
    assert "names 8 of the 8 images.\n" in result.stderr
    assert len(content["head"]["model"]["sha256"]) == 64


def test_what_cannot_be_reviewed(places: dict[str, Path], tmp_path: Path) -> None:
    result = stadx("review", places["model"], places["photos"] / "0.png", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "is a file; name the folder" in result.stderr
    write_image(tmp_path / "photos" / "a.png", torch.zeros(32, 32, 3, dtype=torch.uint8).numpy())
    (tmp_path / "photos" / "b.png").write_bytes(b"")
    result = stadx("review", places["model"], tmp_path / "photos", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "1 of 2 images could not be scored; the page has the others" in result.stderr
    assert (tmp_path / "out" / "review.html").exists()


def test_pages_are_learned_one_by_one_and_written_to_a_data_set(places: dict[str, Path], tmp_path: Path) -> None:
    images = good_images(3, (32, 32), 9)
    (tmp_path / "line").mkdir()
    stack = tmp_path / "line/stack.tif"
    tifffile.imwrite(stack, images.permute(0, 2, 3, 1).numpy(), photometric="rgb")
    result = stadx("review", places["model"], tmp_path / "line", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    page = tmp_path / "out/review.html"
    content = saved(page, {"stack.tif": "good"})
    for image in content["images"]:
        image["decision"] = {1: "defect", 2: "good", 3: "unsure"}[image["page"]]
        image["mask"] = mask_address(DEFECT) if image["page"] == 1 else None
    (tmp_path / "r.json").write_text(json.dumps(content))
    out = tmp_path / "m2.safetensors"
    result = stadx("update", places["model"], "--from", tmp_path / "r.json", "--out", out, "--steps", 1)
    assert result.exit_code == 0 and "Images: 1 new, 10 old; 1 steps." in result.stderr, result.output
    second = next(image["sha256"] for image in content["images"] if image["page"] == 2)
    assert Detector.load(out).origin()["lineage"][-1]["sha256"] == [second]
    result = stadx("data", "from-review", tmp_path / "r.json", "--out", tmp_path / "set")
    assert result.exit_code == 0 and "(1 good, 1 defects with masks, 0 without)" in result.stderr, result.output
    result = stadx("evaluate", places["model"], tmp_path / "set")
    assert result.exit_code == 0 and "AU-PRO" in result.output
