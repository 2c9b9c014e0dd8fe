"""runtime/examples/openvino: a C++ program finds in an exported model what stadx-runtime finds."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_exports import SIZE, frames, images, untrained

from stadx.detectors.export import export_detector

pytestmark = [
    pytest.mark.usefixtures("narrow_networks"),
    pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake"),
]
EXAMPLE = Path(__file__).resolve().parents[3] / "runtime" / "examples" / "openvino"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, compiled with the headers and libraries of OpenVINO's wheel."""
    pytest.importorskip("openvino", reason="needs the extra openvino")
    from openvino.utils import get_cmake_path

    if not (cmake := get_cmake_path()):
        pytest.skip("this build of openvino has no headers")
    build = tmp_path_factory.mktemp("build")
    for step in (["-S", EXAMPLE, "-B", build, f"-DOpenVINO_DIR={cmake}"], ["--build", build]):
        done = subprocess.run(["cmake", *step], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "find_defects"


def test_it_finds_what_the_runtime_finds(program: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    stadx_runtime = pytest.importorskip("stadx_runtime", reason="needs onnxruntime")
    detector = untrained()
    for name, to in (("m.onnx", "onnx"), ("m.xml", "openvino")):
        export_detector(detector, tmp_path / name, to, size=SIZE)  # type: ignore[arg-type]
    runtime = stadx_runtime.Runtime(tmp_path / "m.onnx")
    verdicts = []
    for number, frame in enumerate(frames(images(seed=7))):
        Image.fromarray(frame).save(tmp_path / f"{number}.ppm")
        done = subprocess.run(
            [program, tmp_path / "m.xml", tmp_path / f"{number}.ppm"], check=True, capture_output=True, text=True
        )
        found, prediction = json.loads(done.stdout), runtime.predict(frame)
        expected = runtime.line(prediction)
        del expected["regions"]
        assert found.keys() == expected.keys()
        near = np.abs(prediction.maps - runtime.pixel_threshold) < 1e-3 * prediction.maps.std()
        assert abs(found.pop("anomalous_pixels") - expected.pop("anomalous_pixels")) <= near.sum()
        assert found.pop("image_score") == pytest.approx(expected.pop("image_score"), rel=1e-4, abs=1e-4)
        assert found == expected
        verdicts.append(found["is_anomalous"])
    assert set(verdicts) == {True, False}


def test_other_images_are_refused(program: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    export_detector(untrained(stride=8), tmp_path / "m.xml", "openvino", size=SIZE)
    for content, told in (
        (b"P5 1 1 255\n1", "is no PPM"),
        (b"P6 2 1 255\nabc", "ends before"),
        (None, "cannot be read"),
    ):
        if content is not None:
            (tmp_path / "a.ppm").write_bytes(content)
        file = tmp_path / ("a.ppm" if content is not None else "none.ppm")
        done = subprocess.run([program, tmp_path / "m.xml", file], capture_output=True, text=True)
        assert done.returncode == 1 and f"{file}: {told}" in done.stderr
    Image.fromarray(frames(images((30, 20)))[0]).save(tmp_path / "a.ppm")
    done = subprocess.run([program, tmp_path / "m.xml", tmp_path / "a.ppm"], capture_output=True, text=True)
    assert done.returncode == 1 and "another size than the model takes, 80x72; export with --size" in done.stderr
