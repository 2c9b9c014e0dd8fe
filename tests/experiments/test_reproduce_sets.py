"""Tables on further sets: each with the metric of its authors, from drawn copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from brightness import Brightness
from data_sets import draw_ad2, draw_dagm, draw_kolektor, draw_kolektor2, draw_loco, draw_real_iad
from typer.testing import CliRunner

from stadx.cli.app import app
from stadx.core.progress import silent
from stadx.data.layouts import open_category
from stadx.evaluation.of_detector import evaluate
from stadx.experiments.reproduce import reproduce
from stadx.experiments.request import BUDGETS, Request
from stadx.experiments.result_store import ResultStore
from stadx.experiments.tables import categories

SETS: dict[str, Callable[[Path], Path]] = {
    "loco": draw_loco,
    "ad2": draw_ad2,
    "real_iad": draw_real_iad,
    "kolektor": draw_kolektor,
    "kolektor2": draw_kolektor2,
    "dagm": draw_dagm,
}


@pytest.mark.parametrize("name", SETS)
def test_a_table_has_the_metric_of_the_set(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = SETS[name](tmp_path / "part")
    monkeypatch.setattr(categories, "train_baseline", lambda *arguments: Brightness())
    request = Request((root,), tmp_path / "out", BUDGETS["quick"], columns=("1-NN",))
    outcome = reproduce("table1", request)
    assert not outcome.failures and all(file.is_file() for file in outcome.files)
    (entry,) = ResultStore(tmp_path / "out/table1.json").entries()
    own = evaluate(Brightness(), open_category(root), stride=BUDGETS["quick"].stride)
    assert own.au_pro is not None
    assert entry["figure"] == pytest.approx(own.au_pro if own.spro is None else own.spro.mean[0.05], abs=1e-6)
    page = (tmp_path / "out/table1.md").read_text()
    row = entry["of"]["row"]
    assert (f"{row}: AU-sPRO up to 0.05, the mean of logical anomalies and structural anomalies" in page) == (
        name == "loco"
    )
    assert (f"{row}: AU-PRO up to 0.05, as the set's authors" in page) == (name == "ad2")


def test_a_mean_is_of_one_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = draw_loco(tmp_path / "box"), draw_kolektor(tmp_path / "commutator"), draw_dagm(tmp_path / "weave")
    monkeypatch.setattr(categories, "train_baseline", lambda *arguments: Brightness())
    together = reproduce("table1", Request(roots, tmp_path / "out", BUDGETS["quick"], columns=("1-NN",))).table
    assert together is not None
    ours = {row: cells["1-NN"].ours for row, cells in together.cells.items()}
    (apart,) = together.apart
    counted = [figure for row, figure in ours.items() if row != apart]
    assert len(counted) == 2 and together.means()["1-NN"].ours == pytest.approx(np.mean(counted), abs=1e-9)
    assert any("Rows measured by another metric do not count." in note for note in together.notes())


def test_the_hash_of_a_category_is_of_its_regions_too(tmp_path: Path) -> None:
    root = draw_loco(tmp_path / "box")
    whole = categories.content_hash(root, silent)
    assert whole == categories.content_hash(root, silent)
    (root / "ground_truth/logical_anomalies/001/002.png").unlink()
    without = categories.content_hash(root, silent)
    config = root / "defects_config.json"
    config.write_text(config.read_text() + " ")
    assert len({whole, without, categories.content_hash(root, silent)}) == 3


def test_figures_show_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    from stadx.experiments.figures import map_figures

    monkeypatch.setattr(map_figures, "train_detector", lambda *arguments: Brightness())
    request = Request((draw_loco(tmp_path / "box"),), tmp_path / "out", BUDGETS["quick"])
    assert reproduce("figure6", request).files[0].is_file()


@pytest.mark.parametrize("name", SETS)
def test_the_command_checks_each_set(name: str, tmp_path: Path) -> None:
    root = SETS[name](tmp_path / "part")
    result = CliRunner().invoke(app, ["data", "check", str(root)])
    assert result.exit_code == 0, result.output
    assert ("10 images to train on, 2 to validate, 2 good" in result.stderr) == (name in ("loco", "ad2"))
    if name == "ad2":
        (root / "validation/good/000_regular.png").write_bytes((root / "train/good/003_regular.png").read_bytes())
        (root / "test_public/good/001_regular.png").write_bytes((root / "validation/good/001_regular.png").read_bytes())
        again = CliRunner().invoke(app, ["data", "check", str(root)])
        assert again.exit_code == 1
        assert "which is trained on: results" in again.stdout and "which is a validation image: results" in again.stdout
