"""Which files `predict` reads, and what it calls its outputs."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from brightness import Brightness, Found

from stadx.core.errors import DataError, OutputError
from stadx.data import strips
from stadx.data.images import read_image, read_map, write_image
from stadx.data.strips import RowReader
from stadx.detectors.prediction import Prediction
from stadx.evaluation import prediction_stages, prediction_strips
from stadx.evaluation.prediction import collect_images, output_names, predict_files
from stadx.evaluation.prediction_strips import Reduction
from stadx.metrics.image_score import image_scores


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.png", "a/y.png"], ["x", "y"]),
        (["a/x.png", "b/x.png"], ["a_x", "b_x"]),
        (["a/x.png", "a/x.jpg"], ["a_x", "a_x_2"]),
        (["a/x.png", "a/X.jpg"], ["a_x", "a_X_2"]),
        (["a/x.png", "b/x.png", "c/a_x.png"], ["a_x_2", "b_x", "a_x"]),
        (["c/a/x.png", "d/a/x.png", "e/a/x.png"], ["a_x", "a_x_2", "a_x_3"]),
    ],
)
def test_names_are_short_and_never_the_same(paths: list[str], names: list[str]) -> None:
    assert output_names([Path(path) for path in paths]) == names


def test_folders_are_listed_and_nothing_is_read_twice(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    assert collect_images([tmp_path / "b.png", tmp_path]) == [tmp_path / "b.png", tmp_path / "a.png"]
    with pytest.raises(DataError, match=r"c\.png: no such file"):
        collect_images([tmp_path, tmp_path / "c.png"])


def test_pixels_and_whole_images_have_their_own_thresholds(tmp_path: Path) -> None:
    for name, value in (("dark", 100), ("middle", 140), ("bright", 200)):
        write_image(tmp_path / f"{name}.png", np.full((4, 5, 3), value, np.uint8))
    paths = [tmp_path / f"{name}.png" for name in ("dark", "middle", "bright")]
    lines, failures = predict_files(Brightness(), paths, tmp_path / "out")
    assert failures == []
    assert [line["anomalous_pixels"] for line in lines] == [0, 20, 20]
    assert [line["is_anomalous"] for line in lines] == [False, False, True]


def test_an_image_score_that_is_told_is_not_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Telling(Brightness):
        top_share = 0.1

        def predict(self, images: torch.Tensor, *, stride: int = 1) -> Prediction:
            maps, masks = super().predict(images, stride=stride)
            return Prediction(maps, image_scores(maps, self.top_share), masks)

    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    write_image(tmp_path / "a.png", picture)
    (expected,), _ = predict_files(type("Silent", (Brightness,), {"top_share": 0.1})(), [tmp_path / "a.png"], tmp_path)
    monkeypatch.setattr(prediction_stages, "image_scores", None)
    (line,), failures = predict_files(Telling(), [tmp_path / "a.png"], tmp_path / "out")
    assert failures == [] and line["image_score"] == expected["image_score"]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (torch.tensor(0.5), r"image_scores are \[\] for one image; they must be \[1\]"),
        (torch.zeros(1, 1), r"image_scores are \[1, 1\]"),
        (torch.zeros(0), r"image_scores are \[0\]"),
        (torch.tensor([torch.nan]), "score is not a finite number"),
    ],
    ids=["0-d", "2-d", "none", "nan"],
)
def test_an_odd_image_score_that_is_told_fails_alone(tmp_path: Path, told: torch.Tensor, why: str) -> None:
    class Telling(Brightness):
        def predict(self, images: torch.Tensor, *, stride: int = 1) -> Prediction:
            maps, masks = super().predict(images, stride=stride)
            return Prediction(maps, told if images.max() > 100 else image_scores(maps), masks)

    for name, value in (("a", 200), ("b", 50)):
        write_image(tmp_path / f"{name}.png", np.full((4, 5, 3), value, np.uint8))
    lines, failures = predict_files(Telling(), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")
    assert [Path(line["path"]).name for line in lines] == ["b.png"] and len(failures) == 1
    assert re.search(rf"a\.png: the model's {why}", failures[0].message)


def test_scores_that_are_no_numbers_are_a_failure_of_that_image(tmp_path: Path) -> None:
    class Broken(Brightness):
        def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
            return super().score(images) / 0 * 0

    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    lines, failures = predict_files(Broken(), [tmp_path / "a.png"], tmp_path / "out")
    assert lines == [] and "a.png" in failures[0].message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scores.jsonl"]


def test_what_is_done_is_kept_when_the_work_is_stopped(tmp_path: Path) -> None:
    class Stopped(Brightness):
        left = 1

        def predict(self, images: torch.Tensor, *, stride: int = 1) -> Found:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().predict(images, stride=stride)

    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(KeyboardInterrupt):
        predict_files(Stopped(), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")
    lines = (tmp_path / "out/scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["map"] for line in lines] == ["a_map.tiff"]
    assert not any(path.name.startswith(".") for path in (tmp_path / "out").iterdir())


@pytest.fixture
def huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIFF that counts as huge, dark with two bright spots."""
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    pixels = np.random.default_rng(2).integers(0, 100, (250, 130, 3), dtype=np.uint8)
    pixels[40, 5], pixels[231:233, 77] = 255, 250
    tifffile.imwrite(tmp_path / "huge.tif", pixels, photometric="rgb", compression="zlib", rowsperstrip=64)
    return tmp_path / "huge.tif"


