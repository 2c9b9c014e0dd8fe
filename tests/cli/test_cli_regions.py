"""`stadx predict --min-area --pixel-size --export`: what they hand on, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brightness import Brightness
from typer.testing import CliRunner

from stadx.cli import app as cli
from stadx.data.images import write_image


@pytest.fixture
def predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command on an image with a region of 1 pixel and one of 4."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[2, 2], pixels[10:12, 5:7] = 255, 200
    write_image(tmp_path / "a.png", pixels)
    monkeypatch.setattr("stadx.cli.predict.open_model", lambda *options: Brightness())

    def run(*options: object) -> Any:
        command = ("predict", "m", tmp_path / "a.png", "--out", tmp_path / "out", *options)
        return CliRunner().invoke(cli.app, [str(part) for part in command])

    return run


def test_regions_are_dropped_and_exported(predict: Any, tmp_path: Path) -> None:
    result = predict("--min-area", 0.02, "--pixel-size", 0.1, "--export", "csv,labelme")
    assert result.exit_code == 0, result.output
    line = json.loads((tmp_path / "out/scores.jsonl").read_text())
    assert [(region["area"], region["area_mm2"]) for region in line["regions"]] == [(4, 0.04)]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("a_map.tiff", "a_mask.png", "a_overlay.png", "scores.jsonl", "regions.csv", "a.json")
    }


def test_by_default_all_regions_are_kept_in_pixels(predict: Any, tmp_path: Path) -> None:
    assert predict().exit_code == 0
    line = json.loads((tmp_path / "out/scores.jsonl").read_text())
    assert [region["area"] for region in line["regions"]] == [1, 4]
    assert "area_mm2" not in line["regions"][0]
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--min-area", -1), "--min-area"),
        (("--min-area", "inf"), "min_area is inf; it must be a number, at least 0"),
        (("--pixel-size", 0), "pixel_size is 0.0; it must be"),
        (("--export", "csv,xml"), "choose one of ('csv', 'coco', 'labelme')"),
    ],
)
def test_options_that_cannot_be_are_refused(
    predict: Any, tmp_path: Path, options: tuple[object, ...], told: str
) -> None:
    result = predict(*options)
    assert result.exit_code == 2
    assert told in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()
