"""`stadx train --preset paper`: the settings of the paper's budget, and what is given besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small import good_images
from typer.testing import CliRunner

from stadx import DataError, Detector
from stadx.cli.app import app
from stadx.data.images import write_image
from stadx.detectors.baselines import METHODS
from stadx.experiments.request import BUDGETS


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trains on seven images as far as the first step, and returns the settings; or the message, if it was refused."""
    for i, image in enumerate(good_images(7)):
        write_image(tmp_path / "good" / f"{i}.png", image.permute(1, 2, 0).numpy())
    seen: list[dict[str, Any]] = []

    def fit(self: Any, *data: object, **more: object) -> None:
        seen.append(dict(self.settings))
        raise DataError("enough is known")

    for kind in (Detector, METHODS["vae"], METHODS["l2-ae"], METHODS["knn"]):
        monkeypatch.setattr(kind, "fit", fit)

    def run(*options: str) -> dict[str, Any] | str:
        seen.clear()
        result = CliRunner().invoke(app, ["train", str(tmp_path / "good"), "--out", str(tmp_path / "m"), *options])
        assert result.exit_code == 2
        return seen[0] if seen else " ".join(result.output.replace("│", " ").split())

    return run


def test_the_paper_s_settings_are_those_of_its_budget(trained: Any) -> None:
    settings = trained("--preset", "paper")
    assert settings == Detector((33,), **BUDGETS["paper"].detector_settings(7)).settings
    assert settings["steps"] == 700 and settings["crop"] is None and settings["dense"] and settings["terms"] == "both"
    assert trained() == trained("--preset", "default") == Detector((33,)).settings


def test_options_go_before_the_preset(trained: Any) -> None:
    given = ["--steps", "9", "--crop", "64", "--no-dense", "--terms", "e", "--level", "0.5", "--scales", "17"]
    settings = trained("--preset", "paper", *given)
    papers = Detector((17,), **BUDGETS["paper"].detector_settings(7)).settings
    changed = {"steps": 9, "crop": 64, "dense": False, "terms": "e", "level": 0.5}
    assert settings == {**papers, **changed}


def test_settings_that_few_will_change(trained: Any) -> None:
    given = ["--held-out", "0.3", "--weight-decay", "0", "--border", "zeros", "--precision", "float32"]
    changed = {"held_out": 0.3, "weight_decay": 0.0, "border": "zeros", "precision": "float32"}
    assert trained(*given) == {**Detector((33,)).settings, **changed}
    assert trained("--method", "knn", "--held-out", "0.3")["held_out"] == 0.3
    assert "means nothing to --method knn" in trained("--method", "knn", "--precision", "float32")
    assert trained("--method", "knn", "--border", "zeros")["border"] == "zeros"


def test_zero_stands_for_none(trained: Any) -> None:
    settings = trained("--image-size", "0", "--crop", "0")
    assert settings == {**Detector((33,)).settings, "image_size": None, "crop": None}


def test_settings_that_cannot_be_are_named(trained: Any) -> None:
    assert "learning_rate is 0.0; it must be None or a number, above 0" in trained("--learning-rate", "0")
    assert "one student alone has no variance" in trained("--students", "1", "--terms", "v")


def test_what_the_preset_means_to_baselines(trained: Any) -> None:
    assert trained("--method", "vae")["samples"] == 500_000
    for method in ("l2-ae", "vae"):
        settings = trained("--method", method, "--preset", "paper", "--epochs", "3")
        assert settings["samples"] is None and settings["epochs"] == 3
    assert trained("--method", "knn", "--preset", "paper")["border"] == "reflect"
    assert "means nothing to --method ssim-ae" in trained("--method", "ssim-ae", "--preset", "paper")


def test_the_help_of_method_names_what_descriptors_take() -> None:
    help_text = " ".join(CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "600"}).output.split())
    assert "--teacher, --border, --epochs" in help_text
