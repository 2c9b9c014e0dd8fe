"""Pretraining resumes bit for bit from any step, and only its own runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_photos import P_NET, SETTINGS, TRIPLETS

from stadx import ModelFileError, StadxError
from stadx.core.files import read_model, write_model
from stadx.core.progress import Progress
from stadx.networks.training import Checkpoint, arithmetic
from stadx.teachers import pretraining
from stadx.teachers.pretraining import pretrain
from stadx.teachers.settings import PretrainSettings

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("cheap")]


class Stop(Exception):
    pass


def stop_at(step: int) -> Progress:
    """Progress that stops the training when a step is done, before it is saved."""

    def progress(stage: str, done: int, total: int, figures: object) -> None:
        if stage == "Teacher" and done == step:
            raise Stop

    return progress


@pytest.mark.parametrize("stopped", [2, 5])
@pytest.mark.parametrize(
    "settings, more",
    [
        (SETTINGS, {}),
        (replace(SETTINGS, optimizer="muon"), {}),
        (replace(SETTINGS, triplet_weight=1.0, distinct_batches=3), {}),
        (replace(SETTINGS, distinct_batches=4, targets="dense"), {"workers": 1}),
    ],
    ids=["plain", "muon", "triplets", "dense"],
)
def test_a_killed_run_resumes_bit_for_bit(
    settings: PretrainSettings,
    more: dict[str, Any],
    stopped: int,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretraining, "_half", lambda net: net.state_dict())  # float16 would hide differences
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    p_net = replace(P_NET, dense_features=lambda images: images[:, :, ::4, ::4], dense_dim=3)
    pretrain(photos, settings, whole, network=p_net)

    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    with pytest.raises(Stop):
        pretrain(photos, settings, resumed, network=p_net, progress=stop_at(stopped), **more)
    assert not resumed.exists()
    steps: list[int] = []
    pretrain(
        photos,
        settings,
        resumed,
        network=p_net,
        progress=lambda stage, done, *_: steps.append(done) if stage == "Teacher" else None,
    )
    assert steps == list(range(stopped, 7))  # the step it stopped at was not saved yet
    assert resumed.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "resumed.part").exists()


@pytest.mark.parametrize("other", [{"triplet_margin": 2.0}, {"luminance": 0.2}, {"distinct_batches": 3}])
def test_a_checkpoint_of_other_settings_is_refused(photos: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    out = tmp_path / "t"
    begin(photos, TRIPLETS, out)
    name, stages = next(iter(other)), list[str]()
    with pytest.raises(ModelFileError, match=rf"t\.part: .*other settings .*{name}.*delete it"):
        pretrain(photos, replace(TRIPLETS, **other), out, network=P_NET, progress=lambda s, *_: stages.append(s))
    assert set(stages) == {"Folders of photos", "Photos"}  # before P is loaded and sees patches


def begin(photos: Path, settings: PretrainSettings, out: Path) -> None:
    """A training that ends in its second step, with a checkpoint of the first."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Checkpoint, "due", lambda self: True)
        pretrain(photos, settings, out, network=P_NET, progress=stop_at(2))


def test_a_checkpoint_of_another_precision_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, settings = tmp_path / "t", replace(SETTINGS, precision="auto")
    monkeypatch.setattr("stadx.networks.training._has_bfloat16", lambda device: False)
    begin(photos, settings, out)
    monkeypatch.setattr("stadx.networks.training._has_bfloat16", lambda device: True)
    with pytest.raises(
        ModelFileError, match=r"t\.part: .*float32 on device cpu, this one has .*bfloat16 on .*delete it"
    ):
        pretrain(photos, settings, out, network=P_NET)
    header, tensors = read_model(tmp_path / "t.part", "checkpoint", 2)
    assert header.pop("computed") == {"device": "cpu", "convolutions": "float32"}
    write_model(tmp_path / "t.part", "checkpoint", 2, header, tensors)
    pretrain(photos, settings, out, network=P_NET)  # previous files do not say


def test_a_checkpoint_of_another_device_is_refused(tmp_path: Path) -> None:
    gpu, cpu = (arithmetic("float32", torch.device(name)) for name in ("cuda:1", "cpu"))
    Checkpoint(tmp_path / "c", {}, gpu).save({}, {"x": torch.zeros(1)})
    assert Checkpoint(tmp_path / "c", {}, arithmetic("float32", torch.device("cuda"))).load() is not None
    with pytest.raises(ModelFileError, match=r"c: .*on device cuda, this one has .*on device cpu; delete it"):
        Checkpoint(tmp_path / "c", {}, cpu).load()


def test_a_run_begun_with_auto_goes_on_with_the_precision_that_it_stood_for(tmp_path: Path) -> None:
    """What "auto" stands for differs between machines and versions."""
    file, cpu = tmp_path / "c", torch.device("cpu")
    half, single = arithmetic("bfloat16", cpu), arithmetic("float32", cpu)
    Checkpoint(file, {"precision": "auto"}, half).save({}, {"x": torch.zeros(1)})
    assert Checkpoint(file, {"precision": "bfloat16"}, half).load() is not None
    with pytest.raises(ModelFileError, match=r"or go on with the precision bfloat16 on device cpu$"):
        Checkpoint(file, {"precision": "auto"}, single).load()
    header, tensors = read_model(file, "checkpoint", 2)
    del header["computed"]  # as of previous versions
    write_model(file, "checkpoint", 2, header, tensors)
    with pytest.raises(ModelFileError, match=r"other settings \(precision\)"):
        Checkpoint(file, {"precision": "bfloat16"}, half).load()


def test_a_checkpoint_without_its_parts_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "c", "checkpoint", 2, {}, {"x": torch.zeros(1)})
    with pytest.raises(ModelFileError, match="lacks a part of a checkpoint"):
        Checkpoint(tmp_path / "c", {}, {}).load()


def test_a_training_that_diverges_names_the_file_to_delete(photos: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=30, learning_rate=1e20)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StadxError, match=r"; give .*, and delete .*/t\.part$"):
        patch.setattr(Checkpoint, "due", lambda self: True)
        pretrain(photos, settings, tmp_path / "t", network=P_NET)
