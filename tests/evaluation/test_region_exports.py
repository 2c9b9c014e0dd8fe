"""Regions in scores.jsonl, mask and overlay, and in the files for other programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from brightness import Brightness
from numpy.typing import NDArray
from region_masks import decoded, filled

from stadx.core.errors import OutputError
from stadx.data import strips
from stadx.data.images import read_image, write_image
from stadx.evaluation import prediction_strips
from stadx.evaluation.output_settings import OutputSettings
from stadx.evaluation.prediction import predict_files
from stadx.evaluation.regions import ExportName, RegionSettings
from stadx.evaluation.report.overlay import BOX, PREDICTED

ALL: tuple[ExportName, ...] = ("csv", "coco", "labelme")


def picture() -> NDArray[np.uint8]:
    """Dark, with spots of 1, 6 and 12 pixels, of which the smallest is the brightest."""
    pixels = np.full((250, 130, 3), 40, np.uint8)
    pixels[10, 20], pixels[98:101, 50:52], pixels[230:233, 90:94] = 240, 180, 200
    return pixels


@pytest.fixture
def huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The picture, which counts as huge and is scored by bands of 100 rows."""
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/part.tif", picture(), photometric="rgb")
    return tmp_path / "in/part.tif"


def predict(path: Path, out: Path, size: int | None = 256, **regions: Any) -> dict[str, Any]:
    lines, failures = predict_files(Brightness(size), [path], out, regions=RegionSettings(**regions))
    assert failures == [] and len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("size", [256, None], ids=["whole", "strips"])
def test_regions_are_listed_and_small_ones_dropped(huge: Path, tmp_path: Path, size: int | None) -> None:
    line = predict(huge, tmp_path / "all", size)
    assert [(region["box"], region["area"]) for region in line["regions"]] == [
        ([20, 10, 1, 1], 1),
        ([90, 230, 4, 3], 12),
        ([50, 98, 2, 3], 6),
    ]
    assert line["regions"][0]["peak"] == line["image_score"] and line["anomalous_pixels"] == 19
    assert line["regions"][1]["mean"] == pytest.approx(200 / 255)
    assert json.loads((tmp_path / "all/scores.jsonl").read_text()) == line
    fewer = predict(huge, tmp_path / "fewer", size, min_area=7)
    assert fewer["regions"] == line["regions"][1:2] and fewer["anomalous_pixels"] == 12
    assert fewer["image_score"] == line["image_score"] and fewer["is_anomalous"]  # of the map, which stays
    maps = [(tmp_path / name / line["map"]).read_bytes() for name in ("all", "fewer")]
    assert maps[0] == maps[1]
    mask = read_image(tmp_path / "fewer" / line["mask"])[..., 0] > 0
    assert mask.sum() == 12 and mask[230:233, 90:94].all()


@pytest.mark.parametrize("size", [256, None], ids=["whole", "strips"])
def test_the_overlay_shows_what_is_kept_in_boxes(huge: Path, tmp_path: Path, size: int | None) -> None:
    line = predict(huge, tmp_path, size, min_area=7)
    drawn = read_image(tmp_path / line["overlay"])
    framed = np.argwhere((drawn == BOX).all(axis=2))
    assert framed.min(axis=0).tolist() == [227, 87] and framed.max(axis=0).tolist() == [235, 96]
    outlined = np.argwhere((drawn == PREDICTED).all(axis=2))
    assert outlined.min(axis=0).tolist() == [229, 89] and outlined.max(axis=0).tolist() == [233, 94]


def test_the_small_overlay_of_a_huge_image(huge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_strips, "OVERLAY_SIDE", 125)
    drawn = read_image(tmp_path / "out" / predict(huge, tmp_path / "out", None, min_area=7)["overlay"])
    assert drawn.shape == (125, 65, 3)
    outlined = np.argwhere((drawn == PREDICTED).all(axis=2))
    assert outlined.min(axis=0).tolist() == [114, 44] and outlined.max(axis=0).tolist() == [117, 47]
    framed = np.argwhere((drawn == BOX).all(axis=2))
    assert framed.min(axis=0).tolist() == [112, 42] and framed.max(axis=0).tolist() == [119, 49]


@pytest.mark.parametrize("size", [256, None], ids=["whole", "strips"])
def test_coco(huge: Path, tmp_path: Path, size: int | None) -> None:
    line = predict(huge, tmp_path / "out", size, exports=ALL, pixel_size=0.5, min_area=1)  # 4 pixels
    content = json.loads((tmp_path / "out/regions.coco.json").read_text())
    assert set(content) == {"info", "licenses", "images", "annotations", "categories"}
    assert content["images"] == [{"id": 1, "file_name": str(huge), "width": 130, "height": 250}]
    assert content["categories"] == [{"id": 1, "name": "anomaly", "supercategory": "anomaly"}]
    assert [a["id"] for a in content["annotations"]] == [1, 2]
    union = np.zeros((250, 130), bool)
    for annotation, region in zip(content["annotations"], line["regions"], strict=True):
        mask = decoded(annotation["segmentation"]["counts"], (250, 130))
        union |= mask
        assert annotation["segmentation"]["size"] == [250, 130] and mask.sum() == annotation["area"] == region["area"]
        assert annotation["bbox"] == region["box"] and annotation["score"] == region["peak"]
        assert (annotation["image_id"], annotation["category_id"], annotation["iscrowd"]) == (1, 1, 0)
    assert np.array_equal(union, read_image(tmp_path / "out" / line["mask"])[..., 0] > 0)


