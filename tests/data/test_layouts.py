"""Categories and sets of them in the layouts of MVTec AD, BTAD and VisA: what opens, and what is wrong with others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_sets import draw_btad, draw_image, draw_mask, draw_mvtec, draw_visa
from typer.testing import CliRunner

from stadx import DataError
from stadx.cli import app as cli
from stadx.data.checking import CheckedCategory, check_set
from stadx.data.images import write_map
from stadx.data.layout_registry import layouts
from stadx.data.layouts import categories, list_category, open_category, training_images
from stadx.data.layouts.category import Layout, read_mask
from stadx.data.maps import open_map_set
from stadx.data.source import ImageSource
from stadx.experiments.reproduce import Request, reproduce
from stadx.experiments.tables import categories as module


@pytest.fixture
def btad(tmp_path: Path) -> Path:
    return draw_btad(tmp_path / "BTech_Dataset_transformed")


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    return draw_visa(tmp_path / "VisA")


def edit_split(visa: Path, old: str, new: str) -> Path:
    file = visa / "split_csv/1cls.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def refused(root: Path, *words: str | Path) -> None:
    """`open_category` names `words`, and so does the check, as the only error."""
    with pytest.raises(DataError) as caught:
        open_category(root)
    errors = [f.message for f in check_set(root)[0].findings if f.severity == "error"]
    assert errors == [str(caught.value)]
    for word in words:
        assert str(word) in errors[0]


def test_a_set_lists_its_categories_whatever_its_layout(tmp_path: Path, btad: Path, visa: Path) -> None:
    mpdd = tmp_path / "MPDD"
    names = ["bracket_black", "connector", "tubes"]
    for name in names:
        draw_mvtec(mpdd / name)
    (mpdd / "licence").mkdir()
    assert [p.name for p in categories(mpdd)] == names
    assert [p.name for p in categories(btad)] == ["01", "02", "03"]
    assert categories(str(visa)) == [visa / "candle", visa / "pcb1"]
    for one in (mpdd / "tubes", btad / "02", visa / "pcb1"):
        assert categories(one) == [one]
    assert categories(mpdd / "tubes/train/good") == []
    with pytest.raises(DataError, match="no such folder"):
        categories(tmp_path / "nowhere")
    for opener in (open_category, list_category, training_images):
        with pytest.raises(DataError, match=r"candle, pcb1.*name one"):
            opener(visa)


def test_a_sound_set_has_nothing_to_report(btad: Path, visa: Path) -> None:
    assert check_set(btad) == [CheckedCategory(name, 10, 1, 2, []) for name in ("01", "02", "03")]
    assert check_set(visa) == [CheckedCategory(name, 11, 2, 2, []) for name in ("candle", "pcb1")]


@pytest.mark.parametrize(("name", "image", "mask"), [("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")])
def test_btad(btad: Path, name: str, image: str, mask: str) -> None:
    category = open_category(btad / name)
    assert (category.name, category.defects) == (name, ["ko"])
    assert list(category.train) == training_images(btad / name) == sorted((btad / name / "train/ok").iterdir())
    assert [(t.defect, t.path.name) for t in category.test] == [
        ("good", f"0000.{image}"),
        ("ko", f"0000.{image}"),
        ("ko", f"0001.{image}"),
    ]
    masks = [t.mask for t in category.test]
    assert masks == [None, *(btad / name / f"ground_truth/ko/000{i}.{mask}" for i in (0, 1))]


def test_what_is_wrong_in_btad(btad: Path) -> None:
    mask = btad / "01/ground_truth/ko/0001.png"
    mask.rename(mask.with_name("0009.png"))
    with pytest.raises(DataError, match=r"test/ko/0001.bmp: has no mask; expected .*/ko/0001.png .*test/ok\)"):
        open_category(btad / "01")
    messages = [f.message for f in check_set(btad)[0].findings]
    assert len(messages) == 2 and "0009.png: no image in" in messages[1]
    shutil.rmtree(btad / "02/test/ko")
    refused(btad / "02", "02/ground_truth/ko: masks without images")
    shutil.rmtree(btad / "03/train/ok")
    (btad / "03/train/ok").mkdir()
    refused(btad / "03", "03/train/ok: no images in this folder")


def test_ok_is_a_defect_where_there_are_good_images(tmp_path: Path) -> None:
    root = draw_mvtec(tmp_path / "bolt", defect="ok")
    assert open_category(root).defects == ["ok"]


def test_visa(visa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    category = open_category(visa / "candle")
    normal = visa / "candle/Data/Images/Normal"
    assert (category.name, category.defects) == ("candle", ["anomaly"])
    assert list(category.train) == [normal / f"{i:04}.JPG" for i in range(13) if i not in (3, 10)]
    assert training_images(visa / "candle") == list(category.train)
    assert len(ImageSource(visa / "candle", 8)) == 11  # what a detector trains on
    assert [t.path for t in category.test[:2]] == [normal / "0003.JPG", normal / "0010.JPG"]
    assert all(t.is_good and t.defect == "good" for t in category.test[:2])
    last = category.test[3]
    assert last.mask == visa / "candle/Data/Masks/Anomaly/001.png"
    assert read_mask(last.mask, (8, 12), last.path).sum() == 6  # values are small numbers of defect types
    monkeypatch.chdir(visa / "candle")
    here = open_category(".")
    assert here.name == "candle" and [p.name for p in here.train] == [p.name for p in category.train]
    monkeypatch.chdir(visa)
    assert open_category("candle").test[0].path == Path("candle/Data/Images/Normal/0003.JPG")


def test_visa_converted(tmp_path: Path) -> None:
    draw_mvtec(tmp_path / "visa_pytorch/candle", defect="bad", ending="")
    assert check_set(tmp_path / "visa_pytorch") == [CheckedCategory("candle", 10, 2, 2, [])]


def test_visa_without_its_split(visa: Path) -> None:
    (visa / "split_csv").rename(visa / "split")
    refused(visa / "pcb1", visa / "split_csv/1cls.csv", "no such file", visa / "pcb1", "copy it")
    with pytest.raises(DataError, match="no such file"):
        training_images(visa / "pcb1")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("object,split,label", "object,part,label", ["has no column split; expected object,split,label,image,mask"]),
        ("pcb1,", "pcb,", ["has no line whose object is pcb1", "rename"]),
        ("pcb1,train,normal,pcb1/Data/Images/Normal/0000", "pcb1,train,fine,pcb1/Data/Images/Normal/0000", ["'fine'"]),
        ("pcb1/Data/Images/Normal/0000.JPG", "pcb1/Data/Images/Normal/0077.JPG", ["0077.JPG: no such image", "line 1"]),
        (
            "pcb1,test,anomaly,pcb1/Data/Images/Anomaly/001",
            "pcb1,train,anomaly,pcb1/Data/Images/Anomaly/001",
            ["trains"],
        ),
    ],
)
def test_what_is_wrong_in_the_split_of_visa(visa: Path, old: str, new: str, words: list[str]) -> None:
    file = edit_split(visa, old, new)
    refused(visa / "pcb1", file, *words)
    with pytest.raises(DataError):
        training_images(visa / "pcb1")


def test_a_split_file_that_went_through_an_editor(visa: Path) -> None:
    file = visa / "split_csv/1cls.csv"
    text = file.read_text()
    file.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert check_set(visa)[1] == CheckedCategory("pcb1", 11, 2, 2, [])
    file.write_bytes(text.encode("utf-16"))
    refused(visa / "pcb1", file, "cannot be read as CSV")


def test_masks_of_visa_that_are_missing_or_too_many(visa: Path) -> None:
    mask = visa / "pcb1/Data/Masks/Anomaly/001.png"
    mask.unlink()
    refused(visa / "pcb1", "Anomaly/001.JPG: has no mask; line", mask)
    assert len(training_images(visa / "pcb1")) == 11  # training needs no masks
    draw_mask(mask)
    refused_mask = draw_mask(mask.with_name("007.png"))
    refused(visa / "pcb1", refused_mask, "of no image that")
    refused_mask.unlink()
    edit_split(visa, "pcb1/Data/Masks/Anomaly/001.png", "")
    with pytest.raises(DataError, match=r"001.JPG: has no mask in line \d+ of .*; name one in its last column"):
        open_category(visa / "pcb1")


def test_visa_with_nothing_to_train_on(visa: Path) -> None:
    edit_split(visa, "pcb1,train", "pcb1,test")
    assert open_category(visa / "pcb1").train == []
    with pytest.raises(DataError, match=r"no line of .*pcb1 with split train"):
        training_images(visa / "pcb1")
    (checked,) = check_set(visa / "pcb1")
    assert [f.severity for f in checked.findings] == ["warning"] and "to train on" in checked.findings[0].message


def test_a_picture_of_visa_in_train_and_test(visa: Path) -> None:
    normal = visa / "candle/Data/Images/Normal"
    shutil.copy(normal / "0002.JPG", normal / "0003.JPG")
    (finding,) = check_set(visa)[0].findings
    assert finding.severity == "error" and f"{normal / '0002.JPG'}, which is trained on" in finding.message


def test_the_command_checks_a_whole_set(visa: Path, tmp_path: Path) -> None:
    (visa / "pcb1/Data/Masks/Anomaly/000.png").unlink()
    report = tmp_path / "r.json"
    result = CliRunner().invoke(cli.app, ["data", "check", str(visa), "--json", str(report)])
    assert result.exit_code == 1
    assert "candle: 11 images to train on, 2 good and 2 with defects to test; no errors" in result.stderr
    assert [len(entry["findings"]) for entry in json.loads(report.read_text())] == [0, 1]


def test_maps_of_btad_and_visa_find_their_masks(btad: Path, visa: Path, tmp_path: Path) -> None:
    for name in ("ok/0000", "ko/0000", "ko/0001"):
        write_map(tmp_path / f"maps/{name}_map.tiff", np.ones((8, 12), np.float32))
    found = open_map_set(tmp_path / "maps", btad / "03")
    assert sorted((i.defect, i.mask is None) for i in found.items) == [("ko", False), ("ko", False), ("ok", True)]
    assert sorted(mask.sum() for _, mask, _ in found) == [0, 6, 6]
    for name in ("Normal/0003", "Anomaly/000", "Anomaly/001"):
        write_map(tmp_path / f"more/{name}.tiff", np.ones((8, 12), np.float32))
    assert sorted(mask.sum() for _, mask, _ in open_map_set(tmp_path / "more", visa / "pcb1")) == [0, 6, 6]


def test_a_table_has_a_row_for_every_category(btad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_category", lambda *arguments: 0.5)
    result = reproduce("table3", Request((btad,), tmp_path / "out", columns=("p = 33",))).table
    assert result is not None and list(result.cells) == ["01", "02", "03"]


def test_images_directly_in_a_folder_are_still_good_ones(tmp_path: Path) -> None:
    draw_image(tmp_path / "photos/b.png")
    assert training_images(tmp_path / "photos") == [tmp_path / "photos/b.png"]
    with pytest.raises(DataError, match=r"photos: is no category, it has no folder test"):
        open_category(tmp_path / "photos")


def test_a_layout_that_fails_to_tell_is_passed_over(monkeypatch: pytest.MonkeyPatch, btad: Path) -> None:
    def is_category(root: Path) -> bool:
        raise RuntimeError("no network")

    expected = categories(btad)
    found = [Layout(is_category, list_category, training_images), *layouts()]
    monkeypatch.setattr("stadx.data.layout_registry.layouts", lambda: found)
    with pytest.warns(UserWarning, match="is_category failed.*no network"):
        assert categories(btad) == expected
