"""Runs that add to what previous ones wrote, and how much each image costs beside its score."""

from __future__ import annotations

import csv
import gc
import json
import os
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from brightness import Brightness

from stadx.core import growing
from stadx.core.errors import MissingExtraError, OutputError
from stadx.data import strips
from stadx.data.images import write_image
from stadx.evaluation.output_settings import OutputSettings
from stadx.evaluation.prediction import collect_images, predict_files
from stadx.evaluation.regions import RegionSettings
from stadx.evaluation.score_lines import ScoredLines


class Counting(Brightness):
    """Counts what it scores, and stops before image number `last`."""

    def __init__(self, last: int = 10**9) -> None:
        super().__init__()
        self.scored, self.last = 0, last

    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        if self.scored == self.last:
            raise KeyboardInterrupt
        self.scored += 1
        return super().score(images)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Images 0.png to 3.png, of which the last two are anomalous."""
    for number, value in enumerate((10, 90, 180, 250)):
        write_image(tmp_path / f"in/{number}.png", np.full((6, 8, 3), value, np.uint8))
    return [tmp_path / f"in/{number}.png" for number in range(4)]


def run(paths: list[Path], out: Path, detector: Brightness | None = None, **outputs: Any) -> ScoredLines:
    settings = OutputSettings(**{"model": "m", **outputs})
    return predict_files(detector or Brightness(), paths, out, outputs=settings)[0]


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def names_of(out: Path) -> list[str]:
    return [Path(line["path"]).name for line in lines_of(out)]


def test_lines_of_previous_runs_stay(photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(photos[:2], out)
    second = run(photos[2:], out)
    assert names_of(out) == ["0.png", "1.png", "2.png", "3.png"]
    assert [line["map"] for line in second] == ["2_map.tiff", "3_map.tiff"] and second[-1] == lines_of(out)[3]
    assert list(first) == lines_of(out)[:2] and second.counts.anomalous == 2 and not second.counts.has_others
    run(photos[:1], out, overwrite=True)
    assert names_of(out) == ["0.png"]


def test_what_a_crash_cut_is_dropped_and_the_rest_goes_on(photos: list[Path], tmp_path: Path) -> None:
    run(photos[:2], tmp_path)
    scores = tmp_path / "scores.jsonl"
    scores.write_bytes(scores.read_bytes()[:-20])
    run(photos[1:2], tmp_path)
    assert names_of(tmp_path) == ["0.png", "1.png"]
    scores.write_bytes(scores.read_bytes()[:-1])  # as editors leave it
    run(photos[2:3], tmp_path)
    assert names_of(tmp_path) == ["0.png", "1.png", "2.png"]
    scores.write_bytes(b"no JSON\n\n[1]\n" + scores.read_bytes())
    assert len(run(photos, tmp_path, resume=True)) == 1


def test_a_stopped_run_resumes(photos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path, Counting(last=3), resume=True)
    detector, told = Counting(), []

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        told.append((done, total))

    outputs = OutputSettings(model="m", resume=True)
    lines, failures = predict_files(detector, photos, tmp_path, outputs=outputs, progress=progress)
    assert detector.scored == 1 and lines.counts.skipped == 3 and failures == [] and told == [(3, 4), (4, 4)]
    assert names_of(tmp_path) == ["0.png", "1.png", "2.png", "3.png"]


@pytest.mark.parametrize("change", ["model", "threshold", "regions", "image", "picture", "empty picture", "failed"])
def test_what_is_not_the_same_is_scored_again(photos: list[Path], tmp_path: Path, change: str) -> None:
    out, detector, settings, regions = tmp_path / "out", Counting(), {"model": "m"}, RegionSettings()
    if change == "failed":
        content = photos[0].read_bytes()
        photos[0].write_bytes(b"")
    run(photos[:2], out)
    if change == "failed":
        photos[0].write_bytes(content)
    elif change == "model":
        settings["model"] = "other"
    elif change == "threshold":
        detector.threshold_ = 0.4
    elif change == "regions":
        regions = RegionSettings(min_area=2)
    elif change == "image":
        write_image(photos[0], np.full((6, 8, 3), 11, np.uint8))
    elif change == "picture":
        (out / "0_mask.png").unlink()
    else:
        (out / "0_mask.png").write_bytes(b"")
    outputs = OutputSettings(**settings, resume=True)
    lines, _ = predict_files(detector, photos[:2], out, regions=regions, outputs=outputs)
    everything = change in ("model", "threshold", "regions")
    assert detector.scored == (2 if everything else 1)
    assert lines.counts.has_others == everything and len({line["run"] for line in lines}) == 1
    assert len(lines_of(out)) == 2 + detector.scored


def test_results_beside_the_images_again_and_again(photos: list[Path], tmp_path: Path) -> None:
    folder = photos[0].parent
    for count in (4, 8):
        lines, failures = predict_files(Brightness(), collect_images([folder]), folder)
        assert len(lines) == 4 and failures == [] and len(lines_of(folder)) == count
    assert len(list(folder.iterdir())) == 4 * 4 + 1
    write_image(folder / "1_mask.png", np.zeros((2, 2, 3), np.uint8))  # replaced by a run
    (folder / "scores.jsonl").unlink()
    with pytest.raises(OutputError, match="is an image to score"):
        predict_files(Brightness(), collect_images([folder]), folder)


def test_a_link_in_the_folder_does_not_lead_to_an_image_that_is_replaced(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/0_mask.png").symlink_to(photos[1])
    with pytest.raises(OutputError, match="is an image to score"):
        run(photos, tmp_path / "out")


def test_an_image_of_another_folder_takes_no_name_of_a_previous_run(photos: list[Path], tmp_path: Path) -> None:
    run(photos[:1], tmp_path / "out")
    write_image(tmp_path / "other/0.png", np.full((9, 9, 3), 200, np.uint8))
    assert run([tmp_path / "other/0.png"], tmp_path / "out")[0]["map"] == "other_0_map.tiff"
    assert run(photos[:1], tmp_path / "out")[0]["map"] == "0_map.tiff"


def test_settings_that_make_no_sense() -> None:
    for wrong in ({"resume": True}, {"resume": True, "overwrite": True, "model": "m"}, {"pictures": ("heat",)}):
        with pytest.raises(ValueError, match=r"resume|pictures"):
            OutputSettings(**wrong)
    with pytest.raises(ValueError, match="choose one of"):
        OutputSettings(tables=("xml",))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [256, None], ids=["whole", "strips"])
def test_pictures_that_are_not_wanted(tmp_path: Path, size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "LARGE_IMAGE_PIXELS", 100)
    paths = [tmp_path / "good.tif", tmp_path / "bad.tif"]
    for path, value in zip(paths, (10, 250), strict=True):
        tifffile.imwrite(path, np.full((120, 30, 3), value, np.uint8), photometric="rgb")
    mask = "bad_mask.png" if size else "bad_mask.tiff"
    alarms = run(paths, tmp_path / "a", Brightness(size), only_anomalous=True)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        *("scores.jsonl", "bad_map.tiff", "bad_overlay.png", mask)
    }
    assert not {"map", "mask", "overlay"} & set(alarms[0]) and alarms[1]["mask"] == mask
    assert len(run(paths, tmp_path / "a", Brightness(size), only_anomalous=True, resume=True)) == 0
    some = run(paths, tmp_path / "b", Brightness(size), pictures=("mask",), only_anomalous=True)
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"scores.jsonl", mask}
    assert "map" not in some[1] and some[1]["anomalous_pixels"] == 3600
    run(paths, tmp_path / "c", Brightness(size), pictures=())
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["scores.jsonl"]


def test_scores_as_a_table(photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos[:1], out)
    photos[1].write_bytes(b"")
    run(photos[:3], out, tables=("csv",), resume=True)  # the table begins with what there is
    run(photos[3:], out, tables=("csv",), pictures=())
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [line["path"] for line in lines_of(out)] and len(rows) == 4
    for row, line in zip(rows, lines_of(out), strict=True):
        if "error" in line:
            assert row["error"] == line["error"] and row["image_score"] == row["regions"] == ""
        else:
            assert float(row["image_score"]) == line["image_score"] and row["regions"] == str(len(line["regions"]))
            assert row["map"] == line.get("map", "") and row["is_anomalous"] == str(line["is_anomalous"])


def test_scores_as_parquet(photos: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    odd = tmp_path / "in/latin\udce9.png"
    odd.write_bytes(photos[0].read_bytes())
    run(photos[:2], tmp_path / "out")
    run([photos[2], odd], tmp_path / "out", tables=("parquet",))
    table = parquet.read_table(tmp_path / "out/scores.parquet").to_pylist()
    lines = lines_of(tmp_path / "out")
    assert [row["image_score"] for row in table] == [line["image_score"] for line in lines] and len(table) == 4
    assert table[0]["path"] == os.fspath(photos[0]) and table[3]["path"].endswith("latin\\udce9.png")
    assert table[2]["regions"] == 1 and table[2]["is_anomalous"] is True and table[2]["error"] is None


def test_parquet_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'stadx\[parquet\]'"):
        OutputSettings(tables=("parquet",))


def test_each_image_costs_the_same_bytes_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`benchmarks/long_predict.py` does this with 100,000."""
    write_image(tmp_path / "first.png", np.zeros((4, 4, 3), np.uint8))
    paths = [tmp_path / f"{number}.png" for number in range(120)]
    for path in paths:
        path.symlink_to("first.png")
    written, write, memory = [0], os.write, {}

    def counted(handle: int, content: bytes) -> int:
        written[0] += len(content)
        return write(handle, content)

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if done in (40, 120):
            gc.collect()
            memory[done] = tracemalloc.get_traced_memory()[0]

    monkeypatch.setattr(growing.os, "write", counted)
    tracemalloc.start()
    try:
        outputs = OutputSettings(pictures=(), model="m")
        lines, _ = predict_files(Brightness(), paths, tmp_path / "out", outputs=outputs, progress=progress)
    finally:
        tracemalloc.stop()
    assert written[0] == (tmp_path / "out/scores.jsonl").stat().st_size
    assert memory[120] - memory[40] < 80 * 600  # a line that is kept takes 1,200 bytes
    assert len(lines) == len(list(lines)) == 120


