"""Further good images: fewer false alarms, nothing forgotten, every judge unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import good_images
from updates import DEFECTS, NEW, OLD, brighter, flagged, new_detector, same, trained_model

from stadx import DataError, Detector, ModelFileError
from stadx.core.errors import DataWarning
from stadx.data.images import write_image
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.batches import Batches
from stadx.detectors.student_teacher.division import Division
from stadx.detectors.student_teacher.kinds import kinds_apart
from stadx.detectors.student_teacher.known_images import UNLEARNED
from stadx.detectors.thresholds import image_threshold_at
from stadx.networks.training import Checkpoint

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> Path:
    return trained_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("way", ["old", "memory"])
def test_the_new_kind_is_flagged_less_and_defects_are_found(trained: Path, way: str, tmp_path: Path) -> None:
    if way == "old":
        detector = Detector.load(trained)
    else:
        detector = new_detector(tmp_path, memory_bytes=10**6).fit(OLD)
        assert len(detector.memory_.files) == 12
    test = brighter(30, 9)
    before = flagged(detector, test), flagged(detector, good_images(30, (32, 32), 10)), flagged(detector, DEFECTS)
    parent, mean = detector.model_hash(), detector.ensembles_[0].mean
    detector.update(NEW, old=OLD if way == "old" else None)
    after = flagged(detector, test), flagged(detector, good_images(30, (32, 32), 10)), flagged(detector, DEFECTS)
    assert before[0] > 25 and after[0] <= 6
    assert after[1] <= before[1] + 2 and before[2] == after[2] == 8
    assert torch.equal(detector.ensembles_[0].mean, mean)  # students say what they said, in the same units
    entry = detector.lineage_[-1]
    assert (entry["what"], entry["parent"], entry["steps"]) == ("update", parent, 6)
    assert entry["images"] == {"new": 6, "old": 12, "unknown": 0}
    assert {kind: found["images"] for kind, found in entry["judged"].items()} == {"old": 12, "new": 6}
    told = detector.false_alarms()
    assert told.images == 18 and told.flagged == sum(found["flagged"] for found in entry["judged"].values())


def test_judges_are_those_that_their_student_never_learned_from(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old image stays with the student that left it out, also where it comes among the new ones."""
    divisions: list[Division] = []
    batches: list[Batches] = []
    monkeypatch.setattr(
        "stadx.detectors.student_teacher.update.unseen_errors", recorded("unseen_errors", divisions, place=2)
    )
    made = Batches.__init__
    monkeypatch.setattr(Batches, "__init__", lambda self, *given: (batches.append(self), made(self, *given))[1])
    detector = Detector.load(trained)
    before = dict(zip(detector.known_.hashes, detector.known_.left_out, strict=True))
    detector.update(torch.cat([NEW, OLD[:4], NEW[:1]]), old=OLD[4:])
    (division,) = divisions
    hashes = [ImageSource(image[None], None).hash_of(0) for image in torch.cat([OLD[4:], OLD[:4], NEW])]
    for student, part in enumerate(division.folds):
        for index in part:
            assert before.get(hashes[index], student) == student
    assert sorted(index for part in division.folds for index in part) == list(range(18))
    learns = batches[0].learns
    assert all(learns[s, i] == (i not in part) for s, part in enumerate(division.folds) for i in range(18))
    assert (np.bincount(batches[0].epoch) == [1] * 12 + [2] * 6).all()  # as many new ones as old ones
    known = dict(zip(detector.known_.hashes, detector.known_.left_out, strict=True))
    assert known.items() >= before.items() and len(known) == 18 and set(known.values()) == {0, 1}
    with pytest.raises(DataError, match="the model knows all of these 6 images already"):
        detector.update(NEW)


def recorded(name: str, found: list[Any], place: int) -> Any:
    from stadx.detectors.student_teacher import update

    function = getattr(update, name)

    def run(*given: Any, **more: Any) -> Iterator[Any]:
        found.append(given[place])
        return function(*given, **more)

    return run


