"""MVTec LOCO AD, MVTec AD 2, Real-IAD, KolektorSDD, KolektorSDD2 and DAGM 2007: what opens, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from brightness import Brightness
from data_sets import (
    LOCO_CONFIG,
    draw_ad2,
    draw_dagm,
    draw_image,
    draw_kolektor,
    draw_kolektor2,
    draw_loco,
    draw_mask,
    draw_real_iad,
    draw_spot,
)
from small import teacher_file

import stadx
from stadx import DataError
from stadx.data.checking import check_set
from stadx.data.layout_registry import layout_of
from stadx.data.layouts import categories, open_category, real_iad, training_images
from stadx.data.masks import mask_pixels
from stadx.data.region_files import Saturation, read_config, read_regions
from stadx.data.source import ImageSource
from stadx.evaluation.of_detector import evaluate

SETS: dict[str, tuple[Callable[[Path], Path], tuple[int, int, int]]] = {
    "loco": (draw_loco, (10, 2, 4)),
    "ad2": (draw_ad2, (10, 2, 2)),
    "real_iad": (draw_real_iad, (10, 2, 2)),
    "kolektor": (draw_kolektor, (10, 2, 6)),
    "kolektor2": (draw_kolektor2, (10, 2, 2)),
    "dagm": (draw_dagm, (10, 2, 2)),
}


@pytest.mark.parametrize("name", SETS)
def test_each_set_opens_is_checked_trained_on_and_evaluated(name: str, tmp_path: Path) -> None:
    draw, (train, good, defects) = SETS[name]
    root = draw(tmp_path / "part")
    category = open_category(root)
    assert (len(category.train), len(category.test)) == (train, good + defects)
    assert [t.is_good for t in category.test] == [True] * good + [False] * defects
    assert sorted(training_images(root)) == sorted(category.train) and len(ImageSource(root, 8)) == train
    (checked,) = check_set(root)
    assert (checked.train, checked.test_good, checked.test_defect, checked.count("error")) == (train, good, defects, 0)
    result = evaluate(Brightness(), category)
    assert result.au_pro is not None and result.image_auroc is not None
    assert result.fpr_limit == (0.05 if name == "ad2" else 0.3)
    assert (result.spro is not None) == (name == "loco")
    assert (result.f1_validation is not None) == (name in ("ad2", "loco"))  # which have validation images
    assert categories(root.parent) == [root] or name == "real_iad"


def test_a_detector_learns_from_such_a_set(tmp_path: Path) -> None:
    root = draw_kolektor2(tmp_path / "KolektorSDD2")
    detector = stadx.Detector(scales=(17,), students=1, steps=2, image_size=24, teachers=[teacher_file(tmp_path)])
    assert detector.fit(root).score(ImageSource(root, 24)[0][None]).shape == (1, 24, 24)


def test_loco(tmp_path: Path) -> None:
    root = draw_loco(tmp_path / "box")
    category = open_category(root)
    assert category.defects == ["logical_anomalies", "structural_anomalies"]
    assert len(category.validation) == 2 and category.defects_config == root / "defects_config.json"
    folder = category.test[2].mask
    assert folder == root / "ground_truth/logical_anomalies/000" and mask_pixels(folder).sum() == 18
    assert category.test[0].mask is None


def test_regions_and_when_they_are_found(tmp_path: Path) -> None:
    root = draw_loco(tmp_path / "box")
    config = read_config(root / "defects_config.json")
    folder = root / "ground_truth/logical_anomalies/000"
    found = read_regions(folder, (8, 12), folder, config, root / "defects_config.json")
    assert [int(m.sum()) for m in found.masks] == [6, 6, 6]
    assert (found.saturation, found.defects, found.clipped) == ([4, 3, 6], ["missing", "wrong", "large"], 1)
    assert Saturation("x", 0.7, True).area(9) == 6 and Saturation("x", 0.1, True).area(9) == 1  # whole pixels, not none


def test_what_is_wrong_in_regions(tmp_path: Path) -> None:
    root = draw_loco(tmp_path / "box")
    file = root / "defects_config.json"
    config, folder = read_config(file), root / "ground_truth/logical_anomalies/000"

    def refused(words: str) -> None:
        with pytest.raises(DataError, match=words):
            read_regions(folder, (8, 12), Path("image.png"), config, file)

    draw_spot(folder / "000.png", 7, (0, 0))
    refused(r"000/000.png: has the value 7, which no entry of .*defects_config.json has; add one")
    draw_spot(folder / "000.png", 255, (0, 0), (6, 6))
    refused(r"000/000.png: the mask is 6x6 pixels but its image image.png is 12x8; give both the same size")
    draw_mask(folder / "000.png", 0)
    refused("000/000.png: marks no pixel of image.png; mark")
    draw_image(folder / "000.png")
    refused("000/000.png: is a colour picture")
    from PIL import Image

    Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12)).save(folder / "000.png")
    refused(r"000/000.png: has the values .* split it")
    for entries, words in (
        ({}, "holds no list of defects"),
        ([{"defect_name": "x"}], "entry 0 has no pixel_value, saturation_threshold, relative_saturation"),
        ([LOCO_CONFIG[0] | {"pixel_value": 0}], "the pixel_value 0; give a whole number"),
        ([LOCO_CONFIG[1] | {"saturation_threshold": 1.5}], "1.5; give a share above 0"),
        ([LOCO_CONFIG[0] | {"saturation_threshold": 0}], "0; give pixels, above 0"),
        ([LOCO_CONFIG[0], LOCO_CONFIG[0]], "entry 1 has the pixel_value 255 of another"),
    ):
        file.write_text(json.dumps(entries))
        with pytest.raises(DataError, match=words):
            read_config(file)
    file.write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_config(file)


def test_what_is_wrong_in_loco(tmp_path: Path) -> None:
    root = draw_loco(tmp_path / "box")
    (root / "ground_truth/logical_anomalies/000").rename(root / "ground_truth/logical_anomalies/007")
    for file in (root / "ground_truth/structural_anomalies/001").iterdir():
        file.unlink()
    errors = [f.message for f in check_set(root)[0].findings if f.severity == "error"]
    assert len(errors) == 3
    assert "logical_anomalies/000.png: has no regions; expected" in errors[0] and "007: no image" in errors[1]
    assert "001: has no PNG files of regions" in errors[2]


def test_the_check_reads_every_region_and_the_config(tmp_path: Path) -> None:
    root = draw_loco(tmp_path / "box")
    draw_spot(root / "ground_truth/logical_anomalies/001/002.png", 7, (0, 0))
    errors = [f.message for f in check_set(root)[0].findings if f.severity == "error"]
    assert len(errors) == 1 and "001/002.png: has the value 7, which no entry" in errors[0]
    (root / "defects_config.json").write_text("[]")
    errors = [f.message for f in check_set(root)[0].findings if f.severity == "error"]
    assert len(errors) == 1 and "holds no list of defects" in errors[0]


def test_folders_ok_and_ng_of_other_sets_are_not_real_iad(tmp_path: Path) -> None:
    for kind in ("OK", "NG"):
        draw_image(tmp_path / "line" / kind / "0.png")
    assert layout_of(tmp_path / "line") is not real_iad.LAYOUT


def test_ad2(tmp_path: Path) -> None:
    root = draw_ad2(tmp_path / "can")
    category = open_category(root)
    assert category.defects == ["bad"] and len(category.validation) == 2
    assert category.test[2].mask == root / "test_public/ground_truth/bad/000_regular_mask.png"
    (root / "test_public/ground_truth/bad/000_regular_mask.png").unlink()
    with pytest.raises(DataError, match=r"bad/000_regular.png: has no mask; expected"):
        open_category(root)


@pytest.mark.parametrize("nested", [False, True])
def test_real_iad(nested: bool, tmp_path: Path) -> None:
    root = draw_real_iad(tmp_path / "Real-IAD", nested=nested)
    category = open_category(root)
    assert (category.name, category.defects) == ("audiojack", ["AK"])
    assert categories(tmp_path / "Real-IAD/realiad_1024") == [root]
    (split,) = (tmp_path / "Real-IAD/realiad_jsons").rglob("audiojack.json")
    known = json.loads(split.read_text())
    known["train"].append(known["test"][-1])
    known["test"][-1] = known["test"][-1] | {"mask_path": None}
    split.write_text(json.dumps(known))
    errors = [f.message for f in check_set(root)[0].findings if f.severity == "error"]
    assert len(errors) == 2 and "entry 10 of train" in errors[0] and "has no mask in entry 3 of test" in errors[1]
    with pytest.raises(DataError, match="trains on it; remove the entry"):
        training_images(root)
    split.write_text("{}")
    with pytest.raises(DataError, match="is no split file of Real-IAD"):
        open_category(root)
    split.unlink()
    with pytest.raises(DataError, match=r"realiad_jsons/audiojack.json: no such file; .*copy the folder realiad_jsons"):
        open_category(root)


def test_kolektor_tests_every_fifth_part(tmp_path: Path) -> None:
    category = open_category(draw_kolektor(tmp_path / "KolektorSDD"))
    assert [str(t.path.relative_to(category.root)) for t in category.test[:2]] == ["kos05/Part0.jpg", "kos05/Part2.jpg"]
    assert category.test[2].mask == category.root / "kos01/Part1_label.bmp"
    (category.root / "kos02/Part0_label.bmp").unlink()
    with pytest.raises(DataError, match=r"kos02/Part0.jpg: has no mask Part0_label beside it"):
        training_images(category.root)


def test_what_is_wrong_where_masks_lie_beside_images(tmp_path: Path) -> None:
    kolektor, dagm = draw_kolektor2(tmp_path / "KolektorSDD2"), draw_dagm(tmp_path / "Class1")
    (kolektor / "test/10000.png").unlink()
    with pytest.raises(DataError, match=r"test/10000_GT.png: there is no image of this name"):
        open_category(kolektor)
    (dagm / "Test/0002.PNG").unlink()
    with pytest.raises(DataError, match=r"Label/0002_label.PNG: no image in .*Test has this name"):
        open_category(dagm)
    assert layout_of(tmp_path) is None