def test_huge_images_are_scored_by_strips_as_they_are_whole(huge: Path, tmp_path: Path) -> None:
    whole, failures = predict_files(Brightness(), [huge], tmp_path / "whole")
    lines, more_failures = predict_files(Brightness(None), [huge], tmp_path / "strips")
    assert failures == more_failures == []
    assert lines == [{**whole[0], "mask": "huge_mask.tiff"}]
    assert list(lines[0]) == list(whole[0])
    assert lines[0]["anomalous_pixels"] == 3 and lines[0]["is_anomalous"]
    for name in ("huge_map.tiff", "huge_overlay.png"):  # small enough for an overlay of the same size
        read = read_map if name.endswith("tiff") else read_image
        assert np.array_equal(read(tmp_path / "strips" / name), read(tmp_path / "whole" / name))
    masks = [read_image(tmp_path / name) for name in ("strips/huge_mask.tiff", "whole/huge_mask.png")]
    assert np.array_equal(*masks)
    assert sorted(path.name for path in (tmp_path / "strips").iterdir()) == sorted(
        ["huge_map.tiff", "huge_mask.tiff", "huge_overlay.png", "scores.jsonl"]
    )


def test_the_stride_is_passed_on(huge: Path, tmp_path: Path) -> None:
    for detector in (Brightness(), Brightness(None)):
        detector.stride = 4
        lines, failures = predict_files(detector, [huge], tmp_path / "out", stride=4)
        assert len(lines) == 1 and failures == []


def test_progress_in_a_huge_image(huge: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    told: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        told.append((stage, done, total))

    predict_files(Brightness(None), [huge, tmp_path / "a.png"], tmp_path / "out", progress=progress)
    rows = [("Rows", done, 250) for done in (0, 100, 200, 250)]
    assert told == [("Images", 0, 2), *rows, ("Images", 1, 2), ("Images", 2, 2)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError])
def test_a_huge_image_that_fails_leaves_no_files(huge: Path, tmp_path: Path, error: type[BaseException]) -> None:
    class Stopped(Brightness):
        def score_bands(self, image: RowReader, *, stride: int = 1) -> Iterator[torch.Tensor]:
            for band in super().score_bands(image, stride=stride):
                yield band
                raise error("stopped")

    if error is DataError:
        lines, failures = predict_files(Stopped(None), [huge], tmp_path / "out")
        assert lines == [] and failures[0].message == "stopped"
    else:
        with pytest.raises(KeyboardInterrupt):
            predict_files(Stopped(None), [huge], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"scores.jsonl"}


