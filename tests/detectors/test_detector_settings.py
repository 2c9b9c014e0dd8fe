"""A detector's setting is declared once, and is everywhere: an option, in files, in checkpoints, in the documents."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from small import good_images, teacher_file
from typer.main import get_command

from stadx import Detector
from stadx.cli.app import app
from stadx.core.files import read_model
from stadx.detectors.baselines import METHODS
from stadx.detectors.student_teacher import students
from stadx.detectors.student_teacher.model_file import DETECTOR_VERSION
from stadx.detectors.student_teacher.settings import DetectorSettings

HOOKS = Path(__file__).resolve().parents[2] / "docs" / "hooks.py"
NAMES = [field.name for field in fields(DetectorSettings)]
# by setting, where the option has another name
OTHER_OPTIONS = {"teachers": "teacher", "value_range": "range", "memory_bytes": "memory"}
KEY_OF_0_1_0 = {
    "students": 1,
    "steps": 2,
    "batch": 3,
    "crop": 8,
    "focus": 0.8,
    "optimizer": "muon",
    "learning_rate": None,
    "weight_decay": 1e-5,
    "schedule": "cosine",
    "dense": False,
    "patience": 0,
    "precision": "float32",
    "seed": 0,
}


@pytest.fixture(scope="module")
def tables() -> str:
    spec = spec_from_file_location("hooks", HOOKS)
    assert spec is not None and spec.loader is not None
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return "\n".join(hooks.settings_tables())


def test_every_setting_is_an_option_of_train() -> None:
    options = {parameter.name for parameter in get_command(app).commands["train"].params}  # type: ignore[attr-defined]
    assert [name for name in NAMES if OTHER_OPTIONS.get(name, name) not in options] == []


def test_every_setting_is_documented(tables: str) -> None:
    of_detector = tables[tables.index("## Detector") : tables.index("## NearestNeighborDetector")]
    assert [name for name in NAMES if f"\n| `{name}` |" not in of_detector] == []
    assert Detector.__doc__ is not None
    assert [name for name in NAMES if f"\n    {name}: " not in Detector.__doc__] == []


def test_every_setting_of_the_compared_systems_is_documented(tables: str) -> None:
    for method in METHODS.values():
        section = tables[tables.index(f"## {method.__name__}\n") :]
        section = section[: section.index("\n\n## ")]
        assert [field.name for field in fields(method) if f"\n| `{field.name}` |" not in section] == []


def test_every_setting_is_in_files_and_those_of_training_in_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[dict[str, Any]] = []

    class Kept(students.Checkpoint):
        def __init__(self, path: Any, settings: Any, computed: Any) -> None:
            keys.append(dict(settings))
            super().__init__(path, settings, computed)

    monkeypatch.setattr(students, "Checkpoint", Kept)
    teachers = [teacher_file(tmp_path)]
    small = {"students": 1, "steps": 2, "crop": 8, "image_size": None, "precision": "float32"}
    detector = Detector((17,), teachers=teachers, **small).fit(good_images(3))
    detector.save(tmp_path / "m.safetensors")
    assert [*read_model(tmp_path / "m.safetensors", "detector", DETECTOR_VERSION)[0]["settings"]] == NAMES
    loaded = Detector.load(tmp_path / "m.safetensors").settings
    assert keys[0]["border"] == "inside"
    assert loaded == {**detector.settings, "teachers": (teachers[0].name,)}
    # as if they were not there: checkpoints of before go on
    later = {"roi", "value_range", "start", "repeats", "hard_share", "penalty"}
    assert all(keys[0][name] is None for name in later)
    of_data = later | {"images", "held_in", "teacher", "border", "folds"}
    assert {name: value for name, value in keys[0].items() if name not in of_data} == KEY_OF_0_1_0


@pytest.mark.parametrize("command", ["train", "pretrain", "one-class", "ablate", "reproduce"])
def test_help_is_there_without_torch(command: str) -> None:
    code = f"""
import sys
from stadx.cli.app import app
app([{command!r}, "--help"], standalone_mode=False)
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
