"""The paper's tables: as printed, and run anew on small data."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stadx import DataError
from stadx.baselines import METHODS
from stadx.cli import app
from stadx.data.demo import write_demo_set
from stadx.data.images import write_image
from stadx.data.labeled import read_labeled
from stadx.experiments import reproduce as module
from stadx.experiments.one_class import zoomed
from stadx.experiments.published_tables import TABLES, Cell, PublishedTable, Reproduction
from stadx.experiments.reproduce import BUDGETS, Request, reproduce
from stadx.metrics import auroc
from stadx.networks import normalize_images
from stadx.teacher import load_teachers

pytest.importorskip("sklearn")
TINY = replace(
    BUDGETS["quick"],
    detector={"steps": 2, "students": 1, "image_size": 32, "crop": 16},
    baseline={"samples": 60, "epochs": 1, "image_size": 32},
    one_class={"students": 1, "steps": 2, "batch": 4},
)


@pytest.mark.parametrize("name", TABLES)
def test_printed_tables_are_whole(name: str) -> None:
    table = PublishedTable.of(name)
    assert len(table.rows) == (15 if name in ("table1", "table3") else 10)
    for i, column in enumerate(table.columns):
        values = [row[i] for row in table.rows.values()]
        slip = any(column in note for note in table.notes)
        assert slip or np.mean(values) == pytest.approx(table.mean[i], abs=1.01e-3), column
    assert all(0 < f < 1 for row in table.rows.values() for f in row)


def test_figures_that_can_be_looked_up() -> None:
    assert PublishedTable.of("table1").figure("Screw", "CNN-Feature Dictionary") == 0.277
    assert PublishedTable.of("table3").figure("Bottle", "Multiscale") == 0.931
    assert PublishedTable.of("table6").figure("2", "1-NN") == 0.962
    assert PublishedTable.of("table7").figure("truck", "Ours (1, 0, 1)") == 0.848
    assert PublishedTable.of("table1").figure("Magnetic tile", "1-NN") is None


def test_text_of_a_table() -> None:
    table = PublishedTable.of("table3")
    measured = {"Bottle": {"p = 17": (0.85, 0.87), "p = 33": (0.9,)}, "Own set": {"p = 17": (0.5, 0.5)}}
    result = Reproduction(table, ["p = 17", "p = 33"], measured, ["Here: little."])
    text = result.markdown()
    assert "| Bottle | 0.860 ± 0.010 (0.814, +0.046) | 0.900 (0.890, +0.010) |" in text
    assert "| Own set | 0.500 ± 0.000 | – |" in text
    assert "| mean of these rows | 0.860 ± 0.010 (0.814, +0.046) | 0.900 (0.890, +0.010) |" in text
    rows = list(csv.DictReader(result.csv().splitlines()))
    assert rows[0] == {
        "row": "Bottle",
        "system": "p = 17",
        "paper": "0.8140",
        "here": "0.8600",
        "difference": "0.0460",
        "spread of seeds": "0.0200",
        "seeds": "2",
    }
    assert rows[2]["paper"] == rows[2]["difference"] == "" and rows[2]["here"] == "0.5000"
    assert "Bottle & 0.860 (0.814) & 0.900 (0.890) \\\\" in result.latex()
    assert (Cell(0.5).ours, Cell(None, (0.5,)).difference, Cell(0.25, (0.5,)).difference) == (None, None, 0.25)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.BUDGETS, "quick", TINY)


def test_receptive_fields_and_systems(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (weave, _) = write_demo_set(tmp_path / "data", size=64, train=4, test_good=1, test_defect=1)
    request = Request(tmp_path / "data", tmp_path / "out", "quick", ("Weave",), ("p = 33", "Multiscale"))
    result = reproduce("table3", request)
    assert list(result.measured) == ["Weave"] and result.columns == ["p = 33", "Multiscale"]
    assert all(0 <= f[0] <= 1 for f in result.measured["Weave"].values())
    assert len(list((tmp_path / "out" / "models").iterdir())) == 3  # each scale once, no checkpoints left
    assert "| Weave |" in (tmp_path / "out" / "table3.md").read_text()

    def stop(*args: object, **more: object) -> float:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(module, "_of_category", stop)
    assert reproduce("table3", request).measured == result.measured
    (weave / "train" / "good" / "000.png").unlink(missing_ok=True)
    write_image(weave / "train" / "good" / "more.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(DataError, match=r"table3.json: holds figures of another budget, data or version"):
        reproduce("table3", request)
    (tmp_path / "out" / "table3.json").write_text("[]")
    with pytest.raises(DataError, match=r"table3.json: is no file of figures"):
        reproduce("table3", request)


def test_baselines_of_table_1(tiny: None, tmp_path: Path) -> None:
    weave = write_demo_set(tmp_path / "data", size=64, train=3, test_good=1, test_defect=1)[0]
    arguments = ["reproduce", "table1", "--data", str(weave), "--out", str(tmp_path / "out"), "--budget", "quick"]
    chosen = ["--system", "1-NN", "--system", "VAE", "--seeds", "2"]
    result = CliRunner().invoke(app, [*arguments, *chosen])
    assert result.exit_code == 0, result.output
    assert "Weave" in result.output and "a slip, no target" in result.output
    figures = json.loads((tmp_path / "out" / "table1.json").read_text())["figures"]
    assert set(figures) == {f"Weave | {s} | seed {n}" for s in ("1-NN", "VAE") for n in (0, 1)}
    for wrong, message in ((["--system", "AnoGAN"], "no such system here"), (["--row", "Tile"], "no such row here")):
        assert message in CliRunner().invoke(app, [*arguments, *wrong]).output
    with pytest.raises(DataError, match="is no category, nor a folder of such"):
        reproduce("table1", Request(tmp_path / "out", tmp_path / "o2"))


def test_digits(tiny: None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 3)):
        for digit in range(10):
            for i in range(count):
                pixels = np.full((28, 28, 3), 25 * digit, np.uint8) + rng.integers(0, 9, (28, 28, 3), dtype=np.uint8)
                write_image(tmp_path / "data" / part / str(digit) / f"{i}.png", pixels)
    systems = ("1-NN", "ℓ2-AE", "Ours (1, 0, 1)")
    request = Request(tmp_path / "data", tmp_path / "out", "quick", ("3", "7"), systems)
    result = reproduce("table6", request)
    assert list(result.measured) == ["3", "7"] and set(result.columns) == set(systems)
    data = read_labeled(tmp_path / "data")
    teacher = load_teachers((33,), [])[0]
    train, test = (teacher(normalize_images(zoomed(part.images, 33))) for part in (data.train, data.test))
    nearest = METHODS["knn"](samples=60).fit_descriptors(train[data.train.labels == 7]).score_descriptors(test)
    want = auroc(nearest.numpy(), (data.test.labels != 7).numpy())
    assert result.measured["7"]["1-NN"][0] == pytest.approx(want, abs=0.02)
    assert "mean of these rows" in result.markdown()
    with pytest.raises(DataError, match="is not the data of Table 7: CIFAR-10"):
        reproduce("table7", request)
