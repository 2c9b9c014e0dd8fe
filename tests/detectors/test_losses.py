"""What a student's step lowers: Eq. 7 or its hardest elements, against plain formulas; the penalty on photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pretrain_photos import write_photos
from small import good_images, random_teacher
from torch import Tensor

from stadx import ModelFileError, StadxError
from stadx.data.photos import patches
from stadx.data.photos.reading import Photo, list_photos, read_photo
from stadx.data.roi import Roi
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.batches import Batch, Batches
from stadx.detectors.student_teacher.losses import mean_of_hardest, mean_of_learned, penalty
from stadx.detectors.student_teacher.penalty_photos import PenaltyPhotos
from stadx.detectors.student_teacher.settings import DetectorSettings
from stadx.detectors.student_teacher.students import TrainedStudents, train_students
from stadx.networks.patch_network import dense_features_padded
from stadx.networks.training import Checkpoint

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]

SETTINGS = DetectorSettings(students=2, steps=6, batch=3, crop=9, precision="float32")
FOLDS = [[0, 3], [1, 4]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    return list_photos(write_photos(tmp_path_factory.mktemp("photos") / "here"))


def trained(changes: Mapping[str, Any], roi: Roi | None = None, p: int = 17, **more: Any) -> TrainedStudents:
    source = ImageSource(good_images(), None, roi=roi)
    return train_students(random_teacher(p), source, range(5), replace(SETTINGS, **changes), **more)


def weights(found: TrainedStudents) -> list[Tensor]:
    return [w for student in found.ensemble.students for w in student.state_dict().values()]


def plain(squares: Tensor, share: float, learns: Sequence[int], weight: NDArray[np.int64]) -> float:
    """d times the mean of the highest elements, of those that count."""
    values = squares.detach().double().numpy()
    kept = [values[b, c, y, x] for b, c, y, x in np.ndindex(*values.shape) if learns[b] and weight[b, y, x]]
    highest = sorted(kept, reverse=True)[: max(1, round(share * len(kept)))]
    return values.shape[1] * float(np.mean(highest)) if kept else 0.0


@pytest.mark.parametrize("share", [1e-9, 0.001, 0.1, 0.77, 1.0])
@pytest.mark.parametrize("learns", [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_of_the_hardest(share: float, learns: list[int], weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    squares = torch.randn(3, 7, 5, 11, generator=generator).square().requires_grad_()
    mine, weight = torch.tensor(learns).float(), torch.empty(0)
    if weighted:
        weight = (torch.rand(3, 5, 11, generator=generator) < 0.4).float()
    counts = weight.numpy().astype(int) if weighted else np.ones((3, 5, 11), int)
    found = mean_of_hardest(squares, share, mine, weight)
    assert found.item() == pytest.approx(plain(squares, share, learns, counts), rel=1e-5)
    rows = mine.nonzero()[:, 0]
    if len(rows):  # a CPU takes these images alone, a recorded step of a GPU all of them
        alone = mean_of_hardest(squares[rows], share, mine[rows], weight[rows] if weighted else weight)
        torch.testing.assert_close(alone, found)
    if share == 1:
        torch.testing.assert_close(mean_of_learned(squares.sum(1), mine, weight), found)
    found.backward()  # type: ignore[no-untyped-call]
    assert squares.grad is not None
    counted = counts[:, None] * mine.numpy().astype(int)[:, None, None, None]
    assert (squares.grad.numpy()[np.broadcast_to(counted, squares.shape) == 0] == 0).all()
    pulled = int((squares.grad != 0).sum())
    assert pulled == (max(1, round(share * (7 * counted.sum()))) if counted.any() else 0)


def test_a_loss_that_is_no_number_stays_none() -> None:
    squares = torch.ones(2, 3, 4, 5)
    squares[1, 1, 2, 2] = torch.nan
    assert mean_of_hardest(squares, 0.1, torch.ones(2), torch.empty(0)).isnan()


def test_the_penalty_is_the_mean_over_pixels() -> None:
    predicted = torch.randn(1, 7, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = np.mean([(predicted[0, :, y, x].numpy() ** 2).sum() for y in range(5) for x in range(3)])
    assert penalty(predicted).item() == pytest.approx(float(expected), rel=1e-6)


def test_off_none_of_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: Any) -> Any:
        raise AssertionError("is off")

    monkeypatch.setattr("stadx.detectors.student_teacher.students.mean_of_hardest", never)
    monkeypatch.setattr("stadx.detectors.student_teacher.students.penalty", never)
    monkeypatch.setattr("stadx.detectors.student_teacher.batches.PenaltyPhotos", never)
    trained({"steps": 2}, folds=FOLDS)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("folds", [[], FOLDS], ids=str)
@pytest.mark.parametrize("p, dense", [(17, False), (33, False), (33, True)])
def test_a_step_lowers_just_that_and_focus_is_told_eq_7(
    p: int, dense: bool, folds: list[list[int]], inside: bool, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradients of a first step are those of plain formulas; what focus hears does not depend on the loss."""
    mask = np.zeros((20, 24), bool)
    mask[3:14, 5:22] = True
    told: list[tuple[Batch, Tensor]] = []
    seen = Batches.seen
    monkeypatch.setattr(Batches, "seen", lambda self, b, e: (told.append((b, e.clone())), seen(self, b, e))[1])
    made: list[Any] = []
    step = torch.optim.Adam.step

    def recorded(self: torch.optim.Adam) -> None:
        made.append([[w.detach().clone(), w.grad] for w in self.param_groups[0]["params"]])
        step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    changes: dict[str, Any] = {"steps": 1, "optimizer": "adam", "students": 2, "dense": dense}
    roi = Roi(mask) if inside else None
    trained(changes, roi, p, folds=folds)
    found = trained({**changes, "hard_share": 0.05}, roi, p, folds=folds, photos=photos)
    (batch, usual), (again, hard) = told
    assert torch.equal(batch.part, again.part) and torch.equal(usual, hard)
    assert batch.photo.numel() == 0 and again.photo.shape == (1, *batch.part.shape[1:])
    student = found.ensemble.students[0]
    names = [name for name, _ in student.named_parameters()]
    for place in range(2):
        begin = made[1][place * len(names) : (place + 1) * len(names)]
        student.load_state_dict({name: weight for name, (weight, _) in zip(names, begin, strict=True)}, strict=False)
        student.requires_grad_(True).zero_grad()
        stride = 1 if dense else student.stride
        says, of_photo = (dense_features_padded(student, x)[..., ::stride, ::stride] for x in (again.part, again.photo))
        squares = (says - again.target).square()
        counts = batch.weight if inside else torch.ones_like(batch.target[:, 0])
        mine = [place not in (k for k, part in enumerate(folds) if image in part) for image in batch.images]
        if not any(mine):
            assert all(grad is None for _, grad in begin)
            continue
        elements = squares.movedim(1, 3)[(counts * torch.tensor(mine)[:, None, None]) > 0].flatten()
        hardest = elements.sort(descending=True).values[: max(1, round(0.05 * len(elements)))]
        loss = squares.shape[1] * hardest.mean() + of_photo.square().sum(1).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        for weight, (_, grad) in zip(student.parameters(), begin, strict=True):
            assert weight.grad is not None
            torch.testing.assert_close(grad, weight.grad, rtol=1e-3, atol=1e-4 * float(weight.grad.abs().max()))