def test_coco_gathers_what_all_runs_find(photos: list[Path], tmp_path: Path) -> None:
    def coco(paths: list[Path], **outputs: Any) -> list[tuple[str, list[int]]]:
        regions, settings = RegionSettings(exports=("coco",)), OutputSettings(**outputs)
        predict_files(Brightness(), paths, tmp_path / "out", regions=regions, outputs=settings)
        content = json.loads((tmp_path / "out/regions.coco.json").read_text())
        assert not any(path.name.startswith(".") for path in (tmp_path / "out").iterdir())
        numbers = [entry["id"] for entry in content["annotations"]]
        assert len(set(numbers)) == len(numbers)
        return [
            (Path(e["file_name"]).name, [a["area"] for a in content["annotations"] if a["image_id"] == e["id"]])
            for e in content["images"]
        ]

    assert coco(photos[:3]) == [("0.png", []), ("1.png", []), ("2.png", [48])]
    write_image(photos[2], np.full((3, 3, 3), 200, np.uint8))
    assert coco(photos[2:]) == [("0.png", []), ("1.png", []), ("2.png", [9]), ("3.png", [48])]
    assert coco(photos[1:2], overwrite=True) == [("1.png", [])]
    (tmp_path / "out/regions.coco.json").write_text('{"images": []}')
    with pytest.raises(OutputError, match="was not written by stadx predict"):
        coco(photos)
    assert coco(photos[3:], overwrite=True) == [("3.png", [48])]


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_runs_at_once_do_not_share_coco(photos: list[Path], tmp_path: Path, overwrite: bool) -> None:
    regions, settings = RegionSettings(exports=("csv", "coco")), OutputSettings(overwrite=overwrite)
    refused: list[str] = []

    class Meanwhile(Brightness):
        def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
            with pytest.raises(OutputError) as caught:
                predict_files(Brightness(), photos[:1], tmp_path / "out", regions=regions, outputs=settings)
            refused.append(str(caught.value))
            predict_files(Brightness(), photos[:1], tmp_path / "other", regions=regions)
            return super().score(images)

    predict_files(Meanwhile(), photos[2:], tmp_path / "out", regions=regions)
    assert len(refused) == 2 and all("regions.coco.json: another stadx predict is writing it" in e for e in refused)
    content = json.loads((tmp_path / "out/regions.coco.json").read_text())
    assert [Path(image["file_name"]).name for image in content["images"]] == ["2.png", "3.png"]
    assert len(lines_of(tmp_path / "out")) == 2
    predict_files(Brightness(), photos[:1], tmp_path / "out", regions=regions)


