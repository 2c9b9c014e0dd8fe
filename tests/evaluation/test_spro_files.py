"""AU-sPRO of maps in files, and of a detector, as MVTec LOCO AD asks for it; F1 at fixed thresholds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from brightness import Brightness
from commands import stadx as run
from data_sets import LOCO_CONFIG, draw_ad2, draw_loco
from PIL import Image

from stadx.core.errors import DataError
from stadx.data.images import read_image, write_map
from stadx.data.layouts import open_category
from stadx.evaluation.fixed_threshold import f1_at, validation_threshold
from stadx.evaluation.of_detector import evaluate
from stadx.evaluation.of_maps import evaluate_map_files
from stadx.evaluation.report.html import write_report
from stadx.evaluation.spro import evaluate_spro_files
from stadx.metrics import au_spro, auroc

KINDS = ("logical_anomalies", "structural_anomalies")


@pytest.fixture
def loco(tmp_path: Path) -> Path:
    return draw_loco(tmp_path / "box")


@pytest.fixture
def maps(loco: Path, tmp_path: Path) -> Path:
    """The brightness of each image as its map."""
    for item in open_category(loco).test:
        write_map(tmp_path / "maps" / item.path.parent.name / f"{item.path.stem}.tiff", brightness(item.path))
    return tmp_path / "maps"


def brightness(path: Path) -> Any:
    """As the detector says it, to the last bit: ties would make another curve."""
    return Brightness().score(torch.from_numpy(read_image(path)).permute(2, 0, 1)[None])[0].numpy()


def expected(loco: Path, kind: str) -> tuple[dict[float, float], float]:
    """AU-sPRO and image AUROC of the images of a type and the good ones."""
    scores, regions, saturation, labels = [], [], [], []
    for item in open_category(loco).test:
        if item.defect in ("good", kind):
            folder = sorted(item.mask.iterdir()) if item.mask is not None else []
            scores.append(brightness(item.path))
            regions.append([np.asarray(Image.open(p)) > 0 for p in folder])
            saturation.append([4, 3, 6] if folder else [])
            labels.append(bool(folder))
    return au_spro(scores, regions, saturation), auroc([s.max() for s in scores], labels)


def test_each_type_with_the_good_images_then_the_mean(loco: Path, maps: Path) -> None:
    found = evaluate_spro_files(maps, loco, loco / "defects_config.json")
    assert tuple(found.types) == KINDS and found.good_images == 2 and found.clipped == 4
    for kind in KINDS:
        areas, image_auroc = expected(loco, kind)
        assert found.types[kind].au_spro == pytest.approx(areas, abs=1e-12)
        assert found.types[kind].image_auroc == image_auroc
        assert (found.types[kind].images, found.types[kind].regions) == (2, 6)
        assert list(found.types[kind].per_defect) == [entry["defect_name"] for entry in LOCO_CONFIG]
        assert np.mean([*found.types[kind].per_defect.values()]) == pytest.approx(areas[0.05], abs=1e-12)
    assert found.mean[0.05] == pytest.approx(np.mean([t.au_spro[0.05] for t in found.types.values()]), abs=1e-14)
    assert "above their area" in found.notes[0]


def test_the_command_and_a_detector_say_the_same(loco: Path, maps: Path, tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    result = run("evaluate-maps", maps, loco / "ground_truth", "--spro", loco / "defects_config.json", "--json", file)
    assert result.exit_code == 0, result.output
    written = json.loads(file.read_text())
    assert list(written["au_spro"]) == ["0.01", "0.05", "0.1", "0.3", "1"]
    assert f"{written['au_spro']['0.05']:.3f}" in result.stdout and "logical_anomalies" in result.stdout
    evaluation = evaluate(Brightness(), open_category(loco))
    of_detector = evaluation.spro
    assert of_detector is not None
    write_report(tmp_path / "report.html", [evaluation])
    page = (tmp_path / "report.html").read_text()
    row = page[page.index("<td>AU-sPRO@0.05</td>") :].split("</tr>")[0]
    assert row.count('class="metric"') == 3 and f">{of_detector.mean[0.05]:.3f}</td>" in row
    assert evaluation.f1 is not None and f"SegF1 {evaluation.f1.seg_f1:.3f}" in page
    assert of_detector.mean[0.05] == pytest.approx(written["au_spro"]["0.05"], abs=1e-6)
    limited = run("evaluate-maps", maps, loco, "--spro", loco / "defects_config.json", "--limits", "0.05")
    assert limited.exit_code == 0 and "AU-sPRO@0.05" in limited.stdout and "@0.1" not in limited.stdout


def test_what_the_command_refuses(loco: Path, maps: Path, tmp_path: Path) -> None:
    config = loco / "defects_config.json"
    for option, value in (("--compare", None), ("--bootstrap", 10), ("--connectivity", 4), ("--regions", "r.csv")):
        result = run(*filter(None, ("evaluate-maps", maps, loco, "--spro", config, option, value)))
        assert result.exit_code == 2 and option in result.output
    with pytest.raises(DataError, match=r"logical_anomalies/000 has a file for each region: --spro measures those"):
        evaluate_map_files(maps, loco)
    small = maps / "logical_anomalies/000.tiff"
    write_map(small, np.zeros((4, 6), np.float32))
    with pytest.raises(DataError, match=r"000.png: the mask is 12x8 pixels but its image .*000.tiff is 6x4"):
        evaluate_spro_files(maps, loco, config)
    write_map(small, np.full((8, 12), np.nan, np.float32))
    with pytest.raises(DataError, match="NaN"):
        evaluate_spro_files(maps, loco, config)
    small.unlink()
    with pytest.raises(DataError, match=r"logical_anomalies/000: 1 of 4 masks have no map"):
        evaluate_spro_files(maps, loco, config)
    with pytest.raises(DataError, match="has no folders of regions"):
        evaluate_spro_files(maps, draw_ad2(tmp_path / "can") / "test_public/ground_truth/bad", config)


def test_f1_at_a_fixed_threshold(tmp_path: Path) -> None:
    category = open_category(draw_ad2(tmp_path / "can"))
    result = evaluate(Brightness(), category)
    scores, masks = [i.map for i in result.images], [i.mask for i in result.images]
    assert result.f1 is not None and result.f1_validation is not None
    validation = np.concatenate([brightness(p).ravel() for p in category.validation]).astype(np.float64)
    threshold = validation.mean() + 3 * validation.std()
    assert result.f1_validation.threshold == pytest.approx(threshold, rel=1e-6)
    assert f1_at(result.images, 0.5) is not None
    for f1, flagged in (
        (result.f1, [i.score > 0.6 for i in result.images]),
        (f1_at(result.images, 0.95), [bool((s > 0.95).any()) for s in scores]),
    ):
        assert f1 is not None
        above = np.concatenate([(s > f1.threshold).ravel() for s in scores])
        truth = np.concatenate([m.ravel() for m in masks])
        assert f1.seg_f1 == pytest.approx(2 * (above & truth).sum() / (above.sum() + truth.sum()))
        assert f1.class_f1 == pytest.approx(2 * sum(flagged[2:]) / (sum(flagged) + 2))
    assert json.loads(json.dumps(result.to_json()))["f1"]["seg_f1"] == result.f1.seg_f1
    assert "SegF1" in result.f1_sentences()[0]
    assert validation_threshold([np.full((2, 2), 1e4 + i, np.float32) for i in range(2)]) == pytest.approx(10002.0)


def test_the_limit_of_au_pro_is_the_sets_or_what_is_asked_for(tmp_path: Path) -> None:
    category = open_category(draw_ad2(tmp_path / "can"))
    own, other = evaluate(Brightness(), category), evaluate(Brightness(), category, fpr_limit=0.3)
    assert (own.fpr_limit, other.fpr_limit) == (0.05, 0.3) and own.au_pro != other.au_pro
    with pytest.raises(DataError, match="fpr_limit is 0"):
        evaluate(Brightness(), category, fpr_limit=0)