@pytest.mark.parametrize("changes", [{"hard_share": 0.1}, {"penalty": "here"}], ids=str)
def test_a_training_that_diverges_says_so(changes: dict[str, Any], photos: list[Photo]) -> None:
    given = photos if "penalty" in changes else []
    with pytest.raises(StadxError, match=r"diverged: the loss is (nan|inf) at step \d+; give a lower learning rate"):
        trained({**changes, "learning_rate": 1e20, "steps": 20}, photos=given)


def test_the_hardest_are_learned_too() -> None:
    usual, hard = (trained({"steps": 40, "hard_share": share}, p=33, folds=FOLDS).history for share in (None, 0.1))
    assert hard != usual
    assert hard[-1]["held_out"] < 0.8 * hard[0]["held_out"]  # over all elements


def test_a_killed_run_resumes_bit_for_bit(photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    def killed(stage: str, done: int, total: int, figures: object) -> None:
        if stage.startswith("Students") and done == 4:
            raise Stop

    changes, given = {"hard_share": 0.1}, {"folds": FOLDS, "photos": photos}
    whole = trained(changes, **given)
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    given["checkpoint_path"] = str(tmp_path / "c")
    with pytest.raises(Stop):
        trained(changes, progress=killed, **given)
    for other, more, named in (
        ({"hard_share": 0.2}, {}, "hard_share"),
        (changes, {"photos": photos[1:]}, "penalty"),
        (changes, {"photos": []}, "penalty"),
    ):
        with pytest.raises(ModelFileError, match=rf"other settings \({named}\)"):
            trained(other, **{**given, **more})
    resumed = trained(changes, **given)
    assert all(map(torch.equal, weights(whole), weights(resumed))) and whole.history == resumed.history
    assert not all(map(torch.equal, weights(whole), weights(trained(changes, folds=FOLDS))))


def test_students_say_less_of_photos(photos: list[Photo]) -> None:
    unseen = PenaltyPhotos(photos, 17, seed=9)
    crops = torch.cat([unseen.crop(step, torch.empty(1, 3, 40, 40)) for step in range(8)])
    length: dict[bool, float] = {}
    for has in (False, True):
        found = trained({"steps": 40, "batch": 1}, photos=photos if has else [])
        with torch.no_grad():
            says = [dense_features_padded(student, crops) for student in found.ensemble.students]
        length[has] = float(torch.stack(says).square().sum(2).mean())
    assert length[True] < 0.5 * length[False]


def test_photos_follow_from_seed_and_step(photos: list[Photo], monkeypatch: pytest.MonkeyPatch) -> None:
    part, other = torch.empty(3, 3, 31, 24), torch.empty(1, 3, 17, 50)
    first, second = PenaltyPhotos(photos, 17, 0), PenaltyPhotos(photos, 17, 0)
    crops = [first.crop(step, part) for step in range(30)]
    second.crop(7, other)
    assert torch.equal(second.crop(3, part), crops[3])
    assert first.crop(0, other).shape == (1, 3, 17, 50) and crops[0].shape == (1, 3, 31, 24)
    assert len({crop.sum().item() for crop in crops}) == 30
    assert not torch.equal(PenaltyPhotos(photos, 17, 1).crop(3, part), crops[3])
    reads: list[Photo] = []
    monkeypatch.setattr(patches, "read_photo", lambda photo: (reads.append(photo), read_photo(photo))[1])
    for step in range(30):
        second.crop(step, part)
    assert len(reads) > 25  # none is kept decoded
