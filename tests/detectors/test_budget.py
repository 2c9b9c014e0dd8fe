"""Steps and judges that fit into a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import stadx
from small import good_images, teacher_file

from stadx import DataError, Detector
from stadx.data.images import write_image
from stadx.detectors.student_teacher import budget
from stadx.detectors.student_teacher.budget import plan

pytestmark = pytest.mark.usefixtures("narrow_networks")

SECONDS = {"Teacher": 0.5, "Students": 0.25, "Scores": 1.0}  # of an image, a step, an image of a scale


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("budget")
    paths = [folder / f"{i:02}.png" for i in range(20)]
    for path, image in zip(paths, good_images(20, (40, 40)), strict=True):
        write_image(path, image.permute(1, 2, 0).numpy())
    return paths


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {"scales": (17,), "students": 2, "image_size": 40, "teachers": (teacher_file(folder),), **more}


@pytest.mark.parametrize(
    ("seconds", "steps", "judges", "expected"),
    [
        (10_000, 1500, 200, 100 + 200 + 375),  # all of them
        (400, 720, 120, 400),  # 100 s for the teacher, 0.4 of the other 300 to judge, the rest for steps
        (200, 160, 60, 200),  # never fewer judges than 60
    ],
)
def test_what_fits(
    photos: list[Path], seconds: float, steps: int, judges: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget._Units, "of", lambda self, name: SECONDS[name.split(",")[0]])
    monkeypatch.setattr(budget.time, "monotonic", lambda: 0.0)  # the trial and reading take no time
    found = plan(settings(photos[0].parent), 10 * photos, seconds)
    assert (found.steps, found.judges) == (steps, judges)
    assert found.seconds == pytest.approx(expected)


def test_the_largest_patch_takes_twice_the_steps(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget._Units, "of", lambda self, name: SECONDS[name.split(",")[0]])
    monkeypatch.setattr(budget.time, "monotonic", lambda: 0.0)
    both = settings(photos[0].parent, scales=(17, 65), teachers=[teacher_file(photos[0].parent, p) for p in (17, 65)])
    assert plan(both, 10 * photos, 10_000).seconds == pytest.approx(100 + 2 * 200 + 375 + 750)
    both["steps_factor_65"] = 1.0
    assert plan(both, 10 * photos, 10_000).seconds == pytest.approx(100 + 2 * 200 + 375 + 375)


def test_processes_that_share_a_scale_share_its_teacher(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget._Units, "of", lambda self, name: SECONDS[name.split(",")[0]])
    monkeypatch.setattr(budget.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(budget, "together", lambda scales, students: scales * students)  # two
    found = plan(settings(photos[0].parent), 10 * photos, 10_000)
    assert found.seconds == pytest.approx(50 + 200 + 375)


def test_too_short_a_time_says_what_would_do(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget._Units, "of", lambda self, name: SECONDS[name.split(",")[0]])
    monkeypatch.setattr(budget.time, "monotonic", lambda: 0.0)
    with pytest.raises(DataError, match=r"0\.5 minutes are too short.* takes about 3\.0 on this machine"):
        plan(settings(photos[0].parent), 10 * photos, 30)  # 100 + 60 + 15 seconds


def test_the_trial_measures_every_stage_and_leaves_the_settings(photos: list[Path]) -> None:
    told: set[str] = set()
    asked = settings(photos[0].parent, steps=70, judges=9)
    found = plan(asked, photos, 3600, progress=lambda stage, *_: told.add(stage.split(",")[0]))
    assert (found.steps, found.judges) == (70, 9) and 0 < found.seconds < 600
    assert told == {"Trying: Teacher's descriptors", "Trying: Students", "Trying: Scores of good images"}
    assert asked["steps"] == 70


def test_the_command_plans_once_and_goes_on_with_that(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = photos[0].parent, photos[0].parent / "model.stadx"
    options = ("--scales", 17, "--students", 2, "--image-size", 40, "--teacher", teacher_file(folder), "--steps", 8)
    command = ("train", folder, "--out", out, *options, "--budget")
    stop = lambda *_, **__: (_ for _ in ()).throw(RuntimeError("killed"))  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr("stadx.detectors.student_teacher.detector.calibrate", stop)
        patch.setattr(budget, "Detector", Trial)
        assert "killed" in str(stadx(*command, "1h").exception)
    monkeypatch.setattr(budget, "plan", stop)
    result = stadx(*command, "1h")
    assert result.exit_code == 0, result.output
    assert "goes on with 8 steps of each scale" in result.output
    assert Detector.load(out).steps == 8
    assert not list(folder.glob("model.stadx.part*"))


class Trial(Detector):
    """A detector whose training takes no calibration, for a trial beside one that is to be killed."""

    def fit(self, data: Any, *, progress: Any, **_: Any) -> Detector:  # type: ignore[override]
        for stage in ("Teacher", "Students, p = 17", "Scores"):
            progress(stage, 1, 2, {})
            progress(stage, 2, 2, {})
        return self


@pytest.mark.parametrize("more", [{"students": 1}, {"cross": False, "held_out": 0.1}], ids=str)
def test_one_image_that_judges_is_enough_for_a_trial(photos: list[Path], more: dict[str, Any]) -> None:
    asked = settings(photos[0].parent, steps=5, **more)
    found = plan(asked, photos[:2] if "students" in more else photos[:9], 3600)
    assert found.steps == 5 and found.seconds > 0


@pytest.mark.parametrize("left", ['{"steps": 3', '{"steps": 3, "judges": 5}', "[]"])
def test_what_another_command_planned_is_planned_anew(photos: list[Path], left: str) -> None:
    folder, out = photos[0].parent, photos[0].parent / "anew.stadx"
    Path(f"{out}.part-budget").write_text(left)
    options = ("--scales", 17, "--students", 2, "--image-size", 40, "--teacher", teacher_file(folder), "--steps", 4)
    result = stadx("train", folder, "--out", out, *options, "--budget", "1h")
    assert result.exit_code == 0, result.output
    assert "Budget: 4 steps of each scale" in result.output
    assert Detector.load(out).steps == 4


@pytest.mark.parametrize("text", ["5", "0min", "five minutes", "-3s"])
def test_what_is_no_time(photos: list[Path], text: str) -> None:
    result = stadx("train", photos[0].parent, "--out", photos[0].parent / "m.stadx", f"--budget={text}")
    assert result.exit_code == 2 and "is not like 5min" in " ".join(result.output.split())
