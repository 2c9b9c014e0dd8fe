"""Which images URIs name, and how results are stored: what needs no cluster, but fsspec and pyarrow."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from stadx.cluster.fetching import fetched
from stadx.cluster.listing import Item, list_items
from stadx.cluster.plan import Manifest, Partition, forget, planned
from stadx.cluster.rows import Counts, as_parquet, counts_of
from stadx.cluster.storage import Folder, is_uri, local_path
from stadx.core.errors import DataError, OutputError, StadxError
from stadx.data.folders import LeftOut
from stadx.evaluation.prediction import collect_images

pytest.importorskip("fsspec", reason="needs the extra cluster (pip install 'stadx[cluster]')")
pytest.importorskip("pyarrow", reason="needs the extra cluster (pip install 'stadx[cluster]')")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images, and all that is none."""
    root = tmp_path / "in"
    names = ("b.png", "a.JPG", "night/c.tif", "night/deep/d.webp", ".hidden.png", "@eaDir/e.png", "ground_truth/f.png")
    for name in (*names, "found/scores.jsonl", "found/g_map.tiff", "notes.txt", "raw.cr2", "night/Thumbs.db"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * len(name))
    (root / "night/up").symlink_to("..")
    other = tmp_path / "other"
    other.mkdir()
    (other / "h.png").write_bytes(b"x")
    (root / "linked").symlink_to(other)
    return root


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recursive", [True, False])
def test_the_same_images_as_predict(folder: Path, recursive: bool) -> None:
    items = list_items([str(folder), str(folder / "b.png")], recursive=recursive)
    own = {f"file://{path}" for path in collect_images([folder], recursive=recursive)}
    assert {item.uri for item in items} == own and len(items) == len(own) == (5 if recursive else 2)
    assert [item.uri for item in items] == sorted(own)


def test_what_is_left_out_is_told(folder: Path) -> None:
    with pytest.warns(LeftOut, match=r"1 file is left out.*1 \.cr2"):
        list_items([str(folder)])
    with pytest.raises(DataError, match=r"ground_truth: holds no images and no \.tar shards"):
        (folder / "ground_truth/f.png").unlink()
        list_items([str(folder / "ground_truth")])
    with pytest.raises(DataError, match=r"nothing\.png: there is no such file or folder"):
        list_items([str(folder / "nothing.png")])


@pytest.mark.filterwarnings("ignore")
def test_patterns_and_folders_passed_over(folder: Path) -> None:
    assert [Path(item.uri).name for item in list_items([str(folder / "*.png"), str(folder / "n*/*.tif")])] == [
        "b.png",
        "c.tif",
    ]
    items = list_items([str(folder)], without=f"file://{folder}/night")
    assert [Path(item.uri).name for item in items] == ["a.JPG", "b.png", "h.png"]


def test_names_that_are_no_unicode_have_an_error_and_stop_nothing(tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    Path(os.fsdecode(os.fsencode(place) + b"/\xe9.png")).write_bytes(b"x")
    (place / "a.png").write_bytes(b"x")
    with tarfile.open(place / "s.tar", "w") as shard:
        for name in ("b.png", os.fsdecode(b"\xe9.png")):
            shard.add(place / "a.png", name)
    items = list_items([str(place)])
    assert [item.uri for item in items] == [f"file://{place}/{name}" for name in ("\\udce9.png", "a.png", "s.tar")]
    why = f"file://{place}/\\udce9.png: its name is no Unicode, which results in Parquet must be; rename it"
    assert [item.error for item in items] == [why, "", ""]
    out, manifest = Folder(str(tmp_path / "out")), Manifest("m", "r", {})
    assert planned(out, manifest, items, 5) == planned(out, manifest, items, 5)
    found = fetched(items, tmp_path / "here")
    rows = [{"uri": one.uri, **({"error": one.error} if one.path is None else {})} for one in found]
    assert counts_of(as_parquet(rows)) == Counts(scored=2, failed=2)
    assert found[-1].uri == f"tar://\\udce9.png::file://{place}/s.tar" and "no Unicode" in found[-1].error


def test_uris() -> None:
    assert is_uri("s3://a/b") and is_uri("tar://a::s3://b") and not is_uri("a/b:c") and not is_uri("C:/x")
    assert local_path("file:///a b/c") == Path("/a b/c") and local_path("s3://a") is None
    with pytest.raises(StadxError, match=r"nowhere://a: cannot be opened"):
        list_items(["nowhere://a"])


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_files_of_a_folder(kind: str, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "out") if kind == "local" else "memory://stadx-test/out")
    assert folder.names("scores") == set() and folder.read("scores/a") is None
    folder.write("scores/a", b"one")
    folder.write("scores/a", b"two")
    (tmp_path / "b").write_bytes(b"three")
    folder.put("maps/x/b", tmp_path / "b")
    assert folder.names("scores") == {"a"} and folder.read("scores/a") == b"two" and folder.read("maps/x/b") == b"three"
    folder.remove("scores")
    folder.remove("scores")
    assert folder.names("scores") == set()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"file/scores/a"):
        Folder(str(tmp_path / "file")).write("scores/a", b"")


def test_partitions_stay_and_new_images_follow(tmp_path: Path) -> None:
    out = Folder(str(tmp_path))
    manifest = Manifest("m", "r", {"stride": 1})
    items = [Item(f"file:///{name}", 3, "now") for name in ("a.png", "b.png", "c.png", "s.tar")]
    first = planned(out, manifest, items, 2)
    assert first == [Partition(0, tuple(items[:2])), Partition(1, (items[2],)), Partition(2, (items[3],))]
    more = [Item("file:///a0.png", 1, "now"), *items]
    assert planned(out, manifest, more, 5) == [*first, Partition(3, (more[0],))]
    assert len(planned(out, manifest, items[:1], 2)) == 4
    with pytest.raises(DataError, match=r"b\.png: changed since"):
        planned(out, manifest, [items[1]._replace(stamp="later")], 2)
    with pytest.raises(OutputError, match="another model"):
        planned(out, Manifest("n", "r", {"stride": 1}), items, 2)
    with pytest.raises(OutputError, match="another region of interest"):
        planned(out, Manifest("m", "q", {"stride": 1}), items, 2)
    forget(out)
    assert planned(out, Manifest("n", "r", {"stride": 1}), items, 5)[0].items == tuple(items[:3])


def test_rows() -> None:
    rows = [
        {"uri": "file:///a.png", "image_score": 0.1, "is_anomalous": False, "regions": []},
        {"uri": "file:///b.tif", "page": 2, "is_anomalous": True, "regions": [{"box": [1, 2, 3, 4], "peak": 0.5}]},
        {"uri": "file:///c.png", "error": "why"},
    ]
    assert counts_of(as_parquet(rows)) == Counts(scored=2, anomalous=1, failed=1)
    assert Counts(1, 1, 0) + Counts(2, 0, 3) == Counts(3, 1, 3)
