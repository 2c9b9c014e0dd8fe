"""`stadx predict --cluster` on a real cluster of two nodes: the same results as one process, none lost or doubled."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import stadx
from two_nodes import killing, wait_for

from stadx.data.images import read_map

pytest.importorskip("ray", reason="needs the extra cluster (pip install 'stadx[cluster]')")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra cluster (pip install 'stadx[cluster]')")


def rows_of(out: Path | str) -> list[dict[str, Any]]:
    """All rows, sorted by URI; fails where one is doubled."""
    rows = parquet.read_table(f"{out}/scores").to_pylist()
    keys = [(row["uri"], row["page"] or 0) for row in rows]
    assert len(set(keys)) == len(keys)
    return sorted(rows, key=lambda row: (row["uri"], row["page"] or 0))


def expected(model: Path, images: Path, out: Path, *options: object) -> list[dict[str, Any]]:
    """What one process finds, in the form of the rows."""
    result = stadx("predict", model, images, "--out", out, "--no-overlay", "--no-mask", *options)
    assert result.exit_code in (0, 2), result.output
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    rows = []
    for line in lines:
        path = line.pop("path")
        line["uri"] = f"file://{path}"
        if "error" in line:
            line["error"] = line["error"].replace(path, line["uri"])
        rows.append({key: value for key, value in line.items() if key not in ("bytes", "modified_ns", "map")})
    return sorted(rows, key=lambda row: (row["uri"], row.get("page", 0)))


def without_map(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what is not there, as lines are."""
    rows = [{key: value for key, value in row.items() if value is not None and key != "map"} for row in rows]
    for row in rows:
        row["regions"] = [{k: v for k, v in region.items() if v is not None} for region in row.get("regions", [])]
        if "error" in row:
            del row["regions"]
    return rows


def parts(out: Path) -> int:
    """How many partitions are done."""
    return len(list(out.glob("scores/part-*")))


@pytest.fixture
def predict(cluster: Any, model: Path, photos: Path, tmp_path: Path) -> Any:
    def run(*options: object, images: object = photos, out: object = tmp_path / "out") -> Any:
        given = ("--cluster", cluster.address, "--partition", 4)
        return stadx("predict", model, images, "--out", out, *given, *options)

    return run


def test_the_same_as_one_process(predict: Any, model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"\x89PNG and no more")
    (photos / "ground_truth").mkdir()
    shutil.copy(photos / "image3.png", photos / "ground_truth")
    result = predict("--maps", "tiff", "--min-area", 3)
    assert result.exit_code == 2 and "1 of 31 images could not be scored" in result.output, result.output
    assert "2 machines, 2 cores" in result.output
    rows = rows_of(tmp_path / "out")
    assert without_map(rows) == expected(model, photos, tmp_path / "one", "--min-area", 3)
    assert {row["is_anomalous"] for row in rows} == {True, False, None}
    by_name = {Path(row["uri"]).name: row["map"] for row in rows}
    for name in ("image4.png", "image7.png"):
        own = read_map(tmp_path / "one" / name.replace(".png", "_map.tiff"))
        assert (read_map(tmp_path / "out" / by_name[name]) == own).all()


def test_a_name_that_is_no_unicode_is_a_row_with_an_error(predict: Any, photos: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(photos) + b"/\xe9.png"))
    shutil.copy(photos / "image3.png", odd)
    with tarfile.open(photos / "s.tar", "w") as shard:
        shard.add(photos / "image3.png", odd.name)
        shard.add(photos / "image6.png", "good.png")
    result = predict()
    assert result.exit_code == 2 and "2 of 33 images could not be scored" in result.output, result.output
    failed = {row["uri"]: row["error"] for row in rows_of(tmp_path / "out") if row["error"]}
    assert set(failed) == {f"file://{photos}/\\udce9.png", f"tar://\\udce9.png::file://{photos}/s.tar"}
    assert all("its name is no Unicode" in why for why in failed.values())
    assert "9 of 9 partitions were done by a previous run" in predict().output


def test_maps_as_zarr(predict: Any, model: Path, photos: Path, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="needs Zarr (pip install zarr)")
    result = predict("--maps", "zarr", "--partition", 8)
    assert result.exit_code == 0, result.output
    expected(model, photos, tmp_path / "one")
    rows = rows_of(tmp_path / "out")
    assert len(list((tmp_path / "out/maps").iterdir())) == 4
    for row in rows:
        group, _, name = row["map"].rpartition("/")
        scores = zarr.open_group(str(tmp_path / "out" / group), mode="r")[name][:]
        if (own := tmp_path / f"one/{name.removeprefix('map_')}_map.tiff").exists():
            assert scores.dtype == np.float32 and (scores == read_map(own)).all()


def test_a_run_goes_on_and_takes_new_images(predict: Any, photos: Path, tmp_path: Path) -> None:
    assert predict().exit_code == 0
    parts = sorted((tmp_path / "out/scores").iterdir())
    assert len(parts) == 8
    before = rows_of(tmp_path / "out")
    times = {part: part.stat().st_mtime_ns for part in parts[3:]}
    for part in parts[:3]:
        part.unlink()
    result = predict()
    assert result.exit_code == 0 and "5 of 8 partitions were done by a previous run" in result.output
    assert rows_of(tmp_path / "out") == before
    assert {part: part.stat().st_mtime_ns for part in parts[3:]} == times
    shutil.copy(photos / "image3.png", photos / "a_new_one.png")
    result = predict()
    assert "8 of 9 partitions were done" in result.output
    assert len(rows_of(tmp_path / "out")) == 31


