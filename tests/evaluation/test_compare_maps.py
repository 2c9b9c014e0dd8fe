"""`stadx compare-maps`: paired bootstrap of the difference, and the regions that one alone finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from stadx.cli import app as cli
from stadx.core.errors import DataError
from stadx.data.images import write_image, write_map
from stadx.evaluation.compare_maps import compare_map_files
from stadx.metrics import au_pro, evaluate_maps

Arrays = list[NDArray[Any]]
KINDS = ["good", "cut", "hole"] * 4


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A finds cuts, B finds holes; names of maps have other endings."""
    for name, maps in zip("ab", (arrays()[0], arrays()[1]), strict=True):
        for i, (scores, kind) in enumerate(zip(maps, KINDS, strict=True)):
            write_map(tmp_path / name / kind / f"{i}{'' if name == 'a' else '_map'}.tiff", scores)
    for i, (mask, kind) in enumerate(zip(arrays()[2], KINDS, strict=True)):
        if kind != "good":
            write_image(tmp_path / "masks" / kind / f"{i}_mask.png", mask.astype(np.uint8) * 255)
    return tmp_path / "a", tmp_path / "b", tmp_path / "masks"


def arrays() -> tuple[Arrays, Arrays, Arrays]:
    rng = np.random.default_rng(0)
    a, b, masks = [], [], []
    for i, kind in enumerate(KINDS):
        mask = np.zeros((20, 24), bool)
        if kind != "good":
            mask[3:9, 2 + i : 8 + i] = True
        a.append((rng.random(mask.shape) + mask * (kind == "cut")).astype(np.float32))
        b.append((rng.random(mask.shape) + mask * (kind == "hole")).astype(np.float32))
        masks.append(mask)
    return a, b, masks


def test_the_difference_and_its_interval(sets: tuple[Path, Path, Path]) -> None:
    a, b, masks = arrays()
    found = compare_map_files(*sets, replicates=200)
    assert found.overall.a == pytest.approx(au_pro(a, masks), abs=1e-12)
    assert found.overall.b == pytest.approx(au_pro(b, masks), abs=1e-12)
    assert found.overall.difference == found.overall.a - found.overall.b
    assert found.overall.low < found.overall.difference < found.overall.high
    cut, hole = found.per_defect["cut"], found.per_defect["hole"]
    assert (cut.a, hole.b) == (1.0, 1.0) and cut.low > 0 > hole.high and (cut.a_better, hole.a_better) == (1.0, 0.0)
    assert (found.both, found.neither, len(found.only_a), len(found.only_b)) == (0, 0, 4, 4)
    assert {r.defect for r in found.only_a} == {"cut"} and found.only_a[0].overlap_a == 1.0
    same = compare_map_files(sets[0], sets[0], sets[2], replicates=50)
    assert (same.overall.low, same.overall.high, same.overall.a_better) == (0, 0, 0.5)


def test_replicates_are_those_of_drawn_sets_of_images() -> None:
    """Each replicate is AU-PRO of the images drawn, as often as they were drawn."""
    a, _, masks = arrays()
    metrics = evaluate_maps([*zip(a, masks, KINDS, strict=True)])
    kinds = np.array([r.defect for r in metrics.regions()])
    every, cut = metrics.au_pro_replicates(replicates=5, seed=3, groups=[kinds != "", kinds == "cut"])
    rng = np.random.default_rng(3)
    drawn = rng.multinomial(12, np.full(12, 1 / 12), 64)
    for i in range(5):
        which = np.repeat(np.arange(12), drawn[i])
        expected = evaluate_maps([(a[k], masks[k], KINDS[k]) for k in which])
        assert every[i] == pytest.approx(expected.au_pro(), abs=1e-9)
        assert cut[i] == pytest.approx(expected.per_defect()["cut"], abs=1e-9)
    assert np.array_equal(metrics.au_pro_replicates(replicates=5, seed=3)[0], every)


def test_the_threshold_at_a_rate() -> None:
    a, _, masks = arrays()
    metrics = evaluate_maps([*zip(a, masks, strict=True)])
    background = np.concatenate([m[~k] for m, k in zip(a, masks, strict=True)])
    defects = np.concatenate([m[k] for m, k in zip(a, masks, strict=True)])
    for rate in (0.0, 0.05, 0.5, 1.0):
        t = metrics.threshold_at(rate)
        assert (background >= t).mean() <= rate
        assert all((background >= d).mean() > rate for d in defects[defects < t])
    lost = evaluate_maps([*zip([-m for m in a], masks, strict=True)])
    assert evaluate_maps([(np.array([[2.0, 1.0]]), np.array([[False, True]]))]).threshold_at(0.5) == np.inf
    assert lost.threshold_at(1.0) == -defects.max()


def test_the_command(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    given = ["compare-maps", *map(str, sets), "--replicates", "50", "--json", str(file)]
    result = CliRunner().invoke(cli.app, given)
    assert result.exit_code == 0, result.output
    written = json.loads(file.read_text())
    assert f"{written['overall']['difference']:+.4f}" in result.stdout and len(written["only_a"]) == 4
    assert "0 by both, 4 by A alone, 4 by B alone, 0 by none." in result.stderr and "A alone: " in result.stderr


def test_maps_of_other_images_are_refused(sets: tuple[Path, Path, Path]) -> None:
    a, b, masks = sets
    (b / "good/0_map.tiff").rename(b / "good/99_map.tiff")
    with pytest.raises(DataError, match=r"a/good/0.tiff: has no counterpart in .*b; give maps of the same images"):
        compare_map_files(a, b, masks)
    (b / "good/99_map.tiff").rename(b / "good/0_map.tiff")
    write_map(b / "good/99_map.tiff", np.zeros((20, 24), np.float32))
    with pytest.raises(DataError, match=r"b/good/99_map.tiff: has no counterpart in"):
        compare_map_files(a, b, masks)
