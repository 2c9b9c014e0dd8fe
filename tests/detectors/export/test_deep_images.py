"""Models of images of more than 8 bits are exported for just these: 16 bits, floating point, a part of the bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from small_exports import SIZE, frames, images, untrained

from stadx import DataError, Detector
from stadx.data.value_range import ValueRange, to_range
from stadx.detectors.export import export_detector
from stadx.detectors.export.graph import ExportedDetector
from stadx.detectors.export.resizing import FloatResize
from stadx.detectors.export.thresholds import Thresholds

pytestmark = pytest.mark.usefixtures("narrow_networks")

RANGES = {
    "12 bits": ValueRange(0, 4095, 4095, "uint16"),
    "a part of 16 bits": ValueRange(1000, 50000, 65535, "uint16", "values"),
    "floating point": ValueRange(-40.0, 310.5, None, "float32", "values"),
    "a part of the bytes": ValueRange(30, 200, 255, "uint8", "given"),
}


def detector_of(value_range: ValueRange) -> Detector:
    detector = untrained(image_size=(64, 61), stride=4)
    detector.value_range_ = value_range
    detector.calibrate(list(detector.score(shares_of(value_range, frames_of(value_range)))))
    return detector


def frames_of(value_range: ValueRange, seed: int = 1) -> np.ndarray:
    """Images [4, H, W, 3] of these values, some beyond the range."""
    shares = frames(images(seed=seed)) / np.float64(255) * 1.1 - 0.02
    values = value_range.low + shares * (value_range.high - value_range.low)
    if value_range.depth == "float32":
        return values.astype(np.float32)
    return np.rint(values).clip(0, np.iinfo(value_range.depth).max).astype(value_range.depth)


def shares_of(value_range: ValueRange, of: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(to_range(of, value_range)).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize("name", RANGES)
def test_the_graph_takes_the_range(name: str) -> None:
    taken = RANGES[name]
    detector, tested = detector_of(taken), frames_of(taken, seed=2)
    expected = detector.predict(shares_of(taken, tested), method="direct")
    limits = [torch.from_numpy(value) for value in Thresholds.of(detector).inputs().values()]
    maps, scores, masks, verdicts = ExportedDetector(detector, SIZE)(torch.from_numpy(tested), *limits)
    torch.testing.assert_close(maps, expected.maps, rtol=0, atol=1e-4 * float(expected.maps.std()))
    torch.testing.assert_close(scores, expected.image_scores, rtol=1e-4, atol=1e-4)
    assert float((masks != expected.masks).float().mean()) < 1e-3 and masks.any() and not masks.all()
    assert torch.equal(verdicts, expected.image_scores > detector.image_threshold())


@pytest.mark.parametrize("to", ["onnx", "torch", "openvino"])
@pytest.mark.parametrize("name", ["12 bits", "floating point"])
def test_an_export_is_compared_on_files_of_that_depth(name: str, to: str, tmp_path: Path) -> None:
    for package in {"torch": [], "openvino": ["onnxscript", "openvino"]}.get(to, ["onnxscript", "onnxruntime"]):
        pytest.importorskip(package, reason=f"needs the extra {to}")
    taken = RANGES[name]
    detector, tested = detector_of(taken), frames_of(taken)
    files = [tmp_path / f"{number}.tif" for number in range(len(tested))]
    for file, values in zip(files, tested, strict=True):
        tifffile.imwrite(file, values, photometric="rgb")
    out = tmp_path / "m.xml"
    exported = export_detector(detector, out, to, size=SIZE, check=files)  # type: ignore[arg-type]
    assert exported.parity.images == 4 and exported.parity.map_difference < 1e-3
    told = {"height": 72, "width": 80, "colours": "rgb", "dtype": taken.depth, "low": taken.low, "high": taken.high}
    assert exported.description["input"] == told
    assert export_detector(detector, out, to, size=SIZE).parity.holds  # type: ignore[arg-type]
    if to == "onnx":
        runtime = pytest.importorskip("stadx_runtime").Runtime(out)
        found = runtime.predict(tested)
        expected = detector.predict(files)  # as the files are read
        assert np.abs(found.maps - expected.maps.numpy()).max() < 1e-3 * float(expected.maps.std())
        assert np.array_equal(runtime.predict(tested[..., ::-1], channels="bgr").maps, found.maps)
        with pytest.raises(ValueError, match=f"images are uint8; give {taken.depth}"):
            runtime.predict(frames(images()))
        if taken.depth == "float32":
            with pytest.raises(ValueError, match="NaN or infinity"):
                runtime.predict(np.full((*SIZE, 3), np.nan, np.float32))
    json.dumps(exported.description, default=str)


def test_images_of_another_depth_are_refused(tmp_path: Path) -> None:
    detector = detector_of(RANGES["12 bits"])
    with pytest.raises(DataError, match="image 0: is uint8, the export takes uint16"):
        export_detector(detector, tmp_path / "m.pt2", "torch", size=SIZE, check=list(frames(images())))
    with pytest.raises(DataError, match=r"image 0: has shape \[72, 80\]; give arrays \[H, W, 3\]"):
        export_detector(detector, tmp_path / "m.pt2", "torch", size=SIZE, check=[np.zeros(SIZE, np.uint16)])
    pgm = tmp_path / "a.pgm"
    pgm.write_bytes(b"P5 80 72 1023\n" + np.full(SIZE, 700, ">u2").tobytes())
    with (
        pytest.warns(match="multiplied by 4.0"),
        pytest.raises(DataError, match=r"a\.pgm: is white at 1023, the model's images at 4095, .*as they are"),
    ):
        export_detector(detector, tmp_path / "m.pt2", "torch", size=SIZE, check=[pgm])
    assert [one.name for one in tmp_path.iterdir()] == ["a.pgm"]


@pytest.mark.parametrize("target", [(30, 41), (64, 16), (64, 41), (90, 70)], ids=str)
def test_floats_are_resized_as_the_detector_does(target: tuple[int, int]) -> None:
    of = torch.rand(2, 3, 64, 41, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(of, target, mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(FloatResize((64, 41), target)(of), expected, rtol=0, atol=1e-5)
