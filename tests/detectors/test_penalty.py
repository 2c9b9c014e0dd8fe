"""The photos of a detector's penalty: named by a setting, in no need of being there later."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_photos import write_photos
from small import good_images, teacher_file
from typer.testing import CliRunner

from stadx import DataError, Detector
from stadx.cli.app import app
from stadx.core.errors import DataWarning
from stadx.data.images import write_image
from stadx.detectors.student_teacher import students, update

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]

OLD, NEW = good_images(8), good_images(4, seed=3)


def new_detector(folder: Path, **settings: Any) -> Detector:
    given = {"students": 2, "steps": 4, "image_size": None, "precision": "float32", **settings}
    return Detector((17,), teachers=[teacher_file(folder)], **given)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, narrow_networks: None) -> Path:
    """Photos in `photos`, and `m.safetensors`, trained with them."""
    root = tmp_path_factory.mktemp("penalty")
    detector = new_detector(root, penalty=write_photos(root / "photos"), hard_share=0.1)
    detector.fit(OLD).save(root / "m.safetensors")
    return root


@pytest.mark.parametrize("where, why", [("none", "there is no such folder"), ("empty", "holds no images")])
def test_a_place_without_photos_is_refused_before_any_work(tmp_path: Path, where: str, why: str) -> None:
    (tmp_path / "empty").mkdir()
    stages: list[str] = []
    with pytest.raises(DataError, match=rf"{where}: {why}.*give a folder of photos"):
        new_detector(tmp_path, penalty=tmp_path / where).fit(OLD, progress=lambda stage, *_: stages.append(stage))
    assert set(stages) <= {"Folders of photos"}


def test_photos_that_cannot_be_read(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    (photos / "1.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"left out: .*1\.png"):
        new_detector(tmp_path, penalty=photos, steps=12).fit(OLD)
    for file in photos.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.warns(UserWarning, match="left out"), pytest.raises(DataError, match="none of the 3 photos can be rea"):
        new_detector(tmp_path, penalty=photos).fit(OLD)


def test_a_model_scores_without_its_photos(place: Path, tmp_path: Path) -> None:
    moved = shutil.copy(place / "m.safetensors", tmp_path)
    detector = Detector.load(moved)
    assert (detector.penalty, detector.hard_share) == (str(place / "photos"), 0.1)
    detector.penalty = str(tmp_path / "gone")
    detector.save(moved)
    again = Detector.load(moved)
    assert torch.equal(again.score(NEW), Detector.load(place / "m.safetensors").score(NEW))
    facts = again.facts()
    assert (facts["penalty"], facts["hard_share"]) == (str(tmp_path / "gone"), "0.1")


def test_the_place_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_photos(tmp_path / "here/photos", 3)
    (tmp_path / "there/photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    detector = new_detector(tmp_path, penalty="photos").fit(OLD)
    detector.save("m")
    assert detector.penalty == "photos"
    monkeypatch.chdir(tmp_path / "there")
    found = Detector.load("../here/m")
    assert found.penalty == str(place)
    found.penalty = "gone"  # as a file may have it whose photos were elsewhere
    found.save("m")
    assert Detector.load("m").penalty == "gone"


def test_a_file_of_before_has_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one without the settings is: they are off."""
    from stadx.detectors.student_teacher import detector as module

    detector = new_detector(tmp_path).fit(OLD)
    file_of = module.file_of

    def before(*parts: Any) -> Any:
        header, tensors = file_of(*parts)
        settings = {name: v for name, v in header["settings"].items() if name not in ("penalty", "hard_share")}
        return {**header, "settings": settings}, tensors

    monkeypatch.setattr(module, "file_of", before)
    detector.save(tmp_path / "m")
    found = Detector.load(tmp_path / "m")
    assert found.penalty is None and found.hard_share is None and torch.equal(found.score(NEW), detector.score(NEW))


def test_an_update_goes_on_with_the_penalty_where_the_photos_are(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    given: list[int] = []
    train = students.train_students

    def recorded(*parts: Any, **more: Any) -> Any:
        given.append(len(more["photos"]))
        assert parts[3].hard_share == 0.1
        return train(*parts, **more)

    monkeypatch.setattr(students, "train_students", recorded)
    detector = Detector.load(place / "m.safetensors")
    detector.update(NEW, old=OLD)
    assert given == [25] and not [w for w in recwarn if issubclass(w.category, DataWarning)]
    gone = Detector.load(place / "m.safetensors")
    gone.penalty = str(tmp_path / "gone")
    with pytest.warns(DataWarning, match=r"gone: there is no such folder.*The students go on without the penalty"):
        gone.update(NEW, old=OLD)
    assert given == [25, 0] and gone.penalty == str(tmp_path / "gone")
    (note,) = gone.lineage_[-1]["notes"]
    assert "\n" not in note and note.endswith(update.NO_PHOTOS.removeprefix("{error}"))
    assert gone.model_hash() != detector.model_hash()


def test_the_command(place: Path, tmp_path: Path) -> None:
    for i, image in enumerate(OLD):
        write_image(tmp_path / "good" / f"{i}.png", image.permute(1, 2, 0).numpy())
    options = ["--scales", "17", "--students", "1", "--steps", "2", "--image-size", "0", "--hard-share", "0.01"]
    options += ["--teacher", str(teacher_file(tmp_path)), "--out", str(tmp_path / "m")]
    run = CliRunner().invoke
    done = run(app, ["train", str(tmp_path / "good"), *options, "--penalty", str(place / "photos")])
    assert done.exit_code == 0, done.output
    model = Detector.load(tmp_path / "m")
    assert (model.penalty, model.hard_share) == (str(place / "photos"), 0.01)
    assert run(app, ["train", str(tmp_path / "good"), *options, "--hard-share", "1.5"]).exit_code == 2


def test_an_empty_place_is_not_the_current_folder() -> None:
    with pytest.raises(ValueError, match="penalty is empty"):
        Detector(penalty="")


@pytest.mark.parametrize("wrong", [5, True, ["photos"], b"photos"], ids=str)
def test_what_is_no_place_is_told_what_to_give(wrong: Any) -> None:
    with pytest.raises(ValueError, match=rf"^penalty is {re.escape(repr(wrong))}; give a folder of photos, .* or None"):
        Detector(penalty=wrong)
