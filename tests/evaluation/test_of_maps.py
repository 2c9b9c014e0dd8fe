"""`stadx evaluate-maps`: exact metrics of maps in files, and what shortcuts make of the same maps."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, ndimage
from typer.testing import CliRunner

from stadx.cli import app as cli
from stadx.core.errors import DataError
from stadx.data.images import write_image, write_map
from stadx.evaluation.of_maps import evaluate_map_files, read_limits
from stadx.metrics import au_pro, aupimo, aupr, auroc, evaluate_maps, f1_max

Set = tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]], list[str]]


@pytest.fixture(scope="module")
def maps_and_masks() -> Set:
    """Nine images of two sizes: three good, three scratched, three stained; squared scores, as stadx's are."""
    rng = np.random.default_rng(0)
    maps, masks, kinds = [], [], []
    for kind, shape in zip(["good", "scratch", "stain"] * 3, [(40, 50), (33, 61), (40, 50)] * 3, strict=True):
        smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
        masks.append(smooth > np.quantile(smooth, 0.95) if kind != "good" else np.zeros(shape, bool))
        maps.append(np.square(rng.standard_normal(shape) + 2 * masks[-1]).astype(np.float32))
        kinds.append(kind)
    return maps, masks, kinds


@pytest.fixture(scope="module")
def folders(maps_and_masks: Set, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("set")
    for i, (scores, mask, kind) in enumerate(zip(*maps_and_masks, strict=True)):
        write_map(root / "maps" / kind / f"{i}.tiff", scores)
        if kind != "good":
            write_image(root / "masks" / kind / f"{i}_mask.png", mask.astype(np.uint8) * 255)
    return root / "maps", root / "masks"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["evaluate-maps", *map(str, arguments)])


def test_metrics_are_those_of_the_functions(maps_and_masks: Set, folders: tuple[Path, Path]) -> None:
    maps, masks, _ = maps_and_masks
    found = evaluate_map_files(*folders, limits=(0.3, 0.05, 1.0), replicates=50, compare=True)
    for limit, value in found.au_pro.items():
        assert value == pytest.approx(au_pro(maps, masks, fpr_limit=limit), abs=1e-12)
    assert found.pixel_auroc == auroc(maps, masks)
    assert found.pixel_aupr == pytest.approx(aupr(maps, masks), abs=1e-12)
    assert (found.f1_max, found.best_threshold) == f1_max(maps, masks)
    assert found.image_auroc == auroc([m.max() for m in maps], [bool(m.any()) for m in masks])
    assert found.aupimo == pytest.approx(np.nanmean(aupimo(maps, masks)), abs=1e-12)
    assert found.counts["images"] == 9 and found.counts["good images"] == 3
    assert found.interval is not None and found.interval.low < found.au_pro[0.3] < found.interval.high
    assert set(found.per_defect) == {"scratch", "stain"}
    assert np.mean([r.au_pro for r in found.regions]) == pytest.approx(found.au_pro[0.3], abs=1e-12)


def test_the_command_prints_and_writes_them(folders: tuple[Path, Path], tmp_path: Path) -> None:
    report, table = tmp_path / "m.json", tmp_path / "r.csv"
    result = run(*folders, "--compare", "--bootstrap", 20, "--json", report, "--regions", table)
    assert result.exit_code == 0, result.output
    written = json.loads(report.read_text())
    assert f"{written['au_pro']['0.3']:.4f}" in result.stdout and "200 uniform thresholds" in result.stdout
    assert written["interval"]["low"] <= written["interval"]["high"]
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == written["counts"]["regions"]
    assert {row["defect"] for row in rows} == {"scratch", "stain"} and rows[0]["map"].endswith(".tiff")
    assert sum(int(row["area"]) for row in rows) == written["counts"]["defect pixels"]


def test_stacks_are_read_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    masks = np.zeros((4, 20, 30), np.uint8)
    masks[1, 3:8, 4:9] = 255
    maps = rng.random(masks.shape) + masks / 255
    np.save(tmp_path / "maps.npy", maps)
    np.save(tmp_path / "masks.npy", masks)
    found = evaluate_map_files(tmp_path / "maps.npy", tmp_path / "masks.npy")
    assert found.au_pro[0.3] == au_pro(maps, masks)