def test_a_killed_update_resumes_and_changes_nothing_before(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Detector.load(trained).update(NEW, old=OLD)
    again = Detector.load(trained).update(NEW, old=OLD)
    assert same(whole, again)
    other = Detector.load(trained)
    other.seed = 1
    assert not same(whole, other.update(NEW, old=OLD))

    class Stop(Exception):
        pass

    def killed(stage: str, done: int, total: int, figures: object) -> None:
        if stage.startswith("Students") and done == 3:
            raise Stop

    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    detector, part = Detector.load(trained), tmp_path / "part"
    before = detector.model_hash()
    with pytest.raises(Stop):
        detector.update(NEW, old=OLD, progress=killed, checkpoint=part)
    assert detector.model_hash() == before and len(detector.lineage_) == 1
    with pytest.raises(ModelFileError, match="other settings"):
        detector.update(NEW[:4], old=OLD, checkpoint=part)
    begun: list[int] = []
    detector.update(
        NEW,
        old=OLD,
        checkpoint=part,
        progress=lambda stage, done, *_: begun.append(done) if stage.startswith("Students") else None,
    )
    assert begun == [3, 4, 5, 6] and same(detector, whole)
    detector.save(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("patience, looks", [(0, [10, 20, 30, 40]), (20, [*range(2, 41, 2)])])
def test_an_update_looks_at_held_out_loss_seldom_unless_it_may_stop(
    trained: Path, patience: int, looks: list[int]
) -> None:
    detector = Detector.load(trained)
    detector.patience = patience
    detector.update(NEW, old=OLD, steps=40)
    assert [figures["step"] for figures in detector.history_[0]] == looks
    assert all("held_out" in figures for figures in detector.history_[0])


def test_without_old_images_it_says_so_and_sets_thresholds(trained: Path, tmp_path: Path) -> None:
    detector, before = Detector.load(trained), Detector.load(trained)
    detector.memory_bytes = 10**6  # of images to come
    with pytest.warns(DataWarning, match=r"keeps no image.*stay as they are.*these 6 images.*--old.*--memory 16MB"):
        detector.update(NEW)
    assert torch.equal(detector.score(OLD), before.score(OLD))
    assert detector.threshold_ > before.threshold_
    assert flagged(detector, brighter(30, 9)) < flagged(before, brighter(30, 9))
    n = detector.heldout_image_scores_
    np.testing.assert_array_equal(n[:, :12], before.heldout_image_scores_)
    new = detector.predict(NEW, stride=4).image_scores  # no student saw them
    np.testing.assert_allclose(n[2, 12:], new.numpy(), rtol=1e-4)
    share = np.mean([float((detector.score(images) > detector.threshold_).float().mean()) for images in [NEW]])
    assert share <= 18 / 6 * detector.target_fpr + 1e-3
    assert detector.lineage_[-1]["what"] == "thresholds" and detector.lineage_[-1]["steps"] == 0
    assert detector.known_.left_out[12:] == (UNLEARNED,) * 6
    detector.save(tmp_path / "m")
    found = Detector.load(tmp_path / "m")
    assert found.known_ == detector.known_ and found.lineage_ == detector.lineage_
    with pytest.warns(DataWarning, match="these 3 images"):  # the memory has none that was learned
        assert Detector.load(tmp_path / "m").update(brighter(3, 5)).false_alarms().images == 12 + 6 + 3
    found.update(brighter(2, 4), old=torch.cat([OLD, NEW]))  # learned now
    assert set(found.known_.left_out) == {0, 1} and len(found.known_.hashes) == 20
    assert found.lineage_[-1]["parent"] == detector.model_hash()


def test_held_out_images_stay_held_out(tmp_path: Path) -> None:
    detector = new_detector(tmp_path, cross=False, steps=4).fit(OLD)
    held_out = {h for h, student in detector.known_.by_hash().items() if student == UNLEARNED}
    assert len(held_out) == 4
    detector.update(NEW, old=OLD)
    found = detector.known_.by_hash()
    assert all(found[h] == UNLEARNED for h in held_out)
    assert list(found.values()).count(UNLEARNED) == 4 + 2 == detector.false_alarms().images
    one = new_detector(tmp_path, cross=False, steps=4).fit(OLD)
    with pytest.raises(DataError, match="one new image alone cannot both teach and judge"):
        one.update(NEW[:1], old=brighter(2, 20))
    assert one.update(NEW[:1], old=OLD).false_alarms().images == 4


def test_a_chosen_image_threshold_is_dropped_and_said(trained: Path) -> None:
    detector = Detector.load(trained).set_image_threshold(99.0)
    with pytest.warns(DataWarning, match="belongs to the model before the update"):
        detector.update(NEW, old=OLD)
    assert detector.image_threshold() < 99


def test_regions_of_interest(tmp_path: Path) -> None:
    mask = np.ones((32, 32), bool)
    mask[:, 20:] = False
    detector = new_detector(tmp_path, memory_bytes=10**6, steps=4).fit(OLD, roi=mask)
    detector.update(NEW)
    assert detector.roi_ is not None and (detector.roi_ == mask).all() and detector.lineage_[-1]["roi"] == "one"
    for index, image in enumerate(OLD[:4]):
        write_image(tmp_path / "i" / f"{index}.png", image.permute(1, 2, 0).numpy())
        write_image(tmp_path / "m" / f"{index}.png", mask.astype(np.uint8) * 255)
    with pytest.raises(DataError, match="which the model's memory does not keep"):
        new_detector(tmp_path, memory_bytes=10**6).fit(tmp_path / "i", roi=tmp_path / "m")
    each = new_detector(tmp_path, steps=4).fit(tmp_path / "i", roi=tmp_path / "m")
    with pytest.raises(DataError, match="a mask for each image"):
        each.update(NEW)
    with pytest.raises(DataError, match="a folder of masks"):
        each.update(NEW, roi=np.stack([mask] * 6))


def test_steps_that_cannot_be(trained: Path) -> None:
    with pytest.raises(ValueError, match="steps is 0"):
        Detector.load(trained).update(NEW, old=OLD, steps=0)


def test_a_kind_that_is_much_harder_is_told(trained: Path) -> None:
    """One threshold for both would hide defects of the easier kind, and nobody would know."""
    rng = torch.Generator().manual_seed(7)
    noisy = (good_images(12, (32, 32), 5).float() + 60 * torch.randn(12, 3, 32, 32, generator=rng)).clamp(0, 255)
    detector = Detector.load(trained)
    with (
        pytest.warns(DataWarning, match="keeps no image"),
        pytest.warns(DataWarning, match=r"The new images score higher.*12 of the 12 new .* hides defects of the old"),
    ):
        detector.update(noisy.to(torch.uint8))
    assert any("score higher" in note for note in detector.lineage_[-1]["notes"])


def test_kinds_are_told_apart_by_more_than_chance() -> None:
    rng = np.random.default_rng(0)
    is_new = np.arange(150) >= 100

    def told(scores: Any) -> str | None:
        def at(own: Any) -> float:
            return image_threshold_at(0.05, own)

        scores = scores.astype(np.float32)
        return kinds_apart(scores, is_new, at(scores), 0.05, at)

    alike = [told(rng.normal(size=150)) for _ in range(500)]
    assert sum(sentence is not None for sentence in alike) <= 13  # each of two ways below 2.5 %: expected below 25
    harder = told(rng.normal(size=150) + 4 * is_new)
    assert harder is not None and "The new images score higher than the old" in harder
    easier = told(rng.normal(size=150) - 4 * is_new)
    assert easier is not None and "The old images score higher than the new" in easier
    assert told(rng.normal(size=150) + 0.3 * is_new) is None
