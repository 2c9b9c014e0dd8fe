"""Students learn the normalised teacher, from unbiased parts of the images, and resume bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from small import good_images, random_teacher
from stadx import DataError, StadxError, dense_features, normalize_images
from stadx.data.source import ImageSource
from stadx.progress import silent
from stadx.students import StudentSettings, descriptor_statistics, train_students, training_part
from stadx.training import Checkpoint

SETTINGS = StudentSettings(students=2, steps=6, precision="float32")


class Stop(Exception):
    pass


def test_statistics_are_those_of_every_pixel_of_every_image() -> None:
    teacher, images = random_teacher(), good_images(5)
    mean, std = descriptor_statistics(teacher, ImageSource(images, None), [0, 2, 3], silent)
    values = dense_features(teacher, normalize_images(images[[0, 2, 3]])).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(mean, values.mean(1).float())
    torch.testing.assert_close(std, values.std(1, correction=0).float())


def test_images_of_one_colour_are_refused() -> None:
    source = ImageSource(torch.full((2, 3, 20, 20), 7, dtype=torch.uint8), None)
    with pytest.raises(DataError, match="all one colour"):
        descriptor_statistics(random_teacher(), source, [0, 1], silent)


@pytest.mark.parametrize("p", [33, 65])
def test_phases_together_are_the_dense_evaluation(p: int) -> None:
    teacher = random_teacher(p)
    image = normalize_images(good_images(1, (13, 18)))
    rng = np.random.default_rng(0)
    dense = dense_features(teacher, image, method="direct")
    for _ in range(3):
        grid = teacher.grid(training_part(teacher, image, False, rng))
        phases = [(r, c) for r in range(min(13, teacher.stride)) for c in range(min(18, teacher.stride))]
        expected = [dense[:, :, r :: teacher.stride, c :: teacher.stride] for r, c in phases]
        assert any(e.shape == grid.shape and torch.allclose(e, grid, atol=1e-4) for e in expected)


def test_without_pooling_a_step_sees_a_crop() -> None:
    teacher = random_teacher(17)
    image = normalize_images(good_images(1, (40, 60)))
    dense = dense_features(teacher, image, method="direct")
    grid = teacher.grid(training_part(teacher, image, False, np.random.default_rng(0)))
    h, w = grid.shape[2:]
    assert 40 * 60 / 8 <= h * w < 40 * 60 / 5
    corners = [(r, c) for r in range(40 - h + 1) for c in range(60 - w + 1)]
    assert any(torch.allclose(dense[:, :, r : r + h, c : c + w], grid, atol=1e-4) for r, c in corners)


@pytest.mark.parametrize("p, dense", [(17, False), (33, False), (33, True)])
def test_training_lowers_the_loss_and_students_differ(p: int, dense: bool) -> None:
    losses: list[float] = []

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if "loss" in figures:
            losses.append(figures["loss"])

    settings = replace(SETTINGS, steps=50, dense=dense)
    source = ImageSource(good_images(), None)
    ensemble = train_students(random_teacher(p), source, range(6), settings, progress=progress)
    assert len(losses) == 50 and losses[-1] < 0.7 * max(losses)
    first, second = ensemble.students
    assert not torch.equal(first.layers[0].weight, second.layers[0].weight)  # type: ignore[arg-type]
    assert not any(w.requires_grad for s in ensemble.students for w in s.parameters())


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e20, steps=20)
    with pytest.raises(
        StadxError, match=r"diverged: the loss is (nan|inf) at step \d+; give a lower learning rate, and"
    ):
        train_students(random_teacher(), ImageSource(good_images(), None), range(6), settings)


def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, source, file = random_teacher(), ImageSource(good_images(), None), str(tmp_path / "c")
    whole = train_students(teacher, source, range(6), SETTINGS)

    def killed(stage: str, done: int, total: int, figures: object) -> None:
        if stage.startswith("Students") and done == 4:
            raise Stop

    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    with pytest.raises(Stop):
        train_students(teacher, source, range(6), SETTINGS, progress=killed, checkpoint_path=file)
    stages: list[str] = []
    resumed = train_students(
        teacher, source, range(6), SETTINGS, progress=lambda s, d, t, f: stages.append(s), checkpoint_path=file
    )
    assert stages == ["Students, p = 17"] * 3  # statistics are not computed again
    for a, b in zip(whole.students, resumed.students, strict=True):
        for x, y in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(x, y)
    assert torch.equal(whole.mean, resumed.mean) and torch.equal(whole.std, resumed.std)
