"""Studies change one thing, say which figure it gives, and go on where they were stopped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pretrain_photos import write_photos
from small import teacher_file
from typer.testing import CliRunner

from stadx import DataError, Detector
from stadx.cli.app import app
from stadx.core.progress import silent
from stadx.data.demo.demo_set import write_demo_set
from stadx.data.layouts import open_category, training_images
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.channel_weights import scale_weights
from stadx.evaluation.of_detector import evaluate
from stadx.experiments.ablations import study as ablations
from stadx.experiments.ablations.studies import STUDIES
from stadx.experiments.ablations.study import Row, Setup, run_study, table
from stadx.experiments.ablations.variants import HeldOut
from stadx.teachers.settings import PretrainSettings

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]


@pytest.fixture(scope="module")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_set(tmp_path_factory.mktemp("set"), size=48, train=4, test_good=2, test_defect=2)[0]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("teachers")
    teachers = [teacher_file(folder, p) for p in (17, 33)]
    small = {"scales": (17, 33), "students": 2, "steps": 4, "image_size": 48, "crop": 8, "held_out": 0.5}
    small |= {"stride": 1, "border": "reflect", "cross": False}
    return Setup({**small, "teachers": teachers})


def one_scale(setup: Setup) -> Setup:
    """The same with one student for p = 17, at every fourth pixel."""
    one = {"scales": (17,), "students": 1, "teachers": setup.settings["teachers"][:1]}
    return replace(setup, stride=4, settings={**setup.settings, **one})


@pytest.fixture(scope="module")
def trained(category: Path, setup: Setup) -> Detector:
    return setup.detector({}).fit(category)


@pytest.fixture(scope="module")
def held_out(category: Path, trained: Detector) -> HeldOut:
    return HeldOut(trained, ImageSource(training_images(category), 48), silent)


def test_the_variant_with_everything_is_the_detector(trained: Detector, held_out: HeldOut) -> None:
    same = held_out.variant()
    images = torch.rand(2, 3, 48, 48)
    assert torch.equal(same.score(images), trained.score(images))
    assert same.threshold_ == trained.threshold_
    assert (same.scales, same.students) == (trained.scales, trained.students)


def test_variants_of_a_crossed_detector(category: Path, setup: Setup) -> None:
    """Each student left out another part: those that are taken away take theirs along."""
    setup = replace(setup, settings={**setup.settings, "cross": True, "border": "inside", "stride": 4})
    crossed = setup.detector({}).fit(category)
    held_out = HeldOut(crossed, ImageSource(training_images(category), 48), silent)
    same = held_out.variant()
    images = torch.rand(2, 3, 48, 48)
    assert torch.equal(same.score(images), crossed.score(images))
    assert (same.threshold_, same.image_threshold()) == (crossed.threshold_, crossed.image_threshold())
    every = len(training_images(category))
    assert crossed.heldout_image_scores_.shape[1] == every
    assert held_out.variant(students=1).heldout_image_scores_.shape[1] == -(-every // 2)


def test_variants_use_what_their_names_say(trained: Detector, held_out: HeldOut) -> None:
    image = torch.rand(1, 3, 48, 48)
    second = held_out.variant(scales=(33,), terms="both")
    normal = second.normalizations_[0]
    e, v = trained.ensembles_[1].error_and_variance(image)
    torch.testing.assert_close(second.score(image)[0], normal.score(e, v))
    weight = scale_weights(trained.ensembles_, trained.channel_weight, trained.scale_weight)[1]  # beside p = 17
    own = trained.normalizations_[1]
    assert (normal.e_mean, normal.e_std) == (own.e_mean, pytest.approx(weight * own.e_std)) and weight != 1
    e, v = e * normal.factor(e), v * normal.factor(e)
    torch.testing.assert_close(
        held_out.variant(scales=(33,), terms="e").score(image)[0], (e - normal.e_mean) / normal.e_std
    )
    torch.testing.assert_close(
        held_out.variant(scales=(33,), terms="v").score(image)[0], (v - normal.v_mean) / normal.v_std
    )
    assert normal.strength == 1.0 and held_out.variant(level=0.0).normalizations_[1].strength == 0
    one = held_out.variant(students=1, terms="both")
    assert [len(ensemble.students) for ensemble in one.ensembles_] == [1, 1]
    assert torch.equal(one.score(image), held_out.variant(students=1, terms="e").score(image))
    assert len(trained.ensembles_[0].students) == 2  # the trained one is left alone


@pytest.mark.parametrize(
    "study, rows, own",
    [
        ("scales", 3, -1),
        ("students", 2, -1),
        ("terms", 3, 1),
        ("smoothing", 5, 0),
        ("level", 3, 2),
        ("channel-weight", 4, 2),
        ("scale-weight", 3, 1),
        ("stride", 4, 0),
    ],
)
def test_studies_of_one_model(
    study: str, rows: int, own: int, category: Path, trained: Detector, setup: Setup, tmp_path: Path
) -> None:
    model = tmp_path / "model.safetensors"
    trained.save(model)
    stages: list[str] = []
    result = run_study(
        study,
        category,
        tmp_path / "out",
        Setup(model=model),
        progress=lambda stage, done, total, figures: stages.append(stage),
    )
    assert len(result) == rows
    assert not any("Students" in stage for stage in stages), "nothing is trained"
    whole = evaluate(trained, open_category(category))
    assert result[own].au_pro == pytest.approx(whole.au_pro, abs=1e-9)
    assert len({row.au_pro for row in result}) > 1
    facts = json.loads((tmp_path / "out" / f"{category.name}-{study}.json").read_text())
    assert facts["rows"][0]["name"] == result[0].name and facts["settings"]["steps"] == 4
    assert (tmp_path / "out" / f"{category.name}-{study}.md").read_text() == table(result)
    for picture in ("scores", "maps"):
        assert Image.open(tmp_path / "out" / f"{category.name}-{study}-{picture}.png").width > 100


def test_a_study_that_trains_keeps_its_detectors(category: Path, setup: Setup, tmp_path: Path) -> None:
    setup = one_scale(setup)
    first = run_study("border", category, tmp_path, setup)
    assert [row.name for row in first] == ["inside", "reflect", "zeros", "replicate"]
    assert len(list((tmp_path / "models").iterdir())) == 4
    zeros = next(f for f in (tmp_path / "models").iterdir() if "zeros" in f.name)
    assert Detector.load(zeros).ensembles_[0].students[0].padding == "zeros"
    stages: list[str] = []
    again = run_study(
        "border", category, tmp_path, setup, progress=lambda stage, done, total, figures: stages.append(stage)
    )
    assert again == first and not any("Students" in stage for stage in stages)
    other = replace(setup, settings={**setup.settings, "crop": 4})
    with pytest.raises(DataError, match=r"safetensors: was trained with other settings \(crop\); name another folder"):
        run_study("border", category, tmp_path, other)


def test_a_study_that_trains_takes_no_model(category: Path, trained: Detector, setup: Setup, tmp_path: Path) -> None:
    trained.save(tmp_path / "m.safetensors")
    for study in ("image-size", "border", "steps", "optimizer", "focus", "seed", "teacher"):
        with pytest.raises(DataError, match=f'"{study}" trains a detector for each of its rows: leave --model out'):
            run_study(study, category, tmp_path, replace(setup, model=tmp_path / "m.safetensors", photos=tmp_path))


def test_other_images_have_other_detectors(setup: Setup, tmp_path: Path) -> None:
    setup = one_scale(setup)
    for seed in (0, 1):
        shutil.rmtree(tmp_path / "sets", ignore_errors=True)
        folder = write_demo_set(tmp_path / "sets", size=48, train=3, test_good=1, test_defect=1, seed=seed)[0]
        run_study("terms", folder, tmp_path / "out", setup)
        assert len(list((tmp_path / "out" / "models").iterdir())) == seed + 1


def test_seeds_have_a_mean_and_a_spread(category: Path, setup: Setup, tmp_path: Path) -> None:
    rows = run_study("seed", category, tmp_path, one_scale(setup))
    assert [row.name for row in rows] == ["seed 0", "seed 1", "seed 2", "mean", "standard deviation"]
    values = [row.au_pro or 0.0 for row in rows]
    assert values[3] == pytest.approx(np.mean(values[:3])) and values[4] == pytest.approx(np.std(values[:3], ddof=1))
    assert values[4] > 0


def test_one_student_has_no_variance(category: Path, trained: Detector, setup: Setup, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one student alone has no variance"):
        Detector(students=1, terms="v")
    assert [change.name for change in STUDIES["terms"](Detector(students=1))] == ["e alone"]
    assert [change.name for change in STUDIES["students"](Detector(students=3, terms="v"))] == ["M = 2", "M = 3"]


def test_weights_ask_for_a_detector_that_measured_them(setup: Setup, category: Path) -> None:
    images = open_category(category).train
    plain = Detector(**{**setup.settings, "channel_weight": 0.0, "scale_weight": 0.0, "steps": 1}).fit(images)
    held_out = HeldOut(plain, ImageSource(images, plain.working_size), silent)
    assert held_out.variant().channel_weight == 0
    for weights in ({"channel_weight": 1.0}, {"scale_weight": 1.0}):
        with pytest.raises(DataError, match="does not know how well its students predict each channel"):
            held_out.variant(**weights)
    for study in ("channel-weight", "scale-weight"):  # before anything is trained
        with pytest.raises(DataError, match="does not know how well its students predict each channel"):
            STUDIES[study](plain)


def test_variants_are_smoothed_as_the_detector_is(held_out: HeldOut) -> None:
    smooth = held_out.variant(smoothing=2.0)
    again = HeldOut(smooth, held_out._source, silent)
    assert again.variant().smoothing == 2.0 and again.variant(smoothing=0.0).smoothing == 0.0
    image = torch.rand(1, 3, 48, 48)
    assert torch.equal(again.variant().score(image), smooth.score(image))


def test_the_study_of_teachers_trains_them(
    category: Path, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[PretrainSettings, str]] = []

    def pretrain(photos: Path, settings: PretrainSettings, out: Path, **_: object) -> None:
        assert photos == tmp_path / "photos"
        trained.append((settings, out.name))
        shutil.copy(teacher_file(tmp_path, settings.patch_size), out)

    monkeypatch.setattr(ablations, "pretrain", pretrain)
    write_photos(tmp_path / "photos", 3)
    own = replace(one_scale(setup), photos=tmp_path / "photos", teacher_steps=7)
    own = replace(own, settings={**own.settings, "seed": 3})
    rows = run_study("teacher", category, tmp_path / "out", own)
    assert [row.name for row in rows[:3]] == ["default", "λc = 0", "λc = 1"] and "third" not in str(rows)
    default = PretrainSettings(patch_size=17, steps=7, seed=3)
    assert trained[0][0] == default and trained[1][0] == replace(default, compactness_weight=0)
    assert len({settings for settings, _ in trained}) == len({name for _, name in trained}) == len(rows)
    used = [Path(Detector.load(f).teachers[0]).name for f in (tmp_path / "out" / "models").iterdir()]
    assert sorted(used) == sorted(name for _, name in trained)
    ablations._teacher(17, tmp_path / "out", own, {}, silent)
    assert len(trained) == len(rows)  # it is kept
    other = replace(own, settings={**own.settings, "seed": 4})
    ablations._teacher(17, tmp_path / "out", other, {}, silent)
    assert len(trained) == len(rows) + 1
    with pytest.raises(DataError, match="name a folder of photos, with --photos"):
        run_study("teacher", category, tmp_path / "out", setup)


def test_the_table_shows_what_is_undefined() -> None:
    rows = [Row("a", 0.5, None, 0.25, {"scratch": 0.125}), Row("b", None, None, None, {"scratch": None})]
    assert table(rows).splitlines()[2:] == ["| a | 0.500 | – | 0.250 | 0.125 |", "| b | – | – | – | – |"]


def test_the_command(category: Path, trained: Detector, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    trained.save(model)
    result = CliRunner().invoke(
        app, ["ablate", "terms", str(category), "--model", str(model), "--out", str(tmp_path / "o")]
    )
    assert result.exit_code == 0, result.output
    assert "e alone" in result.stdout and "v alone" in result.stdout  # not among the progress
    one = ["ablate", "terms", str(category), "--model", str(model), "--out", str(tmp_path / "o"), "--row", "E alone"]
    result = CliRunner().invoke(app, one)
    assert result.exit_code == 0 and "e alone" in result.output and "v alone" not in result.output, result.output
    result = CliRunner().invoke(app, [*one, "--row", "w"])
    assert result.exit_code == 2 and "there is no such row" in result.output, result.output
    for study, *options, why in (
        ("terms", "--model", str(model), "--seed", "1", "means nothing to a detector"),
        ("terms", "--teacher-steps", "9", "is for the study"),
        ("teacher", "--photos", str(tmp_path), "--teacher", str(model), "trains its own"),
    ):
        result = CliRunner().invoke(app, ["ablate", study, str(category), "--out", str(tmp_path / "o"), *options])
        assert result.exit_code == 2 and why in result.output, result.output
    with pytest.raises(DataError, match="no study 'noise'; choose one of scales"):
        run_study("noise", category, tmp_path, Setup(model=model))