def uniform_au_pro(set_: Set, count: int, limit: float, *, stop_below: bool) -> float:
    """AU-PRO at uniform thresholds, every region and threshold looked at."""
    maps, masks, _ = set_
    flat = np.concatenate([m.ravel() for m in maps])
    labels = [ndimage.label(m, np.ones((3, 3)))[0] for m in masks]
    regions = [s[lab == k] for s, lab in zip(maps, labels, strict=True) for k in range(1, lab.max() + 1)]
    background = np.concatenate([s[lab == 0] for s, lab in zip(maps, labels, strict=True)])
    points = [(0.0, 0.0)]
    for t in np.linspace(flat.min(), flat.max(), count).astype(np.float32)[::-1]:
        points.append((np.mean(background >= t), np.mean([np.mean(r >= t) for r in regions])))
    x, y = np.array([*points, (1.0, 1.0)]).T
    if stop_below:
        x, y = x[x < limit], y[x < limit]
        return float(integrate.trapezoid(y, x) / x[-1])
    fine = np.append(x[x <= limit], limit)
    return float(integrate.trapezoid(np.append(y[x <= limit], np.interp(limit, x, y)), fine) / limit)


@pytest.mark.parametrize("limit", [0.1, 0.3])
def test_shortcuts_are_what_they_say(maps_and_masks: Set, limit: float) -> None:
    maps, masks, _ = maps_and_masks
    metrics = evaluate_maps(list(zip(maps, masks, strict=True)))
    found = metrics.shortcuts(limit)
    assert found["200 uniform thresholds"] == pytest.approx(
        uniform_au_pro(maps_and_masks, 200, limit, stop_below=False), abs=1e-9
    )
    assert found["200 thresholds, to the last below the limit"] == pytest.approx(
        uniform_au_pro(maps_and_masks, 200, limit, stop_below=True), abs=1e-9
    )
    assert found["1,000 uniform bins"] == pytest.approx(
        uniform_au_pro(maps_and_masks, 1000, limit, stop_below=False), abs=1e-9
    )
    areas = metrics.regions(fpr_limit=limit)
    per_image = [np.mean([r.au_pro for r in areas if r.image == i]) for i in sorted({r.image for r in areas})]
    assert found["regions averaged per image"] == pytest.approx(np.mean(per_image), abs=1e-12)


def test_shortcuts_of_constant_and_infinite_scores() -> None:
    mask = np.eye(6, dtype=bool)
    constant = evaluate_maps([(np.ones((6, 6), np.float32), mask)]).shortcuts()
    assert constant["200 uniform thresholds"] == pytest.approx(0.15)
    scores = np.where(mask, np.float32(np.inf), np.float32(-np.inf))
    assert all(np.isfinite(list(evaluate_maps([(scores, mask)]).shortcuts().values())))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--limits", "0.3,2"), "(0, 1]"),
        (("--limits", "much"), "limits are 'much'"),
        (("--json", "/"), "is a folder"),
    ],
)
def test_bad_options_are_refused(folders: tuple[Path, Path], arguments: tuple[str, ...], message: str) -> None:
    result = run(*folders, *arguments)
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.output


def test_nan_names_the_file(maps_and_masks: Set, folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores = maps_and_masks[0][1].copy()
    scores[0, 0] = np.nan
    write_map(tmp_path / "maps" / "scratch" / "1.tiff", scores)
    write_image(tmp_path / "masks" / "scratch" / "1_mask.png", maps_and_masks[1][1].astype(np.uint8) * 255)
    result = run(tmp_path / "maps", tmp_path / "masks")
    assert result.exit_code == 2 and "1.tiff: maps contain NaN" in result.stderr


def test_limits_are_read() -> None:
    assert read_limits("0.3, 0.05") == (0.3, 0.05)
    with pytest.raises(DataError, match=r"\(0, 1\]"):
        read_limits("")
