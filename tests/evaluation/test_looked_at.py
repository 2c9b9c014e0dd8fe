"""A region of interest and ignored pixels in predictions and evaluations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from brightness import Brightness, Found
from numpy.typing import NDArray

from stadx.data import strips
from stadx.data.images import read_image, read_map, write_image
from stadx.data.layouts import open_category
from stadx.data.roi import Roi, nearest
from stadx.data.strips import RowReader
from stadx.evaluation.image_scores import score_files
from stadx.evaluation.of_detector import evaluate
from stadx.evaluation.of_maps import evaluate_map_files
from stadx.evaluation.prediction import predict_files
from stadx.evaluation.report.html import _typical, write_report
from stadx.evaluation.report.worst import write_worst
from stadx.metrics import au_pro, auroc, evaluate_maps

LOWEST = -1.0
HALF = np.zeros((24, 31), np.uint8)
HALF[:, :15] = 255


class Looking(Brightness):
    """Brightness where it is looked at."""

    roi_: NDArray[np.bool_] | None = None

    def score(self, images: torch.Tensor, *, stride: int = 1, roi: Any = None) -> torch.Tensor:
        roi = self.roi_ if roi is None else roi
        maps = super().score(images)
        if roi is None:
            return maps
        return maps.masked_fill(~nearest(torch.from_numpy(roi), (maps.shape[1], maps.shape[2])), LOWEST)

    def predict(self, images: torch.Tensor, *, stride: int = 1, roi: Any = None) -> Found:
        maps = self.score(images, roi=roi)
        return Found(maps, maps > self.threshold_)

    def score_bands(self, image: RowReader, *, stride: int = 1, roi: Any = None) -> Iterator[torch.Tensor]:
        yield from torch.split(self.score(image.rows(0, image.height)[None], roi=roi)[0], 100)


def draw(root: Path) -> Path:
    """Two good images, and of each kind of defect two: on the left, on the right, on both sides."""
    rng = np.random.default_rng(0)
    places = {"left": [4], "right": [22], "both": [4, 22], "good": []}
    for kind, columns in places.items():
        for index in range(2):
            image = rng.integers(0, 150, (24, 31, 3), dtype=np.uint8)
            mask = np.zeros((24, 31), np.uint8)
            for column in columns:
                mask[4:9, column : column + 5] = 255
            image[mask > 0] += 60
            write_image(root / f"test/{kind}/{index}.png", image)
            if columns:
                write_image(root / f"ground_truth/{kind}/{index}_mask.png", mask)
    return root


def test_an_evaluation_counts_the_inside_alone(tmp_path: Path) -> None:
    category = open_category(draw(tmp_path / "cup"))
    detector = Looking()
    found = evaluate(detector, category, roi=Roi(HALF))
    kept = [item for item in category.test if item.defect != "right"]
    assert [image.path for image in found.images] == [item.path for item in kept]
    crops = [read_image(item.path)[:, :15].astype(np.float32).mean(2) / 255 for item in kept]
    masks = [np.zeros((24, 15), bool) if i.mask is None else read_image(i.mask)[:, :15, 0] > 0 for i in kept]
    assert found.pixel_auroc == pytest.approx(auroc(crops, masks), abs=1e-12)
    assert found.au_pro == pytest.approx(au_pro(crops, masks), abs=1e-12)
    assert found.image_auroc == auroc([c.max() for c in crops], [bool(m.any()) for m in masks])
    for image, crop, mask in zip(found.images, crops, masks, strict=True):
        assert image.score == pytest.approx(crop.max(), abs=1e-6)
        assert image.pixel_auroc == (pytest.approx(auroc(crop, mask)) if mask.any() else None)
    assert found.notes[0].startswith("Pixels outside the region of interest (48.4 % of the image are inside) are")
    assert "whose defect is ignored or outside are left out, 2 of 6: " in found.notes[1]
    detector.roi_ = HALF > 0
    assert evaluate(detector, category).to_json() == found.to_json()
    assert evaluate(Looking(), category).au_pro != found.au_pro
    for at in ("model", 48):
        sized = Looking(48)
        sized.settings = {"image_size": 48}  # type: ignore[assignment]
        other = evaluate(sized, category, roi=Roi(HALF), at=at)  # type: ignore[arg-type]
        assert other.au_pro is not None and other.images[0].ignored is not None
        assert other.images[0].ignored.shape == (48, 48) and other.images[0].ignored.mean() == pytest.approx(
            0.5, abs=0.03
        )


def test_pixels_of_a_value_are_ignored(tmp_path: Path) -> None:
    category = open_category(draw(tmp_path / "cup"))
    item = next(item for item in category.test if item.defect == "left")
    assert item.mask is not None
    mask = read_image(item.mask)[..., 0].copy()
    mask[3:6] = 128
    write_image(item.mask, mask)
    found = evaluate(Looking(), category, ignore_value=128)
    maps = [read_image(i.path).astype(np.float32).mean(2) / 255 for i in category.test]
    masks = [np.zeros((24, 31), np.uint8) if i.mask is None else read_image(i.mask)[..., 0] for i in category.test]
    want = evaluate_maps(list(zip(maps, masks, strict=True)), ignore_value=128)
    assert found.au_pro == pytest.approx(want.au_pro(0.3), abs=1e-12)
    assert found.pixel_auroc == pytest.approx(want.auroc, abs=1e-12)
    assert found.au_pro != evaluate(Looking(), category).au_pro
    mask[mask == 255] = 128
    write_image(item.mask, mask)
    assert "are left out, 1 of 6: " in evaluate(Looking(), category, ignore_value=128).notes[-1]


def test_maps_in_files_have_ignored_pixels_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    maps = rng.random((4, 20, 30)).astype(np.float32)
    masks = (rng.random((4, 20, 30)) < 0.2).astype(np.uint8) * 255
    masks[:, :7], masks[0, 7:] = 128, 0
    want = evaluate_maps(list(zip(maps, masks, strict=True)), ignore_value=128)
    np.save(tmp_path / "maps.npy", maps)
    np.save(tmp_path / "masks.npy", masks)
    for i in range(4):
        kind = "good" if i == 0 else "hole"
        (tmp_path / "maps" / kind).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "maps" / kind / f"{i}.npy", maps[i])
        if i == 1:
            (tmp_path / "masks/hole").mkdir(parents=True)
            np.save(tmp_path / "masks/hole/1.npy", masks[i])
        elif i:
            write_image(tmp_path / f"masks/hole/{i}.png", masks[i])
    stacks = evaluate_map_files(tmp_path / "maps.npy", tmp_path / "masks.npy", ignore_value=128)
    assert stacks.counts["background pixels"] == int((masks == 0).sum()) and stacks.counts["good images"] == 1
    assert (stacks.au_pro[0.3], stacks.pixel_auroc) == (want.au_pro(0.3), want.auroc)
    folders = evaluate_map_files(tmp_path / "maps", tmp_path / "masks", ignore_value=128)
    good = int((masks[0] == 128).sum())  # whose mask is not read
    assert folders.counts["background pixels"] == stacks.counts["background pixels"] + good
    assert folders.counts["defect pixels"] == stacks.counts["defect pixels"]


def test_pixels_outside_cannot_alarm_in_what_predict_writes(tmp_path: Path) -> None:
    image = np.full((24, 31, 3), 100, np.uint8)
    image[4:6, 3:5], image[10:14, 20:26] = 200, 255
    write_image(tmp_path / "a.png", image)
    detector = Looking()
    detector.roi_ = HALF > 0
    for given in (Roi(HALF), None):  # the detector's own
        lines, failures = predict_files(detector, [tmp_path / "a.png"], tmp_path / "out", roi=given)
        assert failures == []
        assert lines[0]["image_score"] == pytest.approx(200 / 255) and lines[0]["anomalous_pixels"] == 4
        assert [region["box"] for region in lines[0]["regions"]] == [[3, 4, 2, 2]]
        scores = read_map(tmp_path / "out/a_map.tiff")
        assert (scores[:, 15:] == LOWEST).all() and (scores[:, :15] > LOWEST).all()
        assert not read_image(tmp_path / "out/a_mask.png")[:, 15:].any()
        overlay = read_image(tmp_path / "out/a_overlay.png")
        assert (overlay[0, 20:] == 40).all() and (overlay[-1, :14] != 40).any()  # dark, and no colour
        assert (overlay[11, 22] == 102).all()
        found, _ = score_files(detector, [tmp_path / "a.png"], roi=given)
        assert list(found.values()) == [lines[0]["image_score"]]


def test_an_image_without_its_mask_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", np.zeros((24, 31, 3), np.uint8))
    write_image(tmp_path / "masks/b.png", HALF)
    roi = Roi(tmp_path / "masks")
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    lines, failures = predict_files(Looking(), paths, tmp_path / "out", roi=roi)
    assert len(lines) == 1 and "a.png: has no mask in the region of interest" in failures[0].message
    scores, failures = score_files(Looking(), paths, roi=roi)
    assert list(scores) == paths[1:] and len(failures) == 1


def test_images_by_strips_take_one_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    pixels = np.random.default_rng(2).integers(0, 100, (250, 130, 3), dtype=np.uint8)
    pixels[40, 5], pixels[231:233, 77] = 255, 250
    tifffile.imwrite(tmp_path / "huge.tif", pixels, photometric="rgb", rowsperstrip=64)
    roi = Roi(np.flipud(np.eye(5)) + np.eye(5))
    whole, _ = predict_files(Looking(), [tmp_path / "huge.tif"], tmp_path / "whole", roi=roi)
    lines, failures = predict_files(Looking(None), [tmp_path / "huge.tif"], tmp_path / "strips", roi=roi)
    assert failures == [] and lines == [{**whole[0], "mask": "huge_mask.tiff"}]
    maps = [read_map(tmp_path / name / "huge_map.tiff") for name in ("whole", "strips")]
    assert np.array_equal(*maps) and (maps[0] == LOWEST).mean() == pytest.approx(16 / 25)
    scores, _ = score_files(Looking(None), [tmp_path / "huge.tif"], roi=roi)
    assert list(scores.values()) == [lines[0]["image_score"]]
    write_image(tmp_path / "masks/huge.png", np.ones((250, 130), np.uint8))
    each = Roi(tmp_path / "masks")
    for failed in (
        predict_files(Looking(None), [tmp_path / "huge.tif"], tmp_path / "out", roi=each)[1],
        score_files(Looking(None), [tmp_path / "huge.tif"], roi=each)[1],
    ):
        assert "huge.tif: is read by strips" in failed[0].message and "one mask for all" in failed[0].message


def test_detectors_that_know_no_region_are_not_told_of_one(tmp_path: Path) -> None:
    found = evaluate(Brightness(), open_category(draw(tmp_path / "cup")))
    assert json.loads(json.dumps(found.to_json()))["notes"] == []


def test_reports_tell_of_the_pixels_that_count(tmp_path: Path) -> None:
    category = open_category(draw(tmp_path / "cup"))
    found = evaluate(Looking(), category, roi=Roi(HALF))
    known = np.concatenate([image.map[:, :15].ravel() for image in found.images if image.is_good])
    assert _typical(found) == float(np.median(known)) > 0
    write_report(tmp_path / "report.html", [found], title="cup")
    assert "neither defect nor background" in (tmp_path / "report.html").read_text()
    captions = write_worst(tmp_path / "worst.png", found)
    assert len(captions) == 4 and all("25 pixels" in caption for caption in captions)
