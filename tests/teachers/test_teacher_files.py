"""Teacher files are checked when read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stadx import DataError, ModelFileError
from stadx.core.files import read_model, write_model
from stadx.networks.choices import PATCH_SIZES
from stadx.teachers.teacher_files import load_teacher, shipped_teacher


@pytest.mark.parametrize("p", PATCH_SIZES)
def test_the_shipped_teachers_are_complete(p: int) -> None:
    path = shipped_teacher(p)
    net = load_teacher(path)
    assert net.patch_size == p and net.descriptor_size == 128
    card = read_model(path, "teacher", 1)[0]["card"]
    assert card["pretrained_licence"] == "Apache-2.0" and card["pretrained_network"] == "efficientnet-lite0"
    assert card["patch_size"] == p and card["photos"] > 3000
    assert path.stat().st_size < 8 << 20
    text = path.with_suffix(".md").read_text()
    assert f"--patch-size {p} --steps {card['steps']} " in text
    explained = card["explained_held_out"]
    assert ("was not measured" if explained is None else f"{100 * explained:.1f} %") in text
    assert explained is None or explained > 0.1


def test_a_teacher_that_does_not_come_with_stadx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stadx.teachers.teacher_files._SHIPPED", tmp_path)
    (tmp_path / "p33.safetensors").touch()
    with pytest.raises(DataError, match=r"no teacher for p = 17 comes with stadx \(it has p33\); train one with"):
        shipped_teacher(17)


def test_loading_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "d", "detector", 1, {}, {"x": torch.zeros(1)})
    with pytest.raises(ModelFileError, match="is a detector file; a teacher file is needed"):
        load_teacher(tmp_path / "d")
    write_model(tmp_path / "t", "teacher", 1, {"network": {"patch_size": 17}}, {"x": torch.zeros(1)})
    with pytest.raises(ModelFileError, match="lacks a part of a teacher"):
        load_teacher(tmp_path / "t")
