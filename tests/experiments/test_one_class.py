"""One class of small images told from the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import random_teacher, teacher_file
from typer.testing import CliRunner

from stadx import DataError
from stadx.cli.app import app
from stadx.data.images import write_image
from stadx.experiments import one_class
from stadx.experiments.one_class import OneClassEnsemble, OneClassResult, run_one_class, table, zoomed
from stadx.experiments.settings import OneClassSettings
from stadx.networks.patch_network import normalize_images

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]

SETTINGS = OneClassSettings(17, students=2, steps=15, batch=8, precision="float32")


def _picture(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Stripes 20 x 20, upright or lying, anywhere."""
    at = np.arange(20) + rng.integers(6)
    bars = (at % 6 < 3) * 150 + 50
    picture = np.tile(bars, (20, 1)) if kind == "upright" else np.tile(bars[:, None], (1, 20))
    noisy = picture[..., None] + rng.normal(0, 6, (20, 20, 3))
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("set"), np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 12)):
        for kind in ("lying", "upright"):
            for i in range(count):
                write_image(folder / part / kind / f"{i}.png", _picture(kind, rng))
    return folder


def test_the_other_class_is_found_and_a_run_resumes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    out, teacher = tmp_path / "r.json", teacher_file(tmp_path)
    first = run_one_class(data, out, SETTINGS, normal=["upright"], teacher=teacher, device=device)
    assert [r.normal for r in first] == ["upright"] and first[0].e > 0.9 and first[0].both > 0.9
    results = run_one_class(data, out, SETTINGS, teacher=teacher, device=device)
    assert [r.normal for r in results] == ["lying", "upright"] and results[1] == first[0]
    assert results[0].e > 0.9
    assert len(json.loads(out.read_text())["results"]) == 2
    assert f"| mean | {(results[0].e + results[1].e) / 2:.4f} |" in table(results)

    def stop(*args: object) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(one_class, "OneClassEnsemble", stop)
    assert run_one_class(data, out, SETTINGS, teacher=teacher) == results
    with pytest.raises(DataError, match=r"r.json: holds results of other settings \(steps\)"):
        run_one_class(data, out, replace(SETTINGS, steps=16), teacher=teacher)
    out.write_text("[]")
    with pytest.raises(DataError, match=r"r.json: is no file of results"):
        run_one_class(data, out, SETTINGS, teacher=teacher)
    with pytest.raises(DataError, match=r"has no class 'round'; it has lying, upright"):
        run_one_class(data, tmp_path / "s.json", SETTINGS, normal=["round"], teacher=teacher)


def test_scores_are_equations_9_and_10() -> None:
    generator = torch.Generator().manual_seed(0)
    patches = torch.randint(0, 256, (20, 3, 17, 17), generator=generator, dtype=torch.uint8)
    settings = OneClassSettings(17, students=3, steps=2, batch=4, precision="float32")
    ensemble = OneClassEnsemble(random_teacher(17), settings, torch.device("cpu")).fit(patches)
    e, v = ensemble.error_and_variance(patches[:5])
    x = normalize_images(patches[:5])
    truth = (ensemble.teacher(x) - ensemble.mean) / ensemble.std
    students = torch.stack([student(x) for student in ensemble.students])
    torch.testing.assert_close(e, (students.mean(0) - truth).square().sum(1), rtol=1e-3, atol=1e-3)
    want = students.square().sum(2).mean(0) - students.mean(0).square().sum(1)
    torch.testing.assert_close(v, want, rtol=1e-3, atol=1e-3)
    described, predicted = ensemble.descriptors(patches[:5])
    torch.testing.assert_close(described, truth, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(predicted, students, rtol=1e-3, atol=1e-3)


def test_a_dead_channel_does_no_harm() -> None:
    teacher = random_teacher()
    weight, bias = teacher.layers[-1].parameters()
    weight[0] *= 1e-5
    bias[0] = 5.0
    patches = zoomed(
        torch.randint(0, 256, (40, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)), 17
    )
    std = OneClassEnsemble(teacher, replace(SETTINGS, steps=1), torch.device("cpu")).fit(patches).std
    assert 5e-3 * std[1:].median() < std[0] < 2e-2 * std[1:].median()


def test_schedule_and_weight_decay_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    rates, decays = list[float](), list[float]()
    set_rate, make = one_class.set_learning_rate, one_class.make_optimizer
    monkeypatch.setattr(one_class, "set_learning_rate", lambda o, rate: (rates.append(rate), set_rate(o, rate)))
    monkeypatch.setattr(
        one_class,
        "make_optimizer",
        lambda name, weights, rate, decay, precision: (
            decays.append(decay),
            make(name, weights, rate, decay, precision),
        )[1],
    )
    patches = torch.randint(0, 256, (20, 3, 17, 17), dtype=torch.uint8)
    settings = OneClassSettings(17, 1, 4, 4, optimizer="adam", learning_rate=1e-3, weight_decay=0.5)
    for schedule in ("constant", "cosine"):
        changed = replace(settings, schedule=schedule)
        OneClassEnsemble(random_teacher(17), changed, torch.device("cpu")).fit(patches)
    assert rates[:4] == [1e-3] * 4 and len(set(rates[4:])) > 1
    assert decays == [0.5, 0.5]


def test_every_long_part_tells_how_far_it_is(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_class, "_AT_ONCE", 10)
    seen: dict[str, list[tuple[int, int]]] = {}
    run_one_class(
        data,
        tmp_path / "r.json",
        replace(SETTINGS, steps=2),
        normal=["upright"],
        teacher=teacher_file(tmp_path),
        progress=lambda stage, done, total, figures: seen.setdefault(stage, []).append((done, total)),
    )
    name = "Class upright"
    assert seen[f"{name}, teacher's descriptors"] == [(1, 3), (2, 3), (3, 3)]  # 22 training images
    assert seen[name] == [(1, 2), (2, 2)]
    assert seen[f"{name}, held-out images"] == [(1, 1)]
    assert seen[f"{name}, test images"] == [(1, 3), (2, 3), (3, 3)]


def test_jpeg_is_told_beside_the_figures() -> None:
    results = [OneClassResult(name, 0.8, 0.7, 0.9, "The images were stored as JPEG.") for name in ("cat", "dog")]
    assert table(results).endswith("| mean | 0.8000 | 0.7000 | 0.9000 |\n\nThe images were stored as JPEG.\n")
    assert table([OneClassResult("cat", 0.8, 0.7, 0.9)]).endswith("| 0.9000 |\n")


def test_zoom() -> None:
    images = torch.randint(0, 256, (3, 3, 28, 28), dtype=torch.uint8)
    assert zoomed(images, 33).shape == (3, 3, 33, 33) and zoomed(images, 33).dtype == torch.uint8
    assert torch.equal(zoomed(images, 28), images)


def test_command_line(data: Path, tmp_path: Path) -> None:
    arguments = ["one-class", str(data), "--out", str(tmp_path / "r.json"), "--normal", "lying", "--scale", "17"]
    more = ["--teacher", str(teacher_file(tmp_path)), "--students", "1", "--steps", "2", "--batch", "4"]
    result = CliRunner().invoke(app, [*arguments, *more])
    assert result.exit_code == 0, result.output
    assert "| lying |" in result.stdout and "| mean |" in result.stdout
    result = CliRunner().invoke(app, [*arguments, "--device", "toaster"])
    assert result.exit_code == 2 and "'toaster' is unknown" in " ".join(result.output.replace("│", " ").split())
