"""`stadx pretrain`: options reach the training, presets give way to them."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from pretrain_photos import make_cheap, write_photos
from typer.testing import CliRunner

from stadx.cli import app as cli
from stadx.teachers.settings import PRESETS, PretrainSettings

Given = dict[str, Any]


def stadx(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["pretrain", *map(str, arguments)])


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """What the command hands to `pretrain`, which does nothing else."""
    seen: Given = {}

    def pretrain(photos: Path, settings: PretrainSettings, out: Path, **more: Any) -> dict[str, Any]:
        seen.update(photos=photos, out=out, settings=settings, **more)
        return {"explained_held_out": None if settings.distillation_weight == 0 else 0.25}

    monkeypatch.setattr("stadx.teachers.pretraining.pretrain", pretrain)
    return seen


def test_without_options_the_defaults_are_used(given: Given, tmp_path: Path) -> None:
    result = stadx(tmp_path / "photos", "--out", tmp_path / "t")
    assert result.exit_code == 0, result.output
    assert given["settings"] == PretrainSettings()
    assert (given["workers"], given["feature_cache"], given["report"]) == (0, None, None)
    assert f"Teacher: {tmp_path / 't'} (explains 25.0% of the variance on photos it never saw)" in result.stderr


def test_options_win_over_the_preset(given: Given, tmp_path: Path) -> None:
    options = ("--preset", "paper", "--patch-size", 65, "--learning-rate", 0.01, "--grey", 0)
    assert stadx(tmp_path, "--out", tmp_path / "t", *options).exit_code == 0
    assert given["settings"] == PretrainSettings(
        **{**PRESETS["paper"], "patch_size": 65, "learning_rate": 0.01, "grey": 0}
    )


OTHER: dict[str, Any] = {
    "patch_size": 65,
    "descriptor_size": 64,
    "conv3_channels": 256,
    "last_activation": True,
    "padding": "zeros",
    "pretrained_network": "resnet50",
    "pretrained_input": 128,
    "targets": "dense",
    "steps": 7,
    "batch": 32,
    "optimizer": "muon",
    "learning_rate": 0.5,
    "weight_decay": 0.25,
    "schedule": "constant",
    "distillation_weight": 0.5,
    "triplet_weight": 2.0,
    "triplet_margin": 3.0,
    "compactness_weight": 4.0,
    "compactness_reduction": "mean",
    "grey": 0.75,
    "luminance": 0.5,
    "noise": 0.3,
    "distinct_batches": 9,
    "zoom": (3, 9),
    "enlarge": False,
    "precision": "float32",
    "seed": 11,
}


def test_every_setting_is_an_option(given: Given, tmp_path: Path) -> None:
    assert set(OTHER) == {field.name for field in fields(PretrainSettings)}
    options: list[object] = ["--workers", 3, "--feature-cache", tmp_path / "c", "--report", tmp_path / "r.html"]
    special = {"last_activation": ["--last-activation"], "enlarge": ["--sharp"], "zoom": ["--zoom", "3,9"]}
    for name, value in OTHER.items():
        options += special.get(name, [f"--{name.replace('_', '-')}", value])
    result = stadx(tmp_path, "--out", tmp_path / "t", *options)
    assert result.exit_code == 0, result.output
    assert asdict(given["settings"]) == OTHER
    assert (given["workers"], given["feature_cache"], given["report"]) == (3, tmp_path / "c", tmp_path / "r.html")
    assert f"Report: {tmp_path / 'r.html'}" in result.stderr


NO_TRIPLETS = "means nothing where λm is 0: no triplets are made; leave it out, or give --triplet-weight above 0"
NO_P = "means nothing where λk is 0: nothing is distilled; leave it out, or give --distillation-weight above 0"
ONLY_65 = "means nothing for other patches than of 65 pixels; leave it out, or give --patch-size 65"


@pytest.mark.parametrize(
    "idle, value, message, without, with_it",
    [
        *((name, 0.1, NO_TRIPLETS, (), ("--triplet-weight", 1)) for name in ("triplet-margin", "luminance", "noise")),
        *(
            (name, value, NO_P, ("--distillation-weight", 0), ())
            for name, value in (
                ("pretrained-network", "resnet18"),
                ("pretrained-input", 64),
                ("targets", "pooled"),
                ("feature-cache", "cache"),
            )
        ),
        ("conv3-channels", 128, ONLY_65, ("--patch-size", 17), ("--patch-size", 65)),
    ],
)
def test_options_that_would_do_nothing(
    idle: str,
    value: object,
    message: str,
    without: tuple[object, ...],
    with_it: tuple[object, ...],
    given: Given,
    tmp_path: Path,
) -> None:
    option = (tmp_path, "--out", tmp_path / "t", f"--{idle}", value)
    for preset in ("default", "paper"):
        given.clear()
        result = stadx(*option, *without, "--preset", preset)
        assert result.exit_code == 2 and not given
        error = " ".join(result.stderr.replace("│", " ").split())
        assert f"--{idle}" in error and message in error
        result = stadx(tmp_path, "--out", tmp_path / "t", *without, "--preset", preset)  # the preset may have it
        assert result.exit_code == 0 and ("explains" in result.stderr) == ("--distillation-weight" not in without)
        assert stadx(*option, *with_it, "--preset", preset).exit_code == 0


@pytest.mark.parametrize(
    "options, message",
    [
        (("--distillation-weight", 0, "--compactness-weight", 0), "at least one above"),
        (("--pretrained-network", "vgg"), "vgg"),
        (("--grey", 2), "less than or equal to 1"),
        (("--zoom", "4"), "two whole numbers"),
        (("--zoom", "9,3"), "smallest and the largest multiple"),
    ],
)
def test_options_that_make_no_sense(options: tuple[object, ...], message: str, given: Given, tmp_path: Path) -> None:
    result = stadx(tmp_path, "--out", tmp_path / "t", *options)
    assert result.exit_code == 2 and not given
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_memory_that_does_not_suffice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretrain(*arguments: object, **more: object) -> None:
        raise MemoryError

    monkeypatch.setattr("stadx.teachers.pretraining.pretrain", pretrain)
    result = stadx(tmp_path, "--out", tmp_path / "t")
    assert result.exit_code == 2
    assert "out of memory; use a smaller --batch or --pretrained-input, or fewer --workers" in result.stderr


def test_a_training_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cheap(monkeypatch)
    photos = write_photos(tmp_path / "photos", 4)
    out, report = tmp_path / "t", tmp_path / "r.html"
    options = ("--patch-size", 17, "--steps", 1, "--batch", 4, "--distillation-weight", 0, "--triplet-weight", 1)
    result = stadx(photos, "--out", out, "--report", report, *options)
    assert result.exit_code == 0, result.output
    assert sorted(f.name for f in tmp_path.iterdir()) == ["photos", "r.html", "t"]
