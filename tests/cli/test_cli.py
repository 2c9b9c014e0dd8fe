"""The command line: what it writes, and how it fails."""

from __future__ import annotations

import html
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from stadx.cli import app as cli
from stadx.core import files
from stadx.core.files import read_model, write_model
from stadx.data.demo.demo_set import write_demo_set
from stadx.data.images import read_map, write_image
from stadx.detectors.student_teacher import detector
from stadx.detectors.student_teacher.model_file import DETECTOR_VERSION
from stadx.networks.patch_network import PatchNetwork
from stadx.teachers.pretrained import PretrainedNetwork
from stadx.teachers.teacher_files import TEACHER_VERSION, load_teacher

# typer brings its own copy of click or uses the one that is installed
Result: TypeAlias = Any
COMMANDS = ("calibrate", "demo", "pretrain", "train", "predict", "evaluate", "evaluate-maps", "info")


def stadx(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refused(result: Result, *parts: object) -> None:
    """The command ended with exit code 2 and a message that holds `parts`, without a traceback."""
    assert result.exit_code == 2, result.output
    assert "Error: " in result.stderr and "Traceback" not in result.output
    for part in parts:
        assert str(part) in result.stderr


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that learned nothing: the command line does not mind, and it is there at once."""
    generator = torch.Generator().manual_seed(0)
    net = PatchNetwork(17)
    net.init_from_data(torch.randn(64, 3, 17, 17, generator=generator), generator)
    path = tmp_path_factory.mktemp("teacher") / "teacher17.safetensors"
    tensors = {name: value.half() for name, value in net.state_dict().items()}
    files.write_model(path, "teacher", TEACHER_VERSION, {"network": net.settings, "card": {}}, tensors)
    return path


@pytest.fixture(scope="module")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_set(tmp_path_factory.mktemp("set"), size=48, train=4, test_good=2, test_defect=3)[0]


def train(category: Path, teacher: Path, out: Path, *more: object) -> Result:
    small = ("--scales", 17, "--students", 1, "--steps", 2, "--image-size", 48, "--teacher", teacher)
    return stadx("train", category, "--out", out, *small, *more)


@pytest.fixture(scope="module")
def model(category: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    result = train(category, teacher, folder / "m.safetensors")
    assert result.exit_code == 0, result.output
    assert [path.name for path in folder.iterdir()] == ["m.safetensors"]  # no checkpoint stays behind
    return folder / "m.safetensors"


def test_the_version_is_printed() -> None:
    result = stadx("--version")
    assert result.exit_code == 0 and result.output.startswith("stadx ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = stadx(command, "--help")
    assert result.exit_code == 0
    assert f"Example: stadx {command}" in " ".join(result.output.split())


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, stadx.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_info_tells_what_a_model_promises(model: Path, tmp_path: Path) -> None:
    result = stadx("info", model, "--json", tmp_path / "i.json")
    told = json.loads((tmp_path / "i.json").read_text())
    loaded = detector.Detector.load(model)
    promise = loaded.false_alarms()
    assert result.exit_code == 0 and "scored with stride" in result.output
    assert told["method"] == "student-teacher" and told["settings"]["scales"] == list(loaded.scales)
    assert told["image_threshold"] == loaded.image_threshold() and told["false_alarms"] == promise._asdict()
    assert "with 95 % confidence it flags" in promise.sentence()
    refused(stadx("info", tmp_path / "none.safetensors"), "none.safetensors", "no such file")
    refused(stadx("info", tmp_path), "is a folder")


def test_info_names_what_is_installed() -> None:
    result = stadx("info")
    assert result.exit_code == 0
    for part in (torch.__version__, "instruction set", "CUDA architectures", "devices", "cpu"):
        assert part in result.stdout


def test_pretrain_writes_a_teacher_and_says_how_good_it_is(
    category: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = PretrainedNetwork("colour", 3, "none", lambda images: images.mean((2, 3)))
    monkeypatch.setattr("stadx.teachers.start.load_pretrained", lambda name: network)
    out = tmp_path / "t.safetensors"
    options = ("--patch-size", 17, "--steps", 2, "--batch", 4, "--targets", "pooled")
    result = stadx("pretrain", category, *options, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"Teacher: {out} (explains " in result.stderr
    assert load_teacher(out).patch_size == 17
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_predict_writes_overlay_map_mask_and_a_line_for_each_image(category: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    result = stadx("predict", model, category / "test/good", "--out", out)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert [Path(line["path"]).name for line in lines] == ["000.png", "001.png"]
    for line in lines:
        scores = read_map(out / line["map"])
        assert scores.shape == (48, 48) and scores.max() == pytest.approx(line["image_score"])
        mask = np.asarray(Image.open(out / line["mask"]))
        assert np.array_equal(mask == 255, scores > line["pixel_threshold"])
        assert line["anomalous_pixels"] == (mask > 0).sum() and line["pixels"] == 48 * 48
        assert line["is_anomalous"] == (line["image_score"] > line["image_threshold"])
        assert np.asarray(Image.open(out / line["overlay"])).shape == (48, 48, 3)
    assert len(list(out.iterdir())) == 2 * 3 + 1


def test_predict_uses_the_threshold_that_is_asked_for(category: Path, model: Path, tmp_path: Path) -> None:
    assert stadx("predict", model, category / "test/good", "--out", tmp_path, "--target-fpr", 1).exit_code == 0
    line = json.loads((tmp_path / "scores.jsonl").read_text().splitlines()[0])
    assert line["anomalous_pixels"] > 0.5 * line["pixels"]
    trained = detector.Detector.load(model)
    assert line["image_threshold"] == trained.set_target_fpr(1).image_threshold()
    good = (category / "test/good", "--out", tmp_path, "--image-fpr", 0, "--stride", 4)
    assert stadx("predict", model, *good).exit_code == 0
    line = json.loads((tmp_path / "scores.jsonl").read_text().splitlines()[-1])
    expected = trained.set_target_fpr(0.001).set_image_fpr(0).image_threshold(4)
    assert line["image_threshold"] == expected


def test_images_of_the_same_name_do_not_overwrite_each_other(category: Path, model: Path, tmp_path: Path) -> None:
    defects = sorted((category / "test").iterdir())
    assert len(defects) == 4
    result = stadx("predict", model, *defects, category / "test/good/000.png", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert len(lines) == 5  # the image that is named twice is scored once
    assert len({line["map"] for line in lines}) == 5
    assert all((tmp_path / line["map"]).is_file() for line in lines)


def test_a_bad_image_does_not_stop_the_others(category: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    good = (category / "test/good/000.png").read_bytes()
    (tmp_path / "in" / "a.png").write_bytes(good)
    (tmp_path / "in" / "b [red].png").write_bytes(good[:100])
    (tmp_path / "in" / "c.png").write_bytes(b"")
    (tmp_path / "in" / "d.png").write_bytes(good)
    result = stadx("predict", model, tmp_path / "in", "--out", tmp_path / "out")
    refused(result, "b [red].png", "c.png", "2 of 4 images")
    lines = [json.loads(line) for line in (tmp_path / "out/scores.jsonl").read_text().splitlines()]
    assert ["error" in line for line in lines] == [False, True, True, False]
    assert (tmp_path / "out/d_map.tiff").is_file() and not (tmp_path / "out/c_map.tiff").exists()


def test_an_output_never_replaces_an_image_to_score(category: Path, model: Path, tmp_path: Path) -> None:
    for name in ("x.png", "x_mask.png"):
        (tmp_path / name).write_bytes((category / "test/good/000.png").read_bytes())
    refused(stadx("predict", model, tmp_path, "--out", tmp_path), "x_mask.png", "another folder")
    assert {path.name for path in tmp_path.iterdir()} == {"x.png", "x_mask.png"}


def test_evaluate_prints_and_writes_the_metrics(category: Path, model: Path, tmp_path: Path) -> None:
    json_file, report = tmp_path / "e.json", tmp_path / "e.html"
    result = stadx("evaluate", model, category, "--json", json_file, "--report", report)
    assert result.exit_code == 0, result.output
    written = json.loads(json_file.read_text())
    assert f"{written['au_pro']:.3f}" in result.stdout and category.name in result.stdout
    assert written["settings"]["scales"] == [17] and len(written["images"]) == 5
    assert report.read_text().startswith("<!doctype html>")


def test_evaluate_images_that_patterns_name_at_the_models_size(category: Path, model: Path, tmp_path: Path) -> None:
    for kind, path in enumerate(sorted(category.glob("test/*/*.png"))):  # of another size than the model's, 48 x 48
        image = Image.open(path).resize((80, 60))
        image.save(tmp_path / f"{'ok' if path.parent.name == 'good' else 'ng'}_{kind}.png")
        if path.parent.name != "good":
            mask = Image.open(category / "ground_truth" / path.parent.name / f"{path.stem}_mask.png")
            mask.resize((80, 60), Image.Resampling.NEAREST).save(tmp_path / f"ng_{kind}_gt.bmp")
    files = {name: tmp_path / "out" / f"e.{name}" for name in ("json", "html", "png")}
    written = {}
    for at in ("original", "model"):
        options = ("--json", files["json"], "--report", files["html"], "--worst", files["png"], "--at", at)
        patterns = (
            "--good",
            tmp_path / "ok_*",
            "--defects",
            tmp_path / "ng_*.png",
            "--masks",
            tmp_path / "{name}_gt.bmp",
        )
        result = stadx("evaluate", model, *patterns, "--masks", tmp_path / "{name}_gt.bmp", *options)
        assert result.exit_code == 0, result.output
        written[at] = json.loads(files["json"].read_text())
        assert written[at]["at"] == at and len(written[at]["images"]) == 5
        assert f"{written[at]['au_pro']:.3f}" in result.stdout
        assert Image.open(files["png"]).width == 1200
    assert written["model"]["au_pro"] != written["original"]["au_pro"]
    assert "model's input" in html.unescape(files["html"].read_text())
    for more in ((category, "--good", "x"), ()):
        result = stadx("evaluate", model, *more)
        assert result.exit_code == 2 and "either a category" in " ".join(result.stderr.split())


def test_evaluate_without_masks_has_image_metrics_alone(category: Path, model: Path, tmp_path: Path) -> None:
    patterns = ("--good", category / "test/good/*", "--defects", category / "test/[!g]*/*")
    result = stadx("evaluate", model, *patterns, "--json", tmp_path / "e.json", "--report", tmp_path / "e.html")
    assert result.exit_code == 0, result.output
    assert "have no mask, so pixel AUROC and AU-PRO are undefined" in result.stderr and "–" in result.stdout
    written = json.loads((tmp_path / "e.json").read_text())
    assert written["image_auroc"] is not None and written["pixel_auroc"] is None and written["au_pro"] is None
    whole = stadx("evaluate", model, category, "--json", tmp_path / "whole.json")
    assert whole.exit_code == 0
    assert written["image_auroc"] == json.loads((tmp_path / "whole.json").read_text())["image_auroc"]


def test_evaluate_without_defects_says_so(category: Path, model: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "cat/test/good/000.png", np.full((48, 48, 3), 90, np.uint8))
    result = stadx("evaluate", model, tmp_path / "cat", "--json", tmp_path / "e.json")
    assert result.exit_code == 0, result.output
    assert "has no defect images" in result.stderr and "nan" not in result.stdout.lower()
    assert json.loads((tmp_path / "e.json").read_text())["au_pro"] is None


@pytest.mark.parametrize("command", ["train", "evaluate", "pretrain"])
def test_a_missing_or_empty_folder_is_named(command: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, told in (("missing", "no such folder"), ("empty", "")):
        before = [model] if command == "evaluate" else []
        after = [] if command == "evaluate" else ["--out", tmp_path / "out.safetensors"]
        refused(stadx(command, *before, tmp_path / folder, *after), tmp_path / folder, told)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_missing_image_is_named_before_any_is_scored(category: Path, model: Path, tmp_path: Path) -> None:
    result = stadx("predict", model, category / "test/good", tmp_path / "no.png", "--out", tmp_path / "out")
    refused(result, tmp_path / "no.png")
    assert not (tmp_path / "out").exists()


def test_a_broken_training_image_is_named_and_nothing_is_written(teacher: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "in/a.png", np.full((48, 48, 3), 90, np.uint8))
    (tmp_path / "in/b.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:50])
    refused(train(tmp_path / "in", teacher, tmp_path / "m.safetensors"), "b.png")
    assert not (tmp_path / "m.safetensors").exists()


def test_a_model_cut_short_is_named(category: Path, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(model.read_bytes()[:5000])
    refused(stadx("evaluate", path, category), path, "damaged")


def test_a_model_of_another_version_is_refused(category: Path, model: Path, tmp_path: Path) -> None:
    header, tensors = read_model(model, "detector", DETECTOR_VERSION)
    model = tmp_path / "newer.safetensors"
    write_model(model, "detector", DETECTOR_VERSION + 1, header, tensors)
    refused(stadx("predict", model, category / "test/good", "--out", tmp_path / "out"), model, "version")
    assert not (tmp_path / "out").exists()


def test_what_is_no_model_is_refused(category: Path, model: Path, teacher: Path, tmp_path: Path) -> None:
    refused(stadx("evaluate", teacher, category), teacher, "teacher")
    foreign = tmp_path / "foreign.safetensors"
    save_file(load_file(model), foreign)  # the same tensors without the header
    refused(stadx("evaluate", foreign, category), foreign, "not one of stadx")
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    refused(stadx("evaluate", text, category), text)
    refused(stadx("evaluate", tmp_path / "no.safetensors", category), "no.safetensors", "no such file")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    category: Path, teacher: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    within = tmp_path / "file" / "out"
    refused(train(category, teacher, within, "--steps", 1_000_000), within)
    refused(stadx("predict", model, category / "test/good", "--out", within), within)
    refused(stadx("evaluate", model, category, "--json", within), within)
    refused(stadx("evaluate", model, category, "--report", within), within)
    refused(stadx("pretrain", category / "test/good", "--out", within), within)
    refused(stadx("demo", "--out", within), within)
    refused(stadx("evaluate", model, category, "--report", tmp_path), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("scales", ["34", "33,33", "", "x", "17;33"])
def test_scales_that_do_not_exist_are_refused(scales: str, category: Path, tmp_path: Path) -> None:
    result = stadx("train", category, "--out", tmp_path / "m.safetensors", "--scales", scales)
    assert result.exit_code == 2 and "17, 33 and 65" in " ".join(result.stderr.split())


def test_ctrl_c_ends_with_130_and_a_line(
    category: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(detector.Detector, "fit", interrupt)
    result = train(category, teacher, tmp_path / "m.safetensors")
    assert result.exit_code == 130
    assert result.stderr.strip() == "stopped; run the same command to resume"


def test_the_program_itself_fails_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stadx", "train", str(tmp_path / "missing"), "--out", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"Error: {tmp_path / 'missing'}: no such folder")