def test_scores_that_are_no_numbers_in_a_huge_image(huge: Path, tmp_path: Path) -> None:
    class Broken(Brightness):
        def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
            scores = super().score(images)
            return scores.where(scores < 0.9, torch.nan)

    lines, failures = predict_files(Broken(None), [huge], tmp_path / "out")
    assert lines == [] and "huge.tif: the model's score is not a finite number" in failures[0].message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scores.jsonl"]


def test_a_damaged_huge_image_does_not_stop_the_others(huge: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    huge.write_bytes(huge.read_bytes()[:-500])
    lines, failures = predict_files(Brightness(None), [huge, tmp_path / "a.png"], tmp_path / "out")
    assert [line["map"] for line in lines] == ["a_map.tiff"]
    assert "huge.tif: damaged or cut short" in failures[0].message


def test_masks_by_strips_replace_no_image_to_score(huge: Path, tmp_path: Path) -> None:
    mask = huge.rename(tmp_path / "huge_mask.tiff")
    tifffile.imwrite(huge, np.zeros((20, 20), np.uint8))
    with pytest.raises(OutputError, match=r"huge_mask\.tiff: is an image to score"):
        predict_files(Brightness(None), [huge, mask], tmp_path)


@pytest.mark.parametrize("shape", [(250, 130), (7, 300), (300, 1), (64, 64)])
@pytest.mark.parametrize("heights", [1, 13, 300])
def test_small_pictures_of_huge_images(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], heights: int) -> None:
    monkeypatch.setattr(prediction_strips, "OVERLAY_SIDE", 64)
    random = np.random.default_rng(4)
    pixels = random.integers(0, 256, (3, *shape), dtype=np.uint8)
    scores = random.normal(size=shape).astype(np.float32)
    small = Reduction(*shape)
    for start in range(0, shape[0], heights):
        small.add(pixels[:, start : start + heights], scores[start : start + heights])
    block = -(-max(shape) // 64)
    blocks = (-(-shape[0] // block), -(-shape[1] // block))
    assert small.pixels.shape == (*blocks, 3) and small.scores.shape == blocks and max(blocks) <= 64
    for row, column in np.ndindex(blocks):
        here = np.s_[..., row * block : (row + 1) * block, column * block : (column + 1) * block]
        assert small.scores[row, column] == scores[here].max()
        assert np.array_equal(small.pixels[row, column], np.rint(pixels[here].mean(axis=(1, 2))))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "tile": (256, 256)}], ids=["one strip", "tiles"])
def test_memory_for_a_huge_image_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    monkeypatch.setattr(prediction_strips, "OVERLAY_SIDE", 256)
    side = 6000
    path = tmp_path / "huge.tif"
    tiles = (np.full((256, 256), 7, np.uint8) for _ in range((-(-side // 256)) ** 2))
    tifffile.imwrite(path, tiles if options else None, shape=(side, side), dtype=np.uint8, **options)
    tracemalloc.start()
    try:
        lines, failures = predict_files(Brightness(None), [path], tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert failures == [] and lines[0]["pixels"] == side**2
    assert lines[0]["image_score"] == pytest.approx(7 / 255 if options else 0)
    assert peak < side**2 / 2  # bytes: the image as RGB has 3 per pixel, the map 4
    with tifffile.TiffFile(tmp_path / "out/huge_map.tiff") as file:
        assert file.pages.first.shape == (side, side)


def test_an_image_whose_map_no_file_can_hold_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stadx.data.strip_writer._CLASSIC_TIFF_BYTES", 1000)
    for name, side in (("a", 20), ("b", 10)):
        write_image(tmp_path / f"{name}.png", np.zeros((side, side, 3), np.uint8))
    lines, (failure,) = predict_files(Brightness(), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")
    assert [Path(line["path"]).name for line in lines] == ["b.png"]
    assert failure.path == tmp_path / "a.png" and "a_map.tiff: a map of 20 x 20 pixels is too large" in failure.message