def test_coco_after_a_crash(photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regions, out = RegionSettings(exports=("coco",)), tmp_path / "out"
    with monkeypatch.context() as patched:  # nothing is put together, as after a kill
        patched.setattr("stadx.evaluation.coco_document._finish", lambda file, parts: None)
        predict_files(Brightness(), photos[2:3], out, regions=regions)
    with (out / ".regions.coco.json.annotations").open("a") as file:
        file.write('{"id": 2, "image_id": 2, "area": 1}\n{"id": 3, "ima')
    predict_files(Brightness(), photos[3:], out, regions=regions)
    content = json.loads((out / "regions.coco.json").read_text())
    assert [(image["id"], Path(image["file_name"]).name) for image in content["images"]] == [(1, "2.png"), (2, "3.png")]
    assert [(entry["image_id"], entry["area"]) for entry in content["annotations"]] == [(1, 48), (2, 48)]


def test_rows_of_regions_of_previous_runs_stay(photos: list[Path], tmp_path: Path) -> None:
    for path in photos[2:]:
        predict_files(Brightness(), [path], tmp_path / "out", regions=RegionSettings(exports=("csv",)))
    with (tmp_path / "out/regions.csv").open(newline="") as file:
        assert [Path(row["path"]).name for row in csv.DictReader(file)] == ["2.png", "3.png"]