@pytest.mark.parametrize("size", [256, None], ids=["whole", "strips"])
def test_labelme(huge: Path, tmp_path: Path, size: int | None) -> None:
    line = predict(huge, tmp_path / "out", size, exports=("labelme",))
    content = json.loads((tmp_path / "out/part.json").read_text())
    assert {key: content[key] for key in content if key not in ("shapes", "version")} == {
        "flags": {},
        "imagePath": "../in/part.tif",
        "imageData": None,
        "imageHeight": 250,
        "imageWidth": 130,
    }
    union = np.zeros((250, 130), bool)
    for shape in content["shapes"]:
        assert shape["label"] == "anomaly" and shape["shape_type"] == "polygon" and shape["flags"] == {}
        assert shape["group_id"] is None and len(shape["points"]) >= 4
        union |= filled(shape["points"], (250, 130))
    assert content["shapes"][1]["description"] == f"area 12, peak {200 / 255:.6g}, mean {200 / 255:.6g}"
    assert np.array_equal(union, read_image(tmp_path / "out" / line["mask"])[..., 0] > 0)


def test_a_table_of_all_images(huge: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a, "b".png'
    write_image(odd, picture())
    regions = RegionSettings(min_area=1.5, pixel_size=0.5, exports=("csv",))  # 6 pixels
    lines, _ = predict_files(Brightness(), [huge, odd], tmp_path / "out", regions=regions)
    with (tmp_path / "out/regions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["region"]) for row in rows] == [(str(p), n) for p in (huge, odd) for n in "12"]
    for row, region in zip(rows, [region for line in lines for region in line["regions"]], strict=True):
        assert [int(row[key]) for key in ("x", "y", "width", "height")] == region["box"]
        assert all(float(row[key]) == region[key] for key in ("area", "area_mm2", "peak", "mean"))
    assert [row["area_mm2"] for row in rows[:2]] == ["3.0", "1.5"]
    with pytest.raises(OutputError, match=r"regions\.csv: has other columns than this run writes"):
        predict(odd, tmp_path / "out", exports=("csv",))
    predict(odd, tmp_path / "pixels", exports=("csv",))
    header = (tmp_path / "pixels/regions.csv").read_text().splitlines()[0]
    assert header == "path,page,region,x,y,width,height,area,peak,mean"


def test_images_without_regions_and_broken_ones(tmp_path: Path) -> None:
    write_image(tmp_path / "good.png", np.full((4, 5, 3), 40, np.uint8))
    (tmp_path / "bad.png").write_bytes(b"")
    paths, regions = [tmp_path / "bad.png", tmp_path / "good.png"], RegionSettings(exports=(*ALL, "csv"))
    lines, failures = predict_files(Brightness(), paths, tmp_path / "out", regions=regions)
    assert lines[0]["regions"] == [] and len(failures) == 1
    content = json.loads((tmp_path / "out/regions.coco.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [str(paths[1])] and content["annotations"] == []
    assert json.loads((tmp_path / "out/good.json").read_text())["shapes"] == []
    assert len((tmp_path / "out/regions.csv").read_text().splitlines()) == 1
    assert not (tmp_path / "out/bad.json").exists()


@pytest.mark.parametrize("size", [256, None], ids=["whole", "strips"])
def test_of_good_images_no_file_is_written_where_only_anomalous_ones_have_some(
    huge: Path, tmp_path: Path, size: int | None
) -> None:
    """What lists images lists all of them."""
    tifffile.imwrite(tmp_path / "in/good.tif", np.full((250, 130, 3), 40, np.uint8), photometric="rgb")
    paths = [huge, tmp_path / "in/good.tif"]
    given: dict[str, Any] = {"regions": RegionSettings(exports=ALL), "outputs": OutputSettings(only_anomalous=True)}
    lines, _ = predict_files(Brightness(size), paths, tmp_path / "out", **given)
    assert [line["is_anomalous"] for line in lines] == [True, False]
    assert {path.name for path in (tmp_path / "out").glob("*.json")} == {"part.json", "regions.coco.json"}
    content = json.loads((tmp_path / "out/regions.coco.json").read_text())
    assert [image["file_name"] for image in content["images"]] == list(map(str, paths))


def test_what_is_exported_is_kept_when_the_work_is_stopped(tmp_path: Path) -> None:
    class Stopped(Brightness):
        left = 1

        def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().score(images, stride=stride)

    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, picture())
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(KeyboardInterrupt):
        predict_files(Stopped(), paths, tmp_path / "out", regions=RegionSettings(exports=ALL))
    assert len((tmp_path / "out/regions.csv").read_text().splitlines()) == 4
    assert len(json.loads((tmp_path / "out/regions.coco.json").read_text())["annotations"]) == 3
    assert (tmp_path / "out/a.json").exists() and not (tmp_path / "out/b.json").exists()


def test_labels_of_ones_own_are_not_replaced(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture())
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(OutputError, match="beside them would be replaced; choose another folder"):
        predict(tmp_path / "a.png", tmp_path, exports=("labelme",))
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.json"}
