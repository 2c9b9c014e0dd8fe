"""`stadx plot`: curves of several detectors, and where they lie in a bootstrap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from map_sets import MAPS, MASKS, part
from PIL import Image
from typer.testing import CliRunner

from stadx.cli import app as cli
from stadx.core.errors import DataError
from stadx.data.images import write_image, write_map
from stadx.evaluation.report.curves_plot import write_curves
from stadx.metrics import evaluate_maps


def trapezoid(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def test_roc_and_precision_recall_curves_have_the_areas_of_the_metrics() -> None:
    metrics = part(0, 9).compute()
    assert trapezoid(*metrics.roc_curve()) == pytest.approx(metrics.auroc, abs=1e-12)
    recall, precision = metrics.pr_curve()
    assert float(np.sum(np.diff(recall, prepend=0) * precision)) == pytest.approx(metrics.aupr, abs=1e-12)
    assert recall[-1] == 1


def test_bands_are_quantiles_of_the_curves_of_drawn_images() -> None:
    metrics = part(0, 9).compute()
    at = np.linspace(0, 1, 11)
    bands = metrics.bands(at, replicates=20, seed=1)
    rng = np.random.default_rng(1)
    pro, roc = [], []
    while len(pro) < 20:
        which = np.repeat(np.arange(9), rng.multinomial(9, np.full(9, 1 / 9)))
        if not any(MASKS[k].any() for k in which):
            continue
        drawn = evaluate_maps([(MAPS[k], MASKS[k]) for k in which])
        curve = drawn.pro_curve()
        pro.append(np.interp(at, curve.fpr, curve.pro))
        roc.append(np.interp(at, *drawn.roc_curve()))
    for band, curves in ((bands.pro, pro), (bands.roc, roc)):
        np.testing.assert_allclose(band, np.quantile(curves, [0.025, 0.975], axis=0), atol=1e-9)
    assert (bands.pr[0] <= bands.pr[1]).all()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for i, (scores, mask) in enumerate(zip(MAPS, MASKS, strict=True)):
        kind = "cut" if mask.any() else "good"
        for name, sign in (("ours", 1), ("theirs", -1)):
            write_map(tmp_path / name / kind / f"{i}.tiff", (sign * scores).astype(np.float32))
        if mask.any():
            write_image(tmp_path / "masks" / kind / f"{i}_mask.png", mask.astype(np.uint8) * 255)
    return tmp_path


def test_the_command_draws_all_detectors(folders: Path) -> None:
    given = ["plot", *(str(folders / name) for name in ("ours", "theirs")), "--masks", str(folders / "masks")]
    out = folders / "curves.svg"
    result = CliRunner().invoke(cli.app, [*given, "--out", str(out), "--bootstrap", "10"])
    assert result.exit_code == 0, result.output
    svg = out.read_text()
    value = evaluate_maps([*zip(MAPS, MASKS, strict=True)]).auroc
    assert f"ours: AUROC {value:.3f}" in svg and "theirs: AU-PRO@0.3" in svg and "ours: AUPR" in svg
    png = folders / "one.png"
    result = CliRunner().invoke(
        cli.app, [*given, "--out", str(png), "--curves", "pro", "--names", "A,B", "--bootstrap", "0", "--limit", "0.05"]
    )
    assert result.exit_code == 0, result.output
    assert Image.open(png).size == (440, 390)
    for wrong in (("--names", "A"), ("--names", "A,A"), ("--curves", "pro,xy"), ("--bootstrap", "1")):
        result = CliRunner().invoke(cli.app, [*given, "--out", str(png), *wrong])
        assert result.exit_code == 2 and wrong[0] in result.output


def test_what_is_refused(tmp_path: Path) -> None:
    metrics = part(0, 9).compute()
    with pytest.raises(DataError, match=r"curves.pdf: is neither .png nor .svg"):
        write_curves(tmp_path / "curves.pdf", {"a": metrics})
    with pytest.raises(DataError, match="7 detectors are more than"):
        write_curves(tmp_path / "curves.png", {str(i): metrics for i in range(7)})
    with pytest.raises(DataError, match="replicates is 1"):
        metrics.bands(np.linspace(0, 1, 3), replicates=1)
