"""What `stadx reproduce` keeps, shows and refuses; nothing is trained: figures are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import draw_mvtec
from labeled_images import write_digits
from typer.testing import CliRunner

from stadx import DataError, MissingExtraError
from stadx.cli.app import app
from stadx.data.images import write_image
from stadx.detectors.baselines import feature_dictionary, shallow
from stadx.detectors.student_teacher.detector import Detector
from stadx.experiments import environment, one_class
from stadx.experiments.reproduce import Outcome, reproduce
from stadx.experiments.request import BUDGETS, Request, pick
from stadx.experiments.tables import categories, classes, departures

pytest.importorskip("sklearn")
QUICK = BUDGETS["quick"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str, int], Any]:
    """What was measured, by row, system and seed; one that is an exception beforehand is raised."""
    done: dict[tuple[str, str, int], Any] = {}

    def measure(request: Request, place: Path, row: str, column: str, seed: int, progress: object) -> float:
        if isinstance(done.get((row, column, seed)), BaseException):
            raise done[row, column, seed]
        done[row, column, seed] = request
        return 0.5 + seed / 10

    monkeypatch.setattr(categories, "measure_category", measure)
    monkeypatch.setattr(classes, "measure_class", measure)
    return done


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("bottle", "metal_nut"):
        draw_mvtec(tmp_path / "data" / name)
    return tmp_path / "data"


def of(data: Path, tmp_path: Path, **more: Any) -> Request:
    return Request((data,), tmp_path / "out", **{"budget": QUICK, "columns": ("VAE",), **more})


def kept(tmp_path: Path, name: str = "table1") -> list[dict[str, Any]]:
    return list(json.loads((tmp_path / "out" / f"{name}.json").read_text())["figures"].values())


def text_of(outcome: Outcome, ending: str) -> str:
    (file,) = (file for file in outcome.files if file.suffix == f".{ending}")
    return file.read_text()


def test_other_settings_are_measured_again_and_the_old_kept(
    data: Path, tmp_path: Path, measured: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = of(data, tmp_path, rows=("bottle",), columns=("Ours p = 65", "VAE"))
    reproduce("table1", request)
    assert len(measured) == 2 and len(kept(tmp_path)) == 2
    (ours,) = (e for e in kept(tmp_path) if e["of"]["system"] == "Ours p = 65")
    assert ours["settings"]["steps"] == 300 and ours["settings"]["level"] == Detector().level
    assert set(ours["inputs"]) == {"Bottle", "teacher p = 65"}
    assert {"torch", "numpy", "python", "device", "instruction set", "students train in"} <= set(ours["made_with"])
    measured.clear()
    reproduce("table1", request)
    assert not measured
    monkeypatch.setattr(Detector.__init__, "__kwdefaults__", {**Detector.__init__.__kwdefaults__, "level": 0.25})
    outcome = reproduce("table1", request)
    assert list(measured) == [("Bottle", "Ours p = 65", 0)] and len(kept(tmp_path)) == 3
    assert "level 0.25" in text_of(outcome, "md") and "level 0.5" not in text_of(outcome, "md")
    measured.clear()
    budget = replace(QUICK, baselines={**QUICK.baselines, "vae": {"epochs": 3}})  # under the same name
    assert reproduce("table1", replace(request, budget=budget)).table is not None
    assert list(measured) == [("Bottle", "VAE", 0)] and len(kept(tmp_path)) == 4
    measured.clear()
    write_image(data / "bottle" / "train" / "good" / "more.png", np.zeros((8, 12, 3), np.uint8))
    reproduce("table1", replace(request, budget=budget))
    assert len(measured) == 2 and len(kept(tmp_path)) == 6


def test_the_files_hold_all_rows_and_systems_the_terminal_what_was_asked(
    data: Path, tmp_path: Path, measured: dict[Any, Any]
) -> None:
    reproduce("table1", of(data, tmp_path, rows=("metal_nut",), columns=("1-NN",), seeds=2))
    outcome = reproduce("table1", of(data / "bottle", tmp_path))
    assert outcome.table is not None and list(outcome.table.cells) == ["Bottle"]
    assert outcome.table.columns == ["VAE"]
    for ending in ("md", "csv", "tex", "html"):
        text = text_of(outcome, ending)
        assert all(part in text for part in ("Bottle", "Metal nut", "1-NN", "VAE", "Seeds: 0, 1.")), ending
    text = text_of(outcome, "md")
    assert "| Metal nut | 0.550 ± 0.071 (0.705, -0.155) | – (0.576) |" in text
    assert "Metal nut " in next(line for line in text.splitlines() if "SHA-256" in line)
    renamed = reproduce("table1", of(data / "bottle", tmp_path, budget=replace(QUICK, name="other")))
    assert "Metal nut" in text_of(renamed, "md")  # a name is no setting
    fewer = replace(QUICK, stride=8)
    assert "Metal nut" not in text_of(reproduce("table1", of(data / "bottle", tmp_path, budget=fewer)), "md")


def test_a_failure_keeps_nothing_else_from_being_done(data: Path, tmp_path: Path, measured: dict[Any, Any]) -> None:
    measured["Bottle", "1-NN", 0] = DataError("x.png: cannot be read")
    measured["Metal nut", "VAE", 0] = KeyError("of the program")
    (data / "metal_nut" / "ground_truth" / "bent" / "000_mask.png").rename(tmp_path / "mask.png")
    request = of(data, tmp_path, columns=("1-NN", "VAE"))
    outcome = reproduce("table1", request)
    assert outcome.table is not None and len(outcome.failures) == 2
    assert outcome.failures[0] == "Bottle, 1-NN, seed 0: failed: x.png: cannot be read"
    assert outcome.failures[1].startswith("Metal nut: failed: ") and "000" in outcome.failures[1]
    assert [c.text() for c in outcome.table.rows()["Bottle"]] == ["failed (0.898)", "0.500 (0.897, -0.397)"]
    assert "Bottle, 1-NN, seed 0: failed: x.png" in text_of(outcome, "md")
    (tmp_path / "mask.png").rename(data / "metal_nut" / "ground_truth" / "bent" / "000_mask.png")
    arguments = ["reproduce", "table1", "--data", str(data), "--out", str(tmp_path / "out"), "--budget", "quick"]
    result = CliRunner().invoke(app, [*arguments, "--system", "1-NN", "--system", "VAE"])
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert "Metal nut, VAE, seed 0: failed: KeyError: 'of the program' (its traceback is in" in result.stderr
    (entry,) = (e for e in kept(tmp_path) if e["of"]["row"] == "Metal nut" and "failed" in e)
    assert "raise done[row, column, seed]" in entry["traceback"]
    measured.clear()
    assert not reproduce("table1", request).failures  # what failed is tried again
    assert sorted(measured) == [("Bottle", "1-NN", 0), ("Metal nut", "VAE", 0)]
    assert not any("failed" in e for e in kept(tmp_path))


def test_a_category_without_defects_is_told_before_it_is_trained(data: Path, tmp_path: Path) -> None:
    for part in ("test", "ground_truth"):
        for file in (data / "bottle" / part / "bent").iterdir():
            file.unlink()
        (data / "bottle" / part / "bent").rmdir()
    outcome = reproduce("table1", of(data, tmp_path, rows=("bottle",)))
    assert "has no defects" in outcome.failures[0] and not (tmp_path / "out" / "models").exists()


def test_a_missing_extra_is_told_before_anything_is_run(
    data: Path, tmp_path: Path, measured: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise MissingExtraError(f"{name} is not installed")

    monkeypatch.setattr(feature_dictionary, "load_pretrained", missing)
    request = of(data, tmp_path, columns=())
    with pytest.raises(MissingExtraError, match="efficientnet-lite0 is not installed"):
        reproduce("table1", request)
    assert not measured
    reproduce("table1", replace(request, columns=("VAE", "1-NN")))
    monkeypatch.setattr(shallow, "sklearn", missing)
    assert reproduce("table1", replace(request, columns=("VAE", "1-NN"))).table  # nothing is left that needs it


def test_the_size_that_maps_are_compared_at(data: Path, tmp_path: Path, measured: dict[Any, Any]) -> None:
    request = of(data, tmp_path, rows=("bottle",), columns=("AnoGAN", "Ours p = 65"))
    assert "compared at the images' own size" in text_of(reproduce("table1", request), "md")
    measured.clear()
    outcome = reproduce("table1", replace(request, at="model"))
    assert len(measured) == 2 and all(r.compared_at == 256 for r in measured.values())
    for ending in ("md", "csv", "tex", "html"):
        assert "compared at 256 pixels a side" in text_of(outcome, ending)
    assert [e["settings"]["compared_at"] for e in kept(tmp_path)].count(256) == 2
    assert categories.picture_file(request, "Bottle", "VAE") != categories.picture_file(
        replace(request, at="model"), "Bottle", "VAE"
    )
    for item in ("figure4", "ablations", "table6"):
        with pytest.raises(DataError, match="leave --at out"):
            reproduce(item, replace(request, at="model", columns=()))


def test_figures_measured_with_different_versions_are_told_apart() -> None:
    def entry(row: str, torch: str) -> dict[str, Any]:
        return {"of": {"row": row, "system": "VAE", "seed": 0}, "made_with": {"torch": torch}, "figure": 1.0}

    assert environment.environment_lines([entry("A", "2.1")]) == ["Measured with torch 2.1."]
    lines = environment.environment_lines([entry("A", "2.1"), entry("B", "2.1"), entry("C", "2.2")])
    assert lines[1:] == ["2 of 3 with torch 2.1.", "1 of 3 with torch 2.2 (C, VAE)."]


def test_ocgan_runs_only_where_it_is_named(tmp_path: Path, measured: dict[Any, Any]) -> None:
    write_digits(tmp_path / "data", train=2, test=1)
    request = of(tmp_path / "data", tmp_path, rows=("3",), columns=())
    outcome = reproduce("table2", request)
    assert outcome.table is not None and not any(column == "OCGAN" for _, column, _ in measured)
    ocgan = outcome.table.cells["MNIST"]["OCGAN"]
    assert (ocgan.ours, ocgan.published) == (None, 0.975)
    assert any("OCGAN: the paper's figures alone" in note for note in outcome.table.notes())
    outcome = reproduce("table6", replace(request, columns=("OCGAN",)))
    assert ("3", "OCGAN", 0) in measured and outcome.table is not None
    assert "Ours (1, 0, 1)" in text_of(outcome, "md")  # measured before


def test_rows_by_any_name(data: Path, tmp_path: Path, measured: dict[Any, Any]) -> None:
    for name in ("metal_nut", "Metal nut", "METAL_NUT"):
        assert pick([name], ["Bottle", "Metal nut"], "row") == ["Metal nut"]
    assert list(reproduce("table1", of(data, tmp_path, rows=("bottle",))).table.cells) == ["Bottle"]  # type: ignore[union-attr]
    write_digits(tmp_path / "digits", train=2, test=1)
    request = of(tmp_path / "digits", tmp_path, rows=("mnist",), columns=("VAE",))
    assert reproduce("table2", request).table is not None
    assert {row for row, column, _ in measured if row.isdigit()} == set("0123456789")
    assert "here and in the paper's figures only" not in (tmp_path / "out" / "table2.md").read_text()
    for row in ("CIFAR-10", "truck"):
        with pytest.raises(DataError, match=r"there is no such row in the data given"):
            reproduce("table2", replace(request, rows=(row,)))


def test_ablations_of_too_few_steps_are_refused(data: Path, tmp_path: Path) -> None:
    arguments = ["reproduce", "ablations", "--data", str(data), "--out", str(tmp_path / "out"), "--steps", "3"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "Error: " in result.stderr and "give --steps 4 or more" in result.stderr


def test_what_departs_from_the_paper_is_read_from_the_settings() -> None:
    text = departures.of_detectors(BUDGETS["default"])
    for part in (f"steps {Detector().steps:,} (100 epochs)", "optimizer muon (adam)", "crop 64 (whole images)"):
        assert part in text
    for part in ("focus 0.8 (0)", f"level {Detector().level:g} (0)", "terms error alone (error and variance)"):
        assert part in text
    assert departures.of_detectors(BUDGETS["paper"]) == "Students as in the paper."
    assert "schedule constant, weight decay 1e-05 (the paper is silent" in departures.of_one_class(BUDGETS["paper"])
    assert f"steps {one_class.OneClassSettings().steps:,}" in departures.of_one_class(BUDGETS["default"])
    (line,) = departures.of_teachers(departures.shipped((17, 33, 65)))
    assert "distilled from EfficientNet-Lite0, λk = 1, λm = 0, λc = " in line and "ResNet-18" in line
