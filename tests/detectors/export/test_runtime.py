"""stadx-runtime: the exported file's results are the detector's, without PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mask_patterns import hard_masks
from small_exports import SIZE, frames, images, lower_half, untrained

from stadx import Detector
from stadx.detectors.export import check_export, export_detector
from stadx.evaluation.prediction import predict_files
from stadx.evaluation.regions import find_regions

for package in ("onnx", "onnxscript"):
    pytest.importorskip(package, reason="needs the extra onnx: pip install 'stadx[onnx]'")
stadx_runtime = pytest.importorskip("stadx_runtime", reason="needs onnxruntime: pip install 'stadx[onnx]'")
ExportFileError, Runtime = stadx_runtime.ExportFileError, stadx_runtime.Runtime

pytestmark = pytest.mark.usefixtures("narrow_networks")

MASKS = {
    **hard_masks(rows=30, columns=21, side=17, word=8),
    **{f"random {share}": np.random.default_rng(1).random((41, 37)) < share for share in (0.05, 0.2, 0.4, 0.6)},
}

SETTINGS: dict[str, dict[str, Any]] = {
    "p17, every pixel": {"scales": (17,), "students": 1, "stride": 1, "level": 0.0, "border": "reflect"},
    "p33, every pixel": {"scales": (33,), "students": 1, "stride": 1, "image_size": 48, "border": "zeros"},
    "several scales, both terms": {"scales": (17, 65), "terms": "both", "stride": 4},
    "resized, region": {"scales": (65,), "students": 1, "roi": lower_half(), "image_size": (50, 61), "smoothing": 1.0},
}


@pytest.fixture(scope="module")
def exported(narrow_networks: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Detector, Path]:
    """A detector and its file."""
    detector, file = untrained(), tmp_path_factory.mktemp("export") / "m.onnx"
    export_detector(detector, file, size=SIZE)
    return detector, file


@pytest.mark.parametrize("name", SETTINGS)
def test_it_predicts_what_the_detector_does(name: str, tmp_path: Path) -> None:
    detector, file = untrained(**SETTINGS[name]), tmp_path / "m.onnx"
    export_detector(detector, file, size=SIZE, check=list(frames(images())))
    runtime = Runtime(file, threads=1)
    tested = images(seed=7)
    found, expected = runtime.predict(frames(tested)), detector.predict(tested, method="direct")
    maps = expected.maps.numpy()
    np.testing.assert_allclose(found.maps, maps, rtol=0, atol=2e-4 * maps.std())
    np.testing.assert_allclose(found.image_scores, expected.image_scores, rtol=1e-4, atol=1e-4)
    near = np.abs(maps - detector.threshold_) < 2e-4 * maps.std()
    assert ((found.masks == expected.masks.numpy()) | near).all() and found.masks.any()
    assert found.is_anomalous.tolist() == (expected.image_scores > detector.image_threshold()).tolist()
    alone = runtime.predict(frames(tested)[2])
    np.testing.assert_allclose(alone.maps[0], found.maps[2], rtol=0, atol=1e-4 * maps.std())


def test_thresholds_change_without_an_export(exported: tuple[Detector, Path]) -> None:
    detector, file = exported
    runtime, tested = Runtime(file), images(seed=7)
    assert (runtime.pixel_threshold, runtime.image_threshold) == (detector.threshold_, detector.image_threshold())
    before = runtime.predict(frames(tested))
    runtime.pixel_threshold = float(np.quantile(before.maps, 0.9))
    runtime.image_threshold = float(before.image_scores[1])  # not above itself
    after = runtime.predict(frames(tested))
    assert np.array_equal(after.maps, before.maps)
    assert np.array_equal(after.masks, before.maps > np.float32(runtime.pixel_threshold)) and after.masks.any()
    assert after.is_anomalous.tolist() == (before.image_scores > before.image_scores[1]).tolist()
    with pytest.raises(ValueError, match="image_threshold is nan; it must be a finite number"):
        runtime.image_threshold = float("nan")


def test_the_graph_has_the_model_s_thresholds_by_default(exported: tuple[Detector, Path]) -> None:
    import onnxruntime

    detector, file = exported
    session = onnxruntime.InferenceSession(file)
    _, scores, masks, verdicts = session.run(None, {"images": frames(images())})
    expected = detector.predict(images())
    near = np.abs(expected.maps.numpy() - detector.threshold_) < 1e-3
    assert ((masks == expected.masks.numpy()) | near).all() and masks.any() and not masks.all()
    assert verdicts.tolist() == (scores > detector.image_threshold()).tolist()
    told = json.loads(session.get_modelmeta().custom_metadata_map["stadx"])
    assert told["thresholds"] == {"pixel": detector.threshold_, "image": detector.image_threshold()}
    assert told["parity"] == check_export(file)["parity"]


@pytest.mark.parametrize("place", [0, 0.3, 0.9, -1])
def test_a_changed_byte_is_noticed(place: float, exported: tuple[Detector, Path], tmp_path: Path) -> None:
    content = bytearray(exported[1].read_bytes())
    content[int(place * len(content)) if place > 0 else place] ^= 1
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(content)
    with pytest.raises(ExportFileError, match=r"changed\.onnx: .*was changed"):
        Runtime(changed)


def test_other_files_are_refused(exported: tuple[Detector, Path], tmp_path: Path) -> None:
    with pytest.raises(ExportFileError, match="cannot be read"):
        Runtime(tmp_path / "none.onnx")
    short = tmp_path / "short.onnx"
    short.write_bytes(exported[1].read_bytes()[:-1])
    with pytest.raises(ExportFileError, match="was changed"):
        Runtime(short)


def test_images_are_checked_and_may_be_grey_or_blue_first(exported: tuple[Detector, Path]) -> None:
    runtime, frame = Runtime(exported[1]), frames(images())[0]
    same = runtime.predict(frame[..., ::-1], channels="bgr")
    assert np.array_equal(same.maps, runtime.predict(frame).maps)
    grey = frame[..., 0]
    assert np.array_equal(runtime.predict(grey).maps, runtime.predict(np.stack([grey] * 3, -1)).maps)
    for wrong, told in (
        (frame[:-1], r"takes \[72, 80, 3\]"),
        (frame / 255, "float64; give uint8"),
        (frame[:0], "shape"),
    ):
        with pytest.raises(ValueError, match=told):
            runtime.predict(wrong)
    with pytest.raises(ValueError, match="must be rgb or bgr"):
        runtime.predict(frame, channels="gbr")  # type: ignore[arg-type]


def test_lines_are_those_of_scores_jsonl(exported: tuple[Detector, Path], tmp_path: Path) -> None:
    from stadx.data.images import write_image

    detector, file = exported
    runtime, frame = Runtime(file), frames(images(seed=7))[1]
    write_image(tmp_path / "a.png", frame)
    predict_files(detector, [tmp_path / "a.png"], tmp_path / "out")
    expected = json.loads((tmp_path / "out" / "scores.jsonl").read_text())
    line = runtime.line(runtime.predict(frame), path=tmp_path / "a.png")
    assert line["regions"] and len(line["regions"]) == len(expected["regions"])
    for found, region in zip(line["regions"], expected["regions"], strict=True):
        assert (found["box"], found["area"]) == (region["box"], region["area"])
        assert (found["peak"], found["mean"]) == pytest.approx((region["peak"], region["mean"]), rel=1e-3)
    same = ("path", "is_anomalous", "pixel_threshold", "image_threshold", "anomalous_pixels", "pixels")
    assert {name: line[name] for name in same} == {name: expected[name] for name in same}
    json.dumps(line)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("min_area", [0, 5])
def test_regions_are_those_of_stadx(name: str, min_area: int) -> None:
    mask = MASKS[name]
    scores = np.random.default_rng(0).normal(size=mask.shape).round(1)
    found, labels = stadx_runtime.find_regions(mask, scores, min_area=min_area)
    expected, expected_labels = find_regions(mask, scores, min_area=min_area)
    assert [(r.box, r.area, r.peak) for r in found] == [(r.box, r.area, r.peak) for r in expected]
    assert [r.mean for r in found] == pytest.approx([r.mean for r in expected])
    assert np.array_equal(labels, expected_labels)


def test_it_needs_neither_torch_nor_stadx(exported: tuple[Detector, Path]) -> None:
    code = (
        "import runpy, sys\n"
        "sys.modules |= {'torch': None, 'stadx': None, 'PIL': None}\n"
        "sys.argv += ['--repeat', '1']\n"
        "runpy.run_module('stadx_runtime', run_name='__main__')\n"
    )
    folder = str(Path(stadx_runtime.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code, exported[1]],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": folder},
    )
    told = json.loads(done.stdout)
    assert told["input"]["height"] == SIZE[0] and 0 < told["seconds"]["cold start"] < 60
    assert torch.is_tensor(exported[0].score(images()))
