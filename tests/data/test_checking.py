"""`stadx data check` finds every planted fault of a set, names it, and finds nothing in a sound one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_sets import draw_mask, draw_visa
from PIL import Image
from typer.testing import CliRunner

from stadx import DataError
from stadx.cli import app as cli
from stadx.data.checking import CheckedCategory, check_set
from stadx.data.layouts import open_category


def save(path: Path, number: int, size: tuple[int, int] = (12, 8)) -> Path:
    """A picture of noise, another for every number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def category(tmp_path: Path) -> Path:
    root = tmp_path / "set" / "bolt"
    for i in range(10):
        save(root / f"train/good/{i}.png", i)
    save(root / "test/good/0.png", 100)
    for i in range(3):
        save(root / f"test/bent/{i}.png", 200 + i)
        draw_mask(root / f"ground_truth/bent/{i}_mask.png")
    return root


def only(root: Path) -> CheckedCategory:
    (checked,) = check_set(root)
    return checked


def finding(root: Path, severity: str) -> str:
    checked = only(root)
    assert [f.severity for f in checked.findings] == [severity], checked.findings
    return checked.findings[0].message


def test_a_sound_category(category: Path) -> None:
    checked = only(category)
    assert checked == CheckedCategory("bolt", 10, 1, 3, [])
    assert check_set(category.parent) == [checked]
    assert only(category / "train/good") == CheckedCategory("good", 10, 0, 0, [])


def test_faults_are_listed_all_at_once(category: Path) -> None:
    (category / "ground_truth/bent/0_mask.png").unlink()
    draw_mask(category / "ground_truth/bent/9_mask.png")
    draw_mask(category / "ground_truth/cut/0_mask.png")
    (category / "train/good/3.png").write_bytes(b"no image")
    draw_mask(category / "ground_truth/bent/1_mask.png", size=(6, 8))
    draw_mask(category / "ground_truth/bent/2_mask.png", spot=(0, 0, 0, 0))
    (category / "test/empty").mkdir()
    messages = [f.message for f in only(category).findings]
    assert all(f.severity == "error" for f in only(category).findings)
    for part in (
        "bent/0.png: has no mask",
        "9_mask.png: no image in",
        "cut: masks without images",
        "3.png: not an image",
        "1_mask.png: the mask is 6x8",
        "2_mask.png: the mask marks no pixel",
        "empty: no images in this folder",
    ):
        assert sum(part in message for message in messages) == 1, (part, messages)
    assert len(messages) == 7


def test_a_test_picture_that_is_trained_on(category: Path) -> None:
    shutil.copy(category / "train/good/5.png", category / "test/good/7.png")
    message = finding(category, "error")
    assert message.startswith(f"{category / 'test/good/7.png'}: is the same picture")
    assert f"{category / 'train/good/5.png'}, which is trained on" in message


def test_a_bad_mask_hides_no_other_fault(category: Path) -> None:
    shutil.copy(category / "train/good/5.png", category / "test/bent/1.png")
    draw_mask(category / "ground_truth/bent/1_mask.png", size=(6, 8))
    messages = [f.message for f in only(category).findings]
    assert len(messages) == 2 and "which is trained on" in messages[0] and "the mask is 6x8" in messages[1]


def test_the_same_pixels_in_another_file_are_the_same_picture(category: Path) -> None:
    Image.open(category / "train/good/5.png").save(category / "train/good/other.bmp")
    assert "other.bmp: is the same picture" in finding(category, "warning")


def test_a_picture_that_is_good_and_bad(category: Path) -> None:
    shutil.copy(category / "test/bent/1.png", category / "test/good/1.png")
    assert "which is 'good' and not 'bent'" in finding(category, "error")


def test_warnings(category: Path) -> None:
    save(category / "train/good/3.png", 3, (20, 8))
    draw_mask(category / "ground_truth/bent/1_mask.png", spot=(0, 0, 12, 8))
    (category / "train/good/0.png").unlink()
    findings = only(category).findings
    assert {f.severity for f in findings} == {"warning"} and len(findings) == 3
    assert "1_mask.png: marks every pixel" in findings[0].message
    assert "2 sizes (12 of 12x8, 1 of 20x8)" in findings[1].message
    assert "train on (9)" in findings[2].message


def test_missing_folders(category: Path) -> None:
    shutil.rmtree(category / "train")
    assert "has no folder train" in finding(category, "warning")
    (category / "train").mkdir()
    assert "has no folder good" in finding(category, "error")
    shutil.move(category / "test/good", category / "train/good")
    shutil.rmtree(category / "test")
    shutil.rmtree(category / "ground_truth")
    untested, few = only(category).findings
    assert "has no folder test, so nothing can be measured" in untested.message and "train on (1)" in few.message


def test_nothing_to_test_in_visa(tmp_path: Path) -> None:
    candle = draw_visa(tmp_path / "VisA", ["candle"]) / "candle"
    split = tmp_path / "VisA/split_csv/1cls.csv"
    lines = split.read_text().splitlines(keepends=True)
    split.write_text("".join(line for line in lines if ",test," not in line))
    for mask in candle.glob("Data/Masks/*/*"):
        mask.unlink()
    assert "to test, so nothing can be measured; add lines with split test to" in finding(candle, "warning")
    with pytest.raises(DataError, match=r"candle: has no test images; add lines with split test to .*1cls.csv"):
        open_category(candle)


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        check_set(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no images in this folder"):
        check_set(tmp_path)


def test_the_command(category: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["data", "check", str(category)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "bolt: 10 images to train on, 1 good and 3 with defects to test; no errors, no warnings." in result.stderr
    (category / "ground_truth/bent/0_mask.png").unlink()
    report = tmp_path / "r.json"
    result = CliRunner().invoke(cli.app, ["data", "check", str(category.parent), "--json", str(report)])
    assert result.exit_code == 1
    assert result.stdout.startswith("error: ") and "0.png: has no mask" in result.stdout
    assert "1 error, no warnings" in result.stderr
    (entry,) = json.loads(report.read_text())
    assert entry["name"] == "bolt" and entry["findings"][0]["severity"] == "error"
    assert "Example: stadx data check" in CliRunner().invoke(cli.app, ["data", "check", "--help"]).output
    result = CliRunner().invoke(cli.app, ["data", "check", str(tmp_path / "nowhere")])
    assert result.exit_code == 2 and "nowhere" in result.stderr


@pytest.mark.parametrize("name", ["mvtec_ad", "magnetic_tile_ad"])
def test_real_sets_are_sound(shared_data: Path, name: str) -> None:
    for category in check_set(shared_data / name):
        assert not category.count("error"), category.findings


def test_what_is_odd_about_many_images_is_one_finding(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / f"{number}.png", number)
        image = Image.open(tmp_path / f"{number}.png").convert("RGBA")
        image.putalpha(0)
        image.save(tmp_path / f"{number}.png")
    message = finding(tmp_path, "warning")
    assert message.startswith(str(tmp_path / "0.png")) and "and 9 more: its alpha channel is 0 everywhere" in message
