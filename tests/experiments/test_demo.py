"""The demonstration, made as small as it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stadx.cli import app as cli
from stadx.core import files
from stadx.data.images import read_map
from stadx.detectors.student_teacher import detector
from stadx.experiments import demo
from stadx.networks.patch_network import PatchNetwork
from stadx.teachers.teacher_files import TEACHER_VERSION


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny images, two steps, and a teacher that learned nothing."""
    generator = torch.Generator().manual_seed(0)
    net = PatchNetwork(33)
    net.init_from_data(torch.randn(64, 3, 33, 33, generator=generator), generator)
    path = tmp_path / "teacher33.safetensors"
    files.write_model(path, "teacher", TEACHER_VERSION, {"network": net.settings, "card": {}}, net.state_dict())
    monkeypatch.setattr("stadx.teachers.teacher_files.shipped_teacher", lambda _: path)
    monkeypatch.setattr(demo, "IMAGE_SIZE", 48)
    tiny = demo.DemoSettings(train=3, test_good=1, test_defect=1, students=1, steps=2, note=demo.QUICK.note)
    monkeypatch.setattr(demo, "QUICK", tiny)


@pytest.mark.usefixtures("small")
def test_the_demo_writes_models_maps_and_a_report_and_says_where(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = CliRunner().invoke(cli.app, ["demo", "--quick", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"Report: {out.resolve() / 'report.html'}" in result.stderr
    assert {path.name for path in out.iterdir()} == {
        "data",
        "maps",
        "report.html",
        "washer.safetensors",
        "weave.safetensors",
    }
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "to see that everything runs" in text and "to see that everything runs" in " ".join(result.stderr.split())
    for name in ("weave", "washer"):
        assert name in result.stdout and f"<h2>{name}</h2>" in text
        maps = sorted((out / "maps" / name).glob("*_map.tiff"))
        assert len(maps) == 2 and read_map(maps[0]).shape == (48, 48)
        settings = json.loads((out / "data" / name / "demo.json").read_text())
        assert settings["size"] == 48
        assert detector.Detector.load(out / f"{name}.safetensors").students == 1
