"""Pretraining learns, and says what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from pretrain_photos import P_NET, SETTINGS, TRIPLETS, write_photos
from torch import Tensor, nn

from stadx import DataError, ModelFileError, OutputError
from stadx.core.files import read_model
from stadx.networks.patch_network import PatchNetwork
from stadx.networks.training import learning_rate_factor
from stadx.teachers.pretraining import pretrain
from stadx.teachers.teacher_files import load_teacher

pytestmark = pytest.mark.usefixtures("cheap")


PREPARATIONS = ("Folders of photos", "Photos", "First patches", "Pretrained network", "P's features of first patches")
HELD_OUT = ("Held-out patches", "P's features of held-out patches")


def test_pretraining_learns_and_writes_a_card(photos: Path, tmp_path: Path) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    figures: dict[str, float] = {}

    def progress(stage: str, done: int, total: int, now: Mapping[str, float]) -> None:
        seen.setdefault(stage, []).append((done, total))
        figures.update(now)

    out = tmp_path / "teacher.safetensors"
    settings = replace(SETTINGS, steps=30, compactness_weight=0.001)
    card = pretrain(photos, settings, out, progress=progress, network=P_NET)
    assert card["explained_held_out"] > 0.2, card["history"][-1]
    assert (card["photos"], card["held_out_photos"]) == (23, 2)
    assert seen["Teacher"] == [(i, 30) for i in range(1, 31)]
    assert list(seen) == [*PREPARATIONS, "Teacher", *HELD_OUT]  # nothing that takes time is silent
    assert all(stages[-1] == (stages[-1][1],) * 2 for stages in seen.values())
    assert set(figures) == {"distillation", "compactness", "explained"}
    assert sorted(f.name for f in tmp_path.iterdir()) == ["photos", "teacher.safetensors"]
    header, tensors = read_model(out, "teacher", 1)
    assert header["card"] == card
    assert all(t.dtype == torch.float16 for t in tensors.values())
    net = load_teacher(out)
    assert net.patch_size == 17 and not any(w.requires_grad for w in net.parameters())
    assert net(torch.randn(64, 3, 17, 17)).std() > 0.1


def test_a_teacher_can_go_on_from_another(photos: Path, tmp_path: Path) -> None:
    first, out = tmp_path / "first", tmp_path / "t"
    settings = replace(SETTINGS, steps=30, compactness_weight=0.001)
    before = pretrain(photos, settings, first, network=P_NET)["explained_held_out"]
    still = replace(settings, steps=1, learning_rate=0.0)
    card = pretrain(photos, still, out, network=P_NET, start=first)
    assert card["start"] == "first"
    assert card["explained_held_out"] > 0.9 * before  # D is found at once, although it is not in the file
    for a, b in zip(load_teacher(first).parameters(), load_teacher(out).parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(DataError, match="first: is a teacher of another form"):
        pretrain(photos, replace(settings, last_activation=True), out, network=P_NET, start=first)
    with pytest.raises(ModelFileError, match="nothing: there is no such file"):
        pretrain(photos, settings, out, network=P_NET, start=tmp_path / "nothing")


def test_without_distillation_no_pretrained_network_is_loaded(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stadx.teachers.start.load_pretrained", lambda name: pytest.fail("loaded"))
    settings = replace(TRIPLETS, steps=1, distillation_weight=0, distinct_batches=2)
    card = pretrain(photos, settings, tmp_path / "t", report=tmp_path / "r.html")
    assert card["explained_held_out"] is None and card["pretrained_network"] is None
    assert set(card["history"][-1]) == {"step", "triplet", "compactness", "effective_rank"}
    page = (tmp_path / "r.html").read_text()
    assert "triplet loss" in page and "explained" not in page


def test_without_triplets_none_are_made(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object) -> None:
        pytest.fail("made triplets")

    monkeypatch.setattr("stadx.data.photos.patches.PhotoPatches.triplets", forbidden)
    pretrain(photos, replace(SETTINGS, steps=1), tmp_path / "t", network=P_NET)


def test_learning_rate_rises_then_falls() -> None:
    factors = [learning_rate_factor(i, 100, "cosine") for i in range(100)]
    assert factors[4] == 1.0 == max(factors) and factors[0] == 0.2 and factors[-1] < 0.001
    assert learning_rate_factor(70, 100, "constant") == 1.0


def test_any_module_can_be_distilled(photos: Path, tmp_path: Path) -> None:
    class Colours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.dropout = nn.Dropout(0.5)

        def forward(self, images: Tensor) -> Tensor:
            return self.dropout(images.mean((2, 3)) * self.weight)

    module = Colours()
    card = pretrain(photos, replace(SETTINGS, steps=2), tmp_path / "t", network=module)
    assert card["pretrained_network"].startswith("Colours-")
    assert not module.training and not module.weight.requires_grad and module.weight.grad is None


def test_every_choice_of_the_network_reaches_the_file(photos: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=1, descriptor_size=8, conv3_channels=256, last_activation=True, padding="zeros")
    pretrain(photos, settings, tmp_path / "t", network=P_NET)
    net = load_teacher(tmp_path / "t")
    assert (
        net.settings
        == PatchNetwork(17, descriptor_size=8, conv3_channels=256, last_activation=True, padding="zeros").settings
    )


def test_the_learning_rate_in_use_is_on_the_card(photos: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=1, optimizer="muon")
    assert pretrain(photos, settings, tmp_path / "a", network=P_NET)["learning_rate"] == 2e-3
    pretrain(photos, replace(settings, learning_rate=2e-3), tmp_path / "b", network=P_NET)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_mean_reduction_reaches_the_loss(photos: Path, tmp_path: Path) -> None:
    found: dict[str, float] = {}
    for reduction in ("sum", "mean"):
        settings = replace(SETTINGS, steps=1, compactness_reduction=reduction)
        card = pretrain(photos, settings, tmp_path / "t", network=P_NET)
        found[reduction] = card["history"][-1]["compactness"]
    assert found["sum"] == pytest.approx(found["mean"] * 128 * 127, rel=1e-2)


def test_looking_at_held_out_patches_changes_nothing_but_the_history(photos: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=3)
    plain = pretrain(photos, settings, tmp_path / "a", network=P_NET)
    stages: list[str] = []
    looked = pretrain(
        photos,
        settings,
        tmp_path / "b",
        network=P_NET,
        report=tmp_path / "r.html",
        progress=lambda stage, *_: stages.append(stage) if stage not in stages else None,
    )
    assert stages == [*PREPARATIONS, *HELD_OUT, "Report", "Teacher"]
    a, b = (read_model(tmp_path / name, "teacher", 1)[1] for name in "ab")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert plain["explained_held_out"] == looked["explained_held_out"]
    assert looked["history"][-1]["held_out_explained"] == looked["explained_held_out"]
    assert [e["step"] for e in looked["history"] if "held_out_explained" in e] == [1, 2, 3]
    assert not any("held_out_explained" in e for e in plain["history"])
    page = (tmp_path / "r.html").read_text()
    for part in ("share of P's variance explained", "distillation loss Lk", "compactness loss Lc", "effective rank"):
        assert part in page, part
    assert page.count('alt="query"') == 8 and page.count('alt="neighbour"') == 48
    assert "triplet loss" not in page and 'src="http' not in page and "<link" not in page
    assert "<dt>learning_rate</dt><dd>0.0012</dd>" in page


def test_bad_input(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        pretrain(tmp_path / "nowhere", SETTINGS, tmp_path / "t", network=P_NET)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no images"):
        pretrain(tmp_path / "empty", SETTINGS, tmp_path / "t", network=P_NET)
    with pytest.raises(OutputError, match="photos: is a folder"):
        pretrain(photos, SETTINGS, photos, network=P_NET)
    with pytest.raises(OutputError, match="photos: is a folder"):
        pretrain(photos, SETTINGS, tmp_path / "t", network=P_NET, report=photos)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
        Image.new("RGB", (60, 40), colour).save(plain / f"{name}.png")
    for settings in (SETTINGS, replace(SETTINGS, targets="dense")):
        with pytest.raises(DataError, match=r"of one colour each, .*; check their folder, .*plain/b\.png for a start"):
            pretrain(plain, settings, tmp_path / "t", network=P_NET)
    two = write_photos(tmp_path / "two", 2)
    with pytest.raises(DataError, match="only 2 photos; this training needs 3 or more"):
        pretrain(two, TRIPLETS, tmp_path / "t", network=P_NET)
    with pytest.raises(DataError, match=r'mean-colours: has no inner map, which targets = "dense" needs'):
        pretrain(photos, replace(SETTINGS, targets="dense"), tmp_path / "t", network=P_NET)
    with pytest.raises(DataError, match="batch of 24 patches does not fill crops of 16"):
        pretrain(photos, replace(SETTINGS, targets="dense", batch=24), tmp_path / "t", network=P_NET)
