"""Camera data of 12 bits, of 16 bits and in floating point go through training, scoring and files at full depth."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small import good_images, teacher_file
from tifffile import imwrite
from typer.testing import CliRunner

from stadx import Detector
from stadx.cli import app as cli
from stadx.core.errors import DataWarning
from stadx.data.images import read_image
from stadx.data.layouts import open_category
from stadx.data.value_range import BYTES, UNIT, ValueRange
from stadx.detectors.baselines import METHODS
from stadx.detectors.registry import load_model
from stadx.evaluation.image_scores import score_files
from stadx.evaluation.of_detector import evaluate
from stadx.evaluation.prediction import predict_files
from stadx.evaluation.report.html import write_report
from stadx.evaluation.report.worst import write_worst

pytestmark = pytest.mark.usefixtures("narrow_networks")
HEIGHT, WIDTH = 40, 44


def camera(seed: int, mask: np.ndarray | None = None) -> np.ndarray:
    """A faint pattern of a camera of 12 bits; a defect is 2 % of its range brighter."""
    rng = np.random.default_rng(seed)
    columns = np.arange(WIDTH)
    grey = 2000 + 60 * np.sin(columns / 3 + seed) + rng.normal(0, 12, (HEIGHT, WIDTH))
    if mask is not None:
        grey[mask] += 90
    return grey.clip(0, 4095).astype(np.uint16)


SAVED = {
    "8": ("png", lambda grey: (grey / 4095 * 255).round().astype(np.uint8)),
    "12": ("png", lambda grey: grey),
    "16": ("png", lambda grey: grey * 16),
    "float": ("tif", lambda grey: (grey / 4095).astype(np.float32)),
    "signed": ("tif", lambda grey: (grey.astype(np.int32) - 3000).astype(np.int16)),
}


def draw(root: Path, bits: str) -> Path:
    ending, of = SAVED[bits]

    def save(name: str, grey: np.ndarray) -> None:
        path = root / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending == "tif":
            imwrite(path, of(grey))
        else:
            Image.fromarray(of(grey)).save(path)

    for i in range(8):
        save(f"train/good/{i}", camera(i))
    for i in range(4):
        save(f"test/good/{i}", camera(100 + i))
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[12 + i : 20 + i, 10 + 4 * i : 18 + 4 * i] = True
        save(f"test/stain/{i}", camera(200 + i, mask))
        (root / "ground_truth/stain").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / f"ground_truth/stain/{i}_mask.png")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("depth")
    for bits in SAVED:
        draw(root / bits, bits)
    teacher_file(root)
    return root


def teacher_of(place: Path) -> Path:
    return place / "teacher17.safetensors"


def few_steps(place: Path, steps: int) -> dict[str, Any]:
    """Settings of a training that takes a moment."""
    return {"students": 1, "image_size": None, "steps": steps, "crop": 24, "teachers": [teacher_of(place)]}


def trained(place: Path, bits: str, **settings: Any) -> Detector:
    teachers = [teacher_of(place)]
    detector = Detector((17,), students=1, image_size=None, steps=12, crop=24, teachers=teachers, **settings)
    return detector.fit(place / bits)


@pytest.fixture(scope="module")
def twelve(place: Path, narrow_networks: None) -> Detector:
    return trained(place, "12")


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("8", BYTES),
        ("12", ValueRange(0, 4095, 4095, "uint16", "values")),
        ("16", ValueRange(0, 65535, 65535, "uint16", "values")),
        ("float", ValueRange(0, 1, 1, "float32", "values")),
    ],
)
def test_every_depth_finds_the_same(place: Path, twelve: Detector, bits: str, expected: ValueRange) -> None:
    detector = twelve if bits == "12" else trained(place, bits)
    assert detector.value_range_ == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        found = evaluate(detector, open_category(place / bits))
        reference = evaluate(twelve, open_category(place / "12"))
    assert found.au_pro is not None and reference.au_pro is not None and reference.au_pro > 0.5
    if bits != "8":
        assert abs(found.au_pro - reference.au_pro) < 0.005
        assert found.image_auroc == reference.image_auroc


def test_numbers_below_zero(place: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # minimum and maximum of the training images
        detector = trained(place, "signed")
        found = evaluate(detector, open_category(place / "signed"))
    assert detector.value_range_ is not None
    assert detector.value_range_.low < -1000 < detector.value_range_.high < 0
    assert found.au_pro is not None and found.au_pro > 0.5


def test_a_file_keeps_the_range(place: Path, twelve: Detector, tmp_path: Path) -> None:
    image = place / "12/test/stain/0.png"
    twelve.save(tmp_path / "m.safetensors")
    kept = load_model(tmp_path / "m.safetensors")
    assert kept.value_range_ == twelve.value_range_
    assert torch.equal(kept.predict(image).maps, twelve.predict(image).maps)
    assert kept.facts()["value range of the images"] == (
        "0 to 4095, by their values (training images of 16 bits, 12 used)"
    )
    scores, _ = score_files(kept, [image])
    lines, _ = predict_files(kept, [image], tmp_path / "out")
    whole = evaluate(kept, open_category(place / "12"))
    (in_set,) = [shot.score for shot in whole.images if shot.path == image]
    assert scores[image] == lines[0]["image_score"] == in_set == float(twelve.predict(image).image_scores)


def test_images_are_shown_within_the_range(place: Path, twelve: Detector, tmp_path: Path) -> None:
    predict_files(twelve, [place / "12/test/good/0.png"], tmp_path)
    grey = np.asarray(Image.open(tmp_path / "0_overlay.png").convert("L"))
    assert grey.mean() > 60  # as stored they are all but black: at most 9 of 255
    found = evaluate(twelve, open_category(place / "12"))
    assert found.value_range == twelve.value_range_
    write_worst(tmp_path / "worst.png", found, 1)
    write_report(tmp_path / "r.html", [found], title="t")
    assert "0 to 4095, by their values" in (tmp_path / "r.html").read_text()


def test_what_is_given_is_kept(place: Path, tmp_path: Path) -> None:
    detector = trained(place, "12", value_range=(1500, 2500))
    assert detector.value_range_ == ValueRange(1500, 2500, 4095, "uint16", "given")
    assert "value_range=(1500, 2500)" in repr(detector)
    detector.save(tmp_path / "m.safetensors")
    kept = load_model(tmp_path / "m.safetensors")
    assert kept.settings["value_range"] == (1500, 2500) and kept.value_range_ == detector.value_range_
    for wrong in ((5, 5), (1,), "0,1", (0, float("nan")), (2, 1)):
        with pytest.raises(ValueError, match="value_range"):
            Detector(value_range=wrong)  # type: ignore[arg-type]


def test_another_range_is_another_training(place: Path, tmp_path: Path) -> None:
    settings = few_steps(place, 2)
    prefix = tmp_path / "part"
    first = Detector((17,), **settings, value_range=(0, 4000)).fit(place / "12", checkpoint=prefix)
    Detector((17,), **settings, value_range=(0, 4000)).fit(place / "12", checkpoint=prefix)
    with pytest.raises(ValueError, match="other settings"):
        Detector((17,), **settings).fit(place / "12", checkpoint=prefix)
    first.save(tmp_path / "m.safetensors")


def test_images_in_memory(place: Path, twelve: Detector) -> None:
    images = good_images(4)
    few = few_steps(place, 2)
    assert Detector((17,), **few).fit(images).value_range_ == BYTES
    assert Detector((17,), **few).fit(images.float() / 255).value_range_ == UNIT
    stood_for = Detector((17,), **few, value_range=(0, 4095)).fit(images.float() / 255).value_range_
    assert stood_for == ValueRange(0, 4095, 4095, "uint16", "given")
    path = place / "12/test/good/0.png"
    values = torch.from_numpy(np.asarray(Image.open(path)).astype(np.float32) / np.float32(4095))
    assert torch.equal(twelve.score(values.expand(1, 3, -1, -1)), twelve.predict(path).maps)
    (of_stream,) = twelve.predict_stream([path])
    assert torch.equal(of_stream.maps, twelve.predict(path).maps) and torch.equal(of_stream.maps, twelve.score([path]))


def test_frames_of_12_bits_are_as_their_files(twelve: Detector, tmp_path: Path) -> None:
    grey = camera(300)
    frame = np.stack([grey, grey // 2, grey // 4], 2).astype(np.uint16)
    imwrite(tmp_path / "x.tif", frame, photometric="rgb")
    expected = twelve.score(tmp_path / "x.tif")
    bgr = frame[:, :, ::-1]
    assert torch.equal(twelve.predict(tmp_path / "x.tif").maps, expected)
    assert torch.equal(twelve.predict(bgr.astype(">u2"), channels="bgr").maps, expected)
    streamed = list(twelve.predict_stream(iter([bgr, bgr]), channels="bgr"))
    assert len(streamed) == 2 and all(torch.equal(one.maps, expected) for one in streamed)


def test_models_without_a_range_see_8_bits(place: Path, twelve: Detector, tmp_path: Path) -> None:
    """As of stadx 0.1."""
    path = place / "16/test/stain/1.png"
    twelve.save(tmp_path / "m.safetensors")
    old = Detector.load(tmp_path / "m.safetensors")
    old.value_range_ = None
    expected = old.score(torch.from_numpy(read_image(path)).permute(2, 0, 1)[None])
    assert torch.equal(old.predict(path).maps, expected)
    old.save(tmp_path / "old.safetensors")
    assert Detector.load(tmp_path / "old.safetensors").value_range_ is None


def test_8_bits_train_to_the_same_bits_from_memory(place: Path) -> None:
    paths = sorted((place / "8/train/good").iterdir())
    images = torch.stack([torch.from_numpy(read_image(path)).permute(2, 0, 1) for path in paths])
    settings = few_steps(place, 4)
    of_files, of_bytes = Detector((17,), **settings).fit(paths), Detector((17,), **settings).fit(images)
    assert torch.equal(of_files.score(images), of_bytes.score(images))


@pytest.mark.parametrize("method", ["knn", "ssim-ae"])
def test_compared_systems(place: Path, method: str, tmp_path: Path) -> None:
    own = {"patch_size": 17, "samples": 50, "teacher": teacher_of(place)}
    if method == "ssim-ae":
        own = {"patch": 32, "samples": 6, "epochs": 1}
    size = None if method == "knn" else 40
    maker = METHODS[method]
    maps = []
    for bits in ("12", "16"):
        detector = maker(image_size=size, **own).fit(place / bits)
        assert detector.value_range_ is not None and detector.value_range_.high == {"12": 4095, "16": 65535}[bits]
        detector.save(tmp_path / "m.safetensors")
        kept = load_model(tmp_path / "m.safetensors")
        maps.append(kept.predict(place / bits / "test/stain/0.png").maps)
    assert float((maps[0] - maps[1]).abs().max()) < 0.02 * float(maps[0].max())
    given = maker(image_size=size, **own, value_range=(1000, 3000)).fit(place / "12")
    assert given.value_range_ == ValueRange(1000, 3000, 4095, "uint16", "given")


class TestCommands:
    def run(self, *arguments: object) -> str:
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    def test_range_is_given_and_told(self, place: Path, tmp_path: Path) -> None:
        out = tmp_path / "m.safetensors"
        few = ["--scales", 17, "--students", 1, "--image-size", 0, "--steps", 2, "--crop", 24]
        few += ["--teacher", teacher_of(place)]
        told = self.run("train", place / "12", "--out", out, *few, "--range", "0,2040")
        assert "Values of the images: 0 to 2040, as given (training images of 16 bits, 12 used)" in told
        assert "Warning:" in told and "outside the range of the training images, 0 to 2040" in told
        assert "0 to 2040, as given" in self.run("info", out)
        told = self.run("evaluate", out, place / "12", "--json", tmp_path / "e.json")
        assert "are clipped" in told
        assert json.loads((tmp_path / "e.json").read_text())["settings"]["value_range"] == [0, 2040]
        told = self.run("predict", out, place / "8/test/good", "--out", tmp_path / "out")
        assert "0.png: has 8 bits, the training images 16 bits with white at 4095" in told
        self.run("calibrate", out, place / "12", "--out", tmp_path / "c.safetensors")
        kept = load_model(tmp_path / "c.safetensors").value_range_
        assert kept == ValueRange(0, 2040, 4095, "uint16", "given")

    def test_warnings_are_few(self, place: Path, twelve: Detector, tmp_path: Path) -> None:
        twelve.save(tmp_path / "m.safetensors")
        told = self.run("predict", tmp_path / "m.safetensors", *[place / f"8/{x}/good" for x in ("test", "train")],
                        "--out", tmp_path / "out")  # fmt: skip
        assert told.count("Warning:") == 3 and "9 more warnings" in told

    @pytest.mark.parametrize("wrong", ["4095", "5,5", "0,x", "9,1", "0,inf", "1,2,3"])
    def test_what_is_no_range(self, place: Path, wrong: str, tmp_path: Path) -> None:
        arguments = ["train", str(place / "12"), "--out", str(tmp_path / "m"), "--range", wrong]
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 2 and "is not like 0,4095" in " ".join(result.output.replace("│", " ").split())
