"""Students learn the normalised teacher, from unbiased parts of the images, and resume bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import good_images, random_teacher

from stadx import ModelFileError, StadxError
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.batches import Batches
from stadx.detectors.student_teacher.crops import Crop, Focus, random_crops
from stadx.detectors.student_teacher.settings import DetectorSettings
from stadx.detectors.student_teacher.students import train_students
from stadx.networks.training import Checkpoint

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]

SETTINGS = DetectorSettings(students=2, steps=6, batch=1, precision="float32")


class Stop(Exception):
    pass


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("side", [None, 12, 1, 1000])
def test_crops_lie_within_their_images_and_reach_every_pixel(side: int | None, stride: int) -> None:
    rng, sizes = np.random.default_rng(0), [(30, 21), (25, 40)]
    seen = [np.zeros(size) for size in sizes]
    for _ in range(15000):
        crops = random_crops(sizes, side, stride, rng)
        assert len({(c.height, c.width) for c in crops}) == 1
        for crop, count in zip(crops, seen, strict=True):
            view = count[crop.row :: stride, crop.column :: stride][: crop.height, : crop.width]
            assert view.shape == (crop.height, crop.width)
            view += 1
    expected = (25 if side in (None, 1000) else side) // stride
    assert crops[0].height == max(1, expected)
    for count in seen:
        inner, border = count[8:-8, 8:-8].mean(), np.concatenate([count[0], count[-1], count[:, 0]]).mean()
        assert count.min() > 0
        assert border > 0.4 * inner, "the border is seen too rarely"


def test_a_crop_of_an_image_with_one_pixel() -> None:
    assert random_crops([(1, 1)], 128, 8, np.random.default_rng(0)) == [Crop(0, 0, 1, 1, 8)]


def test_focus_finds_where_the_loss_is() -> None:
    """Half of one image has a loss of 9, the other 1, as every crop reports; the other image is not told apart."""
    rng, sizes = np.random.default_rng(0), [(128, 200), (70, 70)]
    focus = Focus(sizes, 0.8, 5.0)
    seen = []
    for step in range(800):
        crop = random_crops([sizes[0]], 32, 4, rng)[0]
        crop = focus.place(0, crop, rng)
        assert 0 <= crop.row <= 128 - 29 and 0 <= crop.column <= 200 - 29 and crop.height == crop.width == 8
        columns = crop.column + 4 * torch.arange(8)
        focus.update(0, crop, torch.where(columns < 100, 9.0, 1.0).expand(8, 8))
        if step >= 400:
            seen.append(crop.column + 14 < 100)
    assert np.mean(seen) == pytest.approx(0.8 * 0.9 + 0.2 * 0.5, abs=0.07)
    cells = focus.losses[: 8 * 13].view(8, 13)
    assert (cells[:, :6] > 8).all() and (cells[:, 7:12] < 2).all() and (focus.losses[8 * 13 :] == 5).all()
    other = Focus(sizes, 0.8, 5.0)
    other.losses = focus.losses
    assert torch.equal(other.losses, focus.losses)


def test_focus_leaves_crops_alone_where_it_has_no_choice() -> None:
    rng = np.random.default_rng(0)
    focus, none = Focus([(20, 24), (1, 1)], 1.0, 1.0), Focus([(200, 200)], 0.0, 1.0)
    for crop in random_crops([(20, 24)] * 50, None, 4, rng):
        assert focus.place(0, crop, rng) == crop
    assert focus.place(1, Crop(0, 0, 1, 1, 8), rng) == Crop(0, 0, 1, 1, 8)
    for crop in random_crops([(200, 200)] * 50, 32, 4, rng):
        assert none.place(0, crop, rng) == crop
    focus.update(1, Crop(0, 0, 1, 1, 8), torch.full((1, 1), 3.0))
    assert focus.losses[-1] == pytest.approx(1 + (8 / 16) ** 2 * 2)


@pytest.mark.parametrize("stride", [1, 4])
def test_focused_crops_reach_every_pixel(stride: int) -> None:
    rng, focus = np.random.default_rng(0), Focus([(75, 64)], 1.0, 1.0)
    seen = np.zeros((75, 64))
    for crop in random_crops([(75, 64)] * 8000, 24, stride, rng):
        moved = focus.place(0, crop, rng)
        view = seen[moved.row :: stride, moved.column :: stride][: moved.height, : moved.width]
        assert view.shape == (moved.height, moved.width)
        view += 1
    assert seen.min() > 0.05 * seen.mean()


@pytest.mark.parametrize(
    "p, dense, batch, crop",
    [
        (17, False, 1, None),
        (33, False, 3, 12),
        (33, True, 2, 6),
        (65, False, 2, 15),
    ],
)
def test_training_lowers_the_loss_and_students_differ(p: int, dense: bool, batch: int, crop: int | None) -> None:
    losses: list[float] = []

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if "loss" in figures:
            losses.append(figures["loss"])

    rate = 5e-4 if p == 65 else None  # 50 steps are few for the largest network
    steps = 25 if p == 65 else 50  # of which p = 65 takes twice as many
    settings = replace(SETTINGS, steps=steps, dense=dense, batch=batch, crop=crop, learning_rate=rate)
    source = ImageSource(good_images(), None)
    ensemble, history = train_students(random_teacher(p), source, range(5), settings, held_out=[5], progress=progress)
    assert len(losses) == 50 and losses[-1] < 0.8 * max(losses)  # a running mean
    assert [h["step"] for h in history] == [*range(2, 51, 2)]
    assert history[-1]["loss"] == pytest.approx(losses[-1], abs=1e-4)
    assert history[-1]["held_out"] < 0.8 * history[0]["held_out"]
    first, second = ensemble.students
    assert not torch.equal(first.layers[0].weight, second.layers[0].weight)  # type: ignore[arg-type]
    assert not any(w.requires_grad for s in ensemble.students for w in s.parameters())


@pytest.mark.parametrize("crop, size", [(4, (20, 24)), (None, (1, 1)), (64, (3, 30))])
def test_crops_too_small_for_four_phases(crop: int | None, size: tuple[int, int]) -> None:
    source = ImageSource(good_images(3, size), None)
    settings = replace(SETTINGS, students=1, steps=3, crop=crop)
    history = train_students(random_teacher(65), source, [0, 1], settings, held_out=[2]).history
    assert np.isfinite(history[-1]["loss"]) and np.isfinite(history[-1]["held_out"])


def test_muon_gets_further_than_adam_in_as_many_steps() -> None:
    source = ImageSource(good_images(), None)
    settings = replace(SETTINGS, students=1, steps=60)
    muon, adam = (
        train_students(random_teacher(33), source, range(5), replace(settings, optimizer=name), held_out=[5]).history
        for name in ("muon", "adam")
    )
    assert muon[-1]["held_out"] < 0.95 * adam[-1]["held_out"]  # 0.88; networks of full width get further apart


def test_patience_stops_and_keeps_the_best() -> None:
    """Students of noise overfit at once: what they learn of two images does not hold for the third."""
    images = torch.randint(0, 256, (3, 3, 8, 9), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    settings = replace(SETTINGS, students=1, steps=60, crop=4, learning_rate=2e-2, schedule="constant", patience=2)
    steps: list[int] = []
    trained = train_students(
        random_teacher(),
        ImageSource(images, None),
        [0, 1],
        settings,
        held_out=[2],
        progress=lambda stage, done, total, figures: steps.append(done) if "loss" in figures else None,
    )
    losses = [h["held_out"] for h in trained.history]
    assert 6 < steps[-1] < 60 and steps[-1] % 3 == 0
    assert min(losses) == losses[-3]  # the best, then two that are not
    whole = train_students(
        random_teacher(), ImageSource(images, None), [0, 1], replace(settings, patience=0), held_out=[2]
    )
    assert [h["held_out"] for h in whole.history[: len(losses)]] == losses
    assert not torch.equal(trained.ensemble.students[0].layers[0].weight, whole.ensemble.students[0].layers[0].weight)  # type: ignore[arg-type]


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e20, steps=20)
    error = r"diverged: the loss is (nan|inf) at step \d+; give a lower learning rate"
    source = ImageSource(good_images(), None)
    with pytest.raises(StadxError, match=rf"{error}$"):
        train_students(random_teacher(), source, range(6), settings)
    file = tmp_path / "m.part-p17"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StadxError, match=rf"{error}, and delete {file}$"):
        patch.setattr(Checkpoint, "due", lambda self: True)
        train_students(random_teacher(), source, range(6), settings, checkpoint_path=str(file))


def test_a_run_does_not_go_on_in_another_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, source, file = random_teacher(), ImageSource(good_images(), None), str(tmp_path / "c")
    settings = replace(SETTINGS, steps=1, precision="auto")
    monkeypatch.setattr("stadx.networks.training._has_bfloat16", lambda device: False)
    train_students(teacher, source, range(5), settings, checkpoint_path=file)
    train_students(teacher, source, range(5), replace(settings, precision="auto"), checkpoint_path=file)
    monkeypatch.setattr("stadx.networks.training._has_bfloat16", lambda device: True)
    with pytest.raises(
        ModelFileError,
        match=r"c: .*in float32 on device cpu, this one has .*in bfloat16 on .*go on with the precision float32 on",
    ):
        train_students(teacher, source, range(5), settings, checkpoint_path=file)
    train_students(teacher, source, range(5), replace(settings, precision="float32"), checkpoint_path=file)
    with pytest.raises(ModelFileError, match=r"c: .*in float32 on device cpu, this one has .*in bfloat16 on device"):
        train_students(teacher, source, range(5), replace(settings, precision="bfloat16"), checkpoint_path=file)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adam"},
        {"batch": 2, "crop": 9},
        {"patience": 3, "steps": 20, "crop": 4, "schedule": "constant"},
    ],
    ids=str,
)
def test_a_killed_run_resumes_bit_for_bit(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, source, file = random_teacher(), ImageSource(good_images(), None), str(tmp_path / "c")
    settings = replace(SETTINGS, **changes)
    whole = train_students(teacher, source, range(5), settings, held_out=[5])

    def killed(stage: str, done: int, total: int, figures: object) -> None:
        if stage.startswith("Students") and done == 4:
            raise Stop

    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    with pytest.raises(Stop):
        train_students(teacher, source, range(5), settings, held_out=[5], progress=killed, checkpoint_path=file)
    stages: set[str] = set()
    resumed = train_students(
        teacher,
        source,
        range(5),
        settings,
        held_out=[5],
        progress=lambda s, d, t, f: stages.add(s),
        checkpoint_path=file,
    )
    assert stages == {"Students, p = 17"}  # statistics are not computed again
    for a, b in zip(whole.ensemble.students, resumed.ensemble.students, strict=True):
        for x, y in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(x, y)
    assert torch.equal(whole.ensemble.mean, resumed.ensemble.mean)
    assert torch.equal(whole.ensemble.std, resumed.ensemble.std)
    assert whole.history == resumed.history


@pytest.mark.parametrize("batch", [1, 3])
def test_a_student_learns_nothing_of_the_images_it_leaves_out(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.stack([torch.full((3, 20, 24), 40 * i + 20, dtype=torch.uint8) for i in range(6)])
    images[:, :, ::3] += 5  # not of one colour
    folds = [[0, 5], [1, 4], [2, 3]]
    seen: dict[int, set[int]] = {}
    students: list[int] = []
    squares = Batches.squares

    def recorded(self: Batches, student: Any, part: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            if id(student) not in students:
                students.append(id(student))
            grey = (part.mean((1, 2, 3)) * 0.226 + 0.449) * 255  # about what was normalised
            seen.setdefault(id(student), set()).update(((grey - 20) / 40).round().int().tolist())
        return squares(self, student, part, target)

    monkeypatch.setattr(Batches, "squares", recorded)
    settings = replace(SETTINGS, students=3, steps=18, batch=batch, crop=6)
    source = ImageSource(images, None)
    whole = train_students(random_teacher(), source, range(6), settings, folds=folds)
    learned = sorted(sorted(images) for images in seen.values())
    assert learned == [[0, 1, 4, 5], [0, 2, 3, 5], [1, 2, 3, 4]]
    assert all(np.isfinite(h["held_out"]) for h in whole.history)
