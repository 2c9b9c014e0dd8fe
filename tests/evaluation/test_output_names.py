"""Names of outputs: unique, and never too long for the file system."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from brightness import Brightness

from stadx.core.errors import OutputError
from stadx.data.images import write_image
from stadx.data.pages import Page
from stadx.evaluation import prediction_stages
from stadx.evaluation.output_names import name_key, output_names
from stadx.evaluation.prediction import predict_files
from stadx.evaluation.regions import RegionSettings

ODD = [
    *("a" * 200, "b" * 230, "c" * 240, "d" * 251, "药" * 76, "药" * 83, "e" * 243, "e" * 244),
    *("dot.", "two..", "space ", " ", "new\nline", "tab\t", 'q"uote', "per%cent", "hash#", "semi;colon", "a:b*?<>|"),
    *("é", "e\u0301", "ß", "ss", "A", "a", "latin\udce9", "scores", "regions", "regions.coco", "CON", "-dash", "\\"),
]


def test_every_name_gives_outputs_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "first.png", np.zeros((4, 4, 3), np.uint8))
    paths = [tmp_path / "in" / f"{stem}.png" for stem in ODD]
    for path in paths:
        path.write_bytes((tmp_path / "first.png").read_bytes())
    regions = RegionSettings(exports=("coco", "labelme", "csv"))
    lines, failures = predict_files(Brightness(), paths, tmp_path / "out", regions=regions)
    assert failures == [] and [line["path"] for line in lines] == [os.fspath(path) for path in paths]
    for kind in ("overlay", "map", "mask"):
        files = [line[kind] for line in lines]
        assert len({name_key(file) for file in files}) == len(ODD)
        assert all((tmp_path / "out" / file).is_file() for file in files)
    assert len(list((tmp_path / "out").iterdir())) == 4 * len(ODD) + 3
    assert len(json.loads((tmp_path / "out/regions.coco.json").read_text())["images"]) == len(ODD)


def test_long_names_are_cut_and_differ() -> None:
    paths = [Path("in", "x" * 245 + ending) for ending in ("1.png", "2.png")] + [Path("f" * 200, "n" * 200 + ".png")]
    paths.append(Path("g" * 200, "n" * 200 + ".jpg"))
    names = output_names(paths, longest=243)
    assert len(set(names)) == 4 and all(len(os.fsencode(name)) <= 243 for name in names)
    assert names == output_names(paths, longest=243)
    assert names[0].startswith("x" * 200)
    assert len(os.fsencode(output_names([Path("药" * 80)], longest=131)[0])) <= 131  # eCryptfs


def test_names_of_a_previous_run_stay_with_their_images() -> None:
    owners = {"x": "a/x.png", "a_x": "a_x.png"}
    assert output_names([Path("a/x.png")], owners) == ["x"]
    assert output_names([Path("b/x.png")], owners) == ["b_x"]
    assert output_names([Path("c/a/x.png")], owners) == ["a_x_2"]


def test_images_that_come_later_take_no_names() -> None:
    first = [Path("cam/a.jpg"), Path("cam/a.png"), Path("cam/b.png")]
    names = output_names(first)
    assert names == ["cam_a", "cam_a_2", "b"]
    owners = {name: str(path) for name, path in zip(names, first, strict=True)}
    later = [Path("cam/a.bmp"), *first[:2], Path("cam/b.jpg"), first[2]]
    assert output_names(later, owners) == ["cam_a_3", "cam_a", "cam_a_2", "cam_b", "b"]
    pages = [Page(Path("cam/a.tif"), number) for number in (1, 2, 12)]
    owners = {"a_p1": "cam/a.tif", "cam_a_p2": "cam/a.tif", "cam_a_p12_2": "cam/a.tif"}
    assert output_names([Path("cam/a_p1.png"), *pages], owners) == ["cam_a_p1", "a_p1", "cam_a_p2", "cam_a_p12_2"]


def test_many_images_of_one_name_are_named_in_linear_time() -> None:
    paths = [Path(f"/run{number}/cam/x.png") for number in range(6000)]
    begun = time.process_time()
    assert len(set(output_names(paths))) == len(paths)
    assert time.process_time() - begun < 5  # trying all numbers for each would take half a minute


def test_a_name_that_the_disk_refuses_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b:.png", tmp_path / "c.png"]
    for path in paths:
        write_image(path, np.zeros((4, 4, 3), np.uint8))

    def refused(number: int) -> None:
        real = prediction_stages.write_pictures

        def write(out: Path, name: str, *rest: object) -> dict[str, str]:
            if ":" in name:
                raise OutputError(f"{out / name}: cannot be written") from OSError(number, "as FAT does")
            return real(out, name, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(prediction_stages, "write_pictures", write)

    refused(22)
    lines, failures = predict_files(Brightness(), paths, tmp_path / "out")
    assert [Path(line["path"]).name for line in lines] == ["a.png", "c.png"]
    assert failures[0].path == paths[1] and "rename the image" in failures[0].message
    refused(28)
    with pytest.raises(OutputError):
        predict_files(Brightness(), paths, tmp_path / "full")
    assert len((tmp_path / "full/scores.jsonl").read_text().splitlines()) == 1


def test_a_folder_that_is_a_file_and_one_that_is_too_deep(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="out: is a file; name a folder"):
        predict_files(Brightness(), [tmp_path / "a.png"], tmp_path / "out")
    with pytest.raises(OutputError, match="File name too long"):
        predict_files(Brightness(), [tmp_path / "a.png"], tmp_path.joinpath(*["d" * 200] * 25))
    assert (tmp_path / "out").read_text() == "mine"
