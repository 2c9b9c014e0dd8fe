"""Training where one says: on the CPU, and on a GPU where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_photos import P_NET, SETTINGS, make_cheap, write_photos
from small import good_images, random_teacher, teacher_file
from torch import nn
from typer.testing import CliRunner

from stadx import DataError, Detector, StadxError
from stadx.cli.app import app
from stadx.detectors.student_teacher import gpu_scorer
from stadx.detectors.student_teacher.cpu_scorer import CpuScorer
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.gpu_scorer import GpuScorer
from stadx.networks.graphed_step import GraphedStep
from stadx.networks.training import (
    OptimizerName,
    make_optimizer,
    restore_training_state,
    set_learning_rate,
    training_state,
)
from stadx.teachers import distributed, pretraining
from stadx.teachers.pretrained import standardized
from stadx.teachers.pretraining import pretrain

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]


def _fitted(folder: Path, device: torch.device | str, checkpoint: Path | None = None, **losses: Any) -> Detector:
    settings = {"students": 2, "image_size": (20, 24), "steps": 8, "terms": "both", "precision": "float32", **losses}
    detector = Detector((17,), teachers=[teacher_file(folder)], seed=1, **settings)
    return detector.to(device).fit(good_images(6), checkpoint=checkpoint)


@pytest.mark.parametrize("other_losses", [False, True])
def test_a_detector_trains_where_it_is_told(tmp_path: Path, device: torch.device, other_losses: bool) -> None:
    losses = {"hard_share": 0.1, "penalty": write_photos(tmp_path / "photos")} if other_losses else {}
    got, want = _fitted(tmp_path, device, tmp_path / "run", **losses), _fitted(tmp_path, "cpu", **losses)
    ensemble = got.ensembles_[0]
    networks = [ensemble.teacher, *ensemble.students]
    tensors = [ensemble.mean, ensemble.std, *(p for net in networks for p in net.parameters())]
    assert {t.device.type for t in tensors} == {"cpu"}
    torch.testing.assert_close(ensemble.std, want.ensembles_[0].std, rtol=1e-2, atol=1e-3)
    assert got.threshold_ == pytest.approx(want.threshold_, rel=0.1)
    for ours, theirs in zip(got.history_[0], want.history_[0], strict=True):
        assert ours == pytest.approx(theirs, rel=0.02)
    again = _fitted(tmp_path, device, tmp_path / "run", **losses)  # from its complete checkpoint
    assert again.history_ == got.history_
    torch.testing.assert_close(again.threshold_, got.threshold_)


def test_a_step_is_the_same_from_a_graph(device: torch.device) -> None:
    weights = [torch.zeros(3, device=place) for place in (device, "cpu")]

    def step_of(weight: torch.Tensor) -> GraphedStep:
        def step(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            weight.add_(x.sum(0) * scale)
            return weight.sum()

        return GraphedStep(step)

    ours, theirs = map(step_of, weights)
    kept = []
    for i in range(24):  # shapes take turns: more of them than graphs are kept
        x, scale = torch.full((1 + i % 6, 3), float(i)), torch.tensor(i / 7)
        kept.append((ours(x.to(device), scale.to(device)), theirs(x, scale).clone()))
    for got, want in kept:
        torch.testing.assert_close(got.cpu(), want)
    torch.testing.assert_close(weights[0].cpu(), weights[1])


@pytest.mark.parametrize("name", ["muon", "adam"])
def test_the_learning_rate_is_what_was_set_last(name: OptimizerName, device: torch.device) -> None:
    weight = nn.Parameter(torch.ones(4, 5, device=device))
    optimizer = make_optimizer(name, [weight], 0.5, 0.0)
    for rate in (0.25, 0.0):
        set_learning_rate(optimizer, rate)
        before = weight.detach().clone()
        weight.grad = torch.arange(20.0, device=device).view(4, 5) - 7
        optimizer.step()
        assert ((weight - before).abs().max() > 0.1 * rate) == (rate > 0)
    tensors = training_state({"m": nn.ParameterDict({"w": weight})}, optimizer)
    again = make_optimizer(name, [weight], 0.5, 0.0)
    restore_training_state({"m": nn.ParameterDict({"w": weight})}, again, tensors)
    set_learning_rate(again, 0.1)
    again.step()  # its state lies where it is needed


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("students", [1, 3])
def test_both_scorers_give_the_same_errors(
    students: int, stride: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensembles = [
        Ensemble(random_teacher(p), [random_teacher(p, i + 1) for i in range(students)], torch.full((8,), 0.1), std)
        for p, std in ((33, torch.ones(8)), (17, torch.full((8,), 0.7)))
    ]
    images = good_images(3)
    passes, once = [], gpu_scorer.score_window
    monkeypatch.setattr(gpu_scorer, "score_window", lambda *args: passes.append(args) or once(*args))
    scorer = GpuScorer(ensembles, [], device, "float32")
    for _ in range(3 if device.type == "cuda" else 1):  # directly, captured, replayed
        got = scorer.errors(images.to(device), stride)
    assert device.type == "cuda" or len(passes) == len(ensembles)  # e and v from the same convolutions
    for i, image in enumerate(images):
        want = CpuScorer(ensembles).errors(image[None], stride)
        for pair, wanted in zip(got, want, strict=True):
            for ours, theirs in zip(pair, wanted, strict=True):
                torch.testing.assert_close(ours[i].cpu(), theirs[0], rtol=1e-3, atol=1e-3)


class _Colours(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) * self.scale


@pytest.mark.parametrize("cached", [False, True], ids=["new", "cached"])
@pytest.mark.parametrize("targets", ["pooled", "dense"])
def test_a_teacher_trains_where_it_is_told(
    tmp_path: Path, device: torch.device, targets: str, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cheap(monkeypatch)
    photos = write_photos(tmp_path / "photos")
    module = _Colours()
    network = replace(P_NET, dense_features=lambda x: x[:, :, ::4, ::4] * module.scale, dense_dim=3, module=module)
    settings = replace(SETTINGS, steps=3, targets=targets, distinct_batches=2 if cached else 0)
    report = None if cached else tmp_path / "r.html"
    cards = [
        pretrain(photos, settings, tmp_path / f"{place}.st", network=network, device=place, report=report)
        for place in ("cpu", device)
    ]
    assert module.scale.device.type == device.type
    assert cards[1]["explained_held_out"] == pytest.approx(cards[0]["explained_held_out"], abs=0.05)


def test_channels_of_dense_targets_have_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(9, 3, 8, 8, generator=generator) * torch.tensor([1.0, 100.0, 0.0])[:, None, None] + 5
    network = replace(P_NET, dense_features=lambda x: x, dense_dim=3)
    sample = images.permute(0, 2, 3, 1).flatten(0, 2)
    features = standardized(network, sample).dense_features
    assert features is not None
    got = features(images)
    torch.testing.assert_close(got.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(got.std((0, 2, 3), correction=0), torch.tensor([1.0, 1.0, 0.0]), rtol=1e-4, atol=1e-3)


def test_a_channel_that_is_dead_at_first_does_not_drown_the_others() -> None:
    sample = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0, 0.0])
    network = replace(P_NET, dense_features=lambda x: x, dense_dim=3)
    features = standardized(network, sample).dense_features
    assert features is not None
    assert features(torch.full((1, 3, 2, 2), 3.0)).abs().max() < 500  # it was 1e6
    with pytest.raises(DataError, match="mean-colours: its inner map is the same for all photos"):
        standardized(network, torch.full((9, 3), 0.1) + 1e-8 * sample[:9])


def test_where_training_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    with pytest.raises(ValueError, match="'toaster' is unknown"):
        pretrain(photos, SETTINGS, tmp_path / "t", network=P_NET, device="toaster")
    for command in (["train", str(photos / "more")], ["pretrain", str(photos)]):
        result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "t"), "--device", "cuda:99"])
        assert result.exit_code == 2
        assert "finds no such GPU" in " ".join(result.output.replace("│", " ").split())
    monkeypatch.setattr(pretraining, "usable_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(StadxError, match="on a GPU start one process"):
        pretrain(photos, SETTINGS, tmp_path / "t", network=P_NET, device="cuda")
    monkeypatch.undo()
    with pytest.raises(DataError, match="has no inner map"):
        pretrain(photos, replace(SETTINGS, targets="dense"), tmp_path / "t", network=P_NET)