def test_another_model_settings_or_image_is_refused(predict: Any, model: Path, photos: Path, tmp_path: Path) -> None:
    assert predict().exit_code == 0
    for options, why in [
        (("--target-fpr", 0.2), "results of other settings (pixel threshold"),
        (("--stride", 2), "results of other settings (stride 4 instead of 2"),
        (("--maps", "tiff"), "was begun with --maps none, not tiff"),
    ]:
        result = predict(*options)
        assert result.exit_code == 2 and why in result.output, result.output
    content = json.loads((tmp_path / "out/manifest.json").read_text())
    (tmp_path / "out/manifest.json").write_text(json.dumps({**content, "model": "f" * 64}))
    result = predict()
    assert "holds results of another model (SHA-256 ffffffffffff, not " in result.output
    assert predict("--overwrite").exit_code == 0
    shutil.copy(photos / "image3.png", photos / "image6.png")
    result = predict()
    assert result.exit_code == 2 and "image6.png: changed since" in result.output
    assert len(rows_of(tmp_path / "out")) == 30


def shard(file: Path, images: Path) -> Path:
    """A WebDataset shard of images and their labels."""
    with tarfile.open(file, "w") as tar:
        for path in sorted(images.rglob("*.png")):
            tar.add(path, f"{path.parent.name}/{path.name}")
            label = path.with_suffix(".cls")
            label.write_text("0")
            tar.add(label, f"{path.parent.name}/{label.name}")
            label.unlink()
    return file


def test_shards_of_webdataset(predict: Any, model: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    whole = shard(tmp_path / "shards/a-000.tar", photos)
    cut = tmp_path / "shards/b-001.tar"
    cut.write_bytes(whole.read_bytes()[:20_000])
    result = predict(images=tmp_path / "shards")
    assert result.exit_code == 2 and "1 of " in result.output, result.output
    rows = rows_of(tmp_path / "out")
    own = {row["uri"].rpartition("/")[2]: row for row in expected(model, photos, tmp_path / "one")}
    found = [row for row in without_map(rows) if row["uri"].endswith(f"::file://{whole}")]
    assert len(found) == 30
    for row in found:
        name = row["uri"].partition("::")[0].rpartition("/")[2]
        if name != "first.png":
            assert {**row, "uri": own[name]["uri"]} == own[name]
    errors = [row for row in rows if row["error"]]
    assert [row["uri"] for row in errors] == [f"file://{cut}"] and "b-001.tar" in errors[0]["error"]


def test_from_and_to_an_object_store(predict: Any, model: Path, photos: Path, s3: str | None, tmp_path: Path) -> None:
    if s3 is None:
        pytest.skip("needs s3fs and moto (pip install s3fs 'moto[server]')")
    import s3fs

    store = s3fs.S3FileSystem(skip_instance_cache=True)
    for bucket in ("photos", "found"):
        with contextlib.suppress(FileExistsError):
            store.mkdir(bucket)
    store.put(f"{photos}/", "photos/line 1/", recursive=True)
    result = predict("--maps", "tiff", images="s3://photos/line 1", out="s3://found/today")
    assert result.exit_code == 0, result.output
    store.invalidate_cache()
    store.get("found/today/", str(tmp_path / "copy"), recursive=True)
    rows = rows_of(tmp_path / "copy")
    own = expected(model, photos, tmp_path / "one")
    for row in own:
        row["uri"] = row["uri"].replace(f"file://{photos}", "s3://photos/line 1")
    assert without_map(rows) == own
    assert all((tmp_path / "copy" / row["map"]).is_file() for row in rows)
    store.rm("found/today/scores/part-000002.parquet")
    result = predict("--maps", "tiff", images="s3://photos/line 1", out="s3://found/today")
    assert "7 of 8 partitions were done" in result.output, result.output
    result = predict(images="s3://nowhere/at all", out="s3://found/today")
    assert result.exit_code == 2 and "s3://nowhere/at all: " in result.output


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_workers_lose_and_double_nothing(
    kills: int, predict: Any, cluster: Any, model: Path, photos: Path, tmp_path: Path
) -> None:
    own = expected(model, photos, tmp_path / "one")
    count = run = 0
    while count < kills:
        out = tmp_path / f"out{run}"
        with killing(cluster, seed=run, done=lambda out=out: parts(out)) as killed:
            result = predict("--partition", 1, "--maps", "tiff", out=out)
        assert result.exit_code == 0 and killed, result.output
        rows = rows_of(out)
        assert without_map(rows) == own
        assert {f"maps/{p.parent.name}/{p.name}" for p in (out / "maps").rglob("*.tiff")} == {r["map"] for r in rows}
        count, run = count + len(killed), run + 1
        shutil.rmtree(out)
    print(f"{count} kills in {run} runs of {len(own)} images: 0 lost, 0 doubled")


def test_a_killed_command_goes_on(predict: Any, cluster: Any, model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "stadx", "predict", model, photos, "--out", out, "--cluster", cluster.address]
    process = subprocess.Popen([*map(str, command), "--partition", "1"], stderr=subprocess.DEVNULL)
    wait_for(lambda: parts(out) > 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = predict("--partition", 1)
    assert result.exit_code == 0 and "of 30 partitions were done by a previous run" in result.output, result.output
    assert without_map(rows_of(out)) == expected(model, photos, tmp_path / "one")


def test_a_lost_node_loses_nothing(predict: Any, cluster: Any, model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    node = cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)

    def lose() -> None:
        wait_for(lambda: parts(out) > 2)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    result = predict("--partition", 1)
    thread.join()
    assert result.exit_code == 0, result.output
    assert without_map(rows_of(out)) == expected(model, photos, tmp_path / "one")
