"""`stadx evaluate --cluster` and `train-many --cluster` on a real cluster: the same bits as one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import stadx
from small import good_images, teacher_file
from two_nodes import killing, workers

from stadx.core.files import file_hash
from stadx.data.images import write_image

pytest.importorskip("ray", reason="needs the extra cluster (pip install 'stadx[cluster]')")


def write_category(folder: Path, seed: int) -> Path:
    """A category in MVTec AD's layout: 6 images to train on, 3 good and 4 defective ones to test."""
    parts = {"train/good": 6, "test/good": 3, "test/spot": 4}
    for part, count in parts.items():
        for number, image in enumerate(good_images(count, (40, 48), seed=seed + len(part))):
            pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
            if part == "test/spot":
                mask = np.zeros((40, 48), np.uint8)
                mask[5 + number : 12, 8:20] = 255
                pixels[mask > 0] = 250
                write_image(folder / f"ground_truth/spot/{number}_mask.png", mask)
            write_image(folder / part / f"{number}.png", pixels)
    return folder


def test_the_same_bits_as_one_process(cluster: Any, model: Path, tmp_path: Path) -> None:
    category = write_category(tmp_path / "cup", 0)
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    assert stadx("evaluate", model, category, "--json", one).exit_code == 0
    with killing(cluster, seed=1, done=lambda: len(workers(cluster)) == 2) as killed:
        result = stadx("evaluate", model, category, "--json", many, "--cluster", cluster.address)
    assert result.exit_code == 0 and "2 machines" in result.output, result.output
    assert len(killed) == 1
    assert json.loads(one.read_text()) == json.loads(many.read_text())


def test_an_error_of_an_image_is_told(cluster: Any, model: Path, tmp_path: Path) -> None:
    category = write_category(tmp_path / "cup", 0)
    (category / "test/good/0.png").write_bytes(b"no image")
    result = stadx("evaluate", model, category, "--cluster", cluster.address)
    assert result.exit_code == 2 and "test/good/0.png: not an image" in result.output, result.output


@pytest.mark.parametrize(("address", "why"), [("127.0.0.1:1", "refused"), ("nowhere", "an address is like")])
def test_no_cluster_is_told_at_once(address: str, why: str, model: Path, tmp_path: Path) -> None:
    result = stadx("evaluate", model, write_category(tmp_path / "cup", 0), "--cluster", address)
    assert result.exit_code == 2 and f"there is no Ray cluster at {address}" in result.output, result.output
    assert why in result.output and "ray start --head" in result.output


@pytest.mark.slow
def test_a_table_of_the_paper(cluster: Any, tmp_path: Path) -> None:
    write_category(tmp_path / "set/bottle", 0)
    given = ("--data", tmp_path / "set", "--out", tmp_path / "out", "--budget", "quick", "--steps", 2)
    result = stadx("reproduce", "table3", *given, "--system", "p = 33", "--cluster", cluster.address)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/table3.md").is_file()


def test_many_categories(cluster: Any, tmp_path: Path) -> None:
    for seed, name in enumerate(("cup", "lid", "nut")):
        write_category(tmp_path / "set" / name, seed)
    settings = ("--scales", 17, "--image-size", 0, "--students", 2, "--steps", 6, "--crop", 16)
    settings = (*settings, "--teacher", teacher_file(tmp_path), "--held-out", 0.3)
    here, there = tmp_path / "here", tmp_path / "there"
    result = stadx("train-many", tmp_path / "set", "--out", here, "--json", tmp_path / "here.json", *settings)
    assert result.exit_code == 0 and "nut" in result.output, result.output
    with killing(cluster, seed=2, done=lambda: len(list(there.glob("*.safetensors*")))) as killed:
        result = stadx("train-many", tmp_path / "set", "--out", there, *settings, "--cluster", cluster.address)
    assert result.exit_code == 0 and killed, result.output
    for name in ("cup", "lid", "nut"):
        own, other = (json.loads((out / f"{name}.json").read_text())["trained"] for out in (here, there))
        assert {**own, "seconds": 0, "model": ""} == {**other, "seconds": 0, "model": ""}
    times = {path: path.stat().st_mtime_ns for path in there.glob("*.safetensors")}
    (there / "lid.json").unlink()
    result = stadx("train-many", tmp_path / "set", "--out", there, *settings, "--cluster", cluster.address)
    assert "2 of 3 categories were done by a previous run" in result.output, result.output
    assert [path.stem for path, time in times.items() if path.stat().st_mtime_ns != time] == ["lid"]
    assert file_hash(there / "cup.safetensors")
