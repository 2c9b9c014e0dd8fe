"""An export is written only if it is the detector, and says so; other programs can tell when it was changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_exports import SIZE, frames, images, untrained
from torch import Tensor
from typer.testing import CliRunner

from stadx import DataError, Detector, MissingExtraError, ModelFileError, export
from stadx.cli.app import app
from stadx.data.images import write_image
from stadx.detectors.baselines import METHODS
from stadx.detectors.export import Parity, ParityError, check_export, export_detector
from stadx.detectors.export.exporting import _told_of
from stadx.detectors.export.formats import Built
from stadx.detectors.export.graph import ExportedDetector
from stadx.detectors.export.parity import Outputs, compare

pytestmark = pytest.mark.usefixtures("narrow_networks")


def runner(
    detector: Detector, change: float = 0.0, masks: bool = False, verdicts: bool = False, rounding: bool = False
):
    """Runs what might have been exported: the detector, with something changed."""

    def run(of: np.ndarray) -> Outputs:
        found = detector.predict(of)
        maps = found.maps.clone()
        maps[:, 3, 4] += change * maps.std()
        scores = found.image_scores.double() + 1e-5 * rounding
        masks_found = maps + 1e-5 > detector.threshold_ if rounding else found.masks ^ masks
        is_anomalous = (scores > detector.image_threshold()) ^ verdicts
        return maps.numpy(), scores.float().numpy(), masks_found.numpy(), is_anomalous.numpy()

    return run


def given(of: Tensor) -> list[np.ndarray]:
    return list(frames(of))


def test_parity_is_in_deviations_of_the_map() -> None:
    detector = untrained()
    parity = compare(detector, runner(detector, 5e-4), SIZE, given(images()))
    assert parity.images == 4 and parity.real and parity.verdicts == 0 and parity.wrong_share == 0
    assert parity.map_difference == pytest.approx(5e-4, rel=0.01) and parity.compared_with == "engine"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"change": 2e-3}, "by at most 0.002"),
        ({"change": np.nan}, "nan"),
        ({"masks": True}, "masks in 1 of the pixels.* in 1 and 0"),
        ({"verdicts": True}, "verdicts in 4 images.* in 0 and 4"),
    ],
    ids=str,
)
def test_a_graph_that_is_not_the_detector_is_refused(wrong: dict[str, float], told: str) -> None:
    detector = untrained()
    with pytest.raises(ParityError, match=f"the exported graph is not the detector.*{told}.*nothing was written"):
        compare(detector, runner(detector, **wrong), SIZE, given(images()))  # type: ignore[arg-type]


def test_bfloat16_has_a_limit_of_its_own_and_every_verdict() -> None:
    detector = untrained()
    tested = given(images())
    parity = compare(detector, runner(detector, 0.4), SIZE, tested, precision="bfloat16")
    assert parity.map_difference == pytest.approx(0.4, rel=0.01) and parity.to_json()["map_difference_limit"] == 0.5
    with pytest.raises(
        ParityError, match=r"by at most 0\.6 .*less than 0\.5.*Export it in float32, without --precision"
    ):
        compare(detector, runner(detector, 0.6), SIZE, tested, precision="bfloat16")
    detector.set_image_threshold(float(detector.predict(tested[0]).image_scores))
    assert compare(detector, runner(detector, rounding=True), SIZE, tested[:1]).verdicts == 1
    with pytest.raises(ParityError, match=r"verdicts in 1 images.*and no verdict anywhere"):
        compare(detector, runner(detector, rounding=True), SIZE, tested[:1], precision="bfloat16")


def test_bfloat16_is_openvino_s_and_needs_real_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bfloat16 are for OpenVINO alone: --to openvino"):
        export_detector(untrained(), tmp_path / "m.onnx", size=SIZE, precision="bfloat16")
    with pytest.raises(DataError, match="give real ones to compare"):
        export_detector(untrained(), tmp_path / "m.xml", "openvino", size=SIZE, precision="bfloat16")
    with pytest.raises(ValueError, match=r"'int8' is none of exports; choose one of \('float32', 'bfloat16'\)"):
        export_detector(untrained(), tmp_path / "m.xml", "openvino", precision="int8")  # type: ignore[arg-type]


def test_scores_that_are_the_threshold_do_not_refuse() -> None:
    detector = untrained()
    tested = given(images(seed=4)[:1])
    found = detector.predict(tested[0])
    detector.threshold_ = float(found.maps.median())
    detector.set_image_threshold(float(found.image_scores))
    parity = compare(detector, runner(detector, rounding=True), SIZE, tested)
    assert parity.holds and parity.verdicts == 1 and parity.mask_share > 0


def test_drawn_images_are_said_to_be_drawn() -> None:
    detector = untrained(stride=8)
    parity = compare(detector, runner(detector), SIZE, None)
    assert not parity.real and "drawn images (no real ones were given)" in parity.sentence()


def test_where_the_engine_rounds_more_its_definition_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = untrained()
    predict = detector.predict

    def rounded(of: object, method: str = "auto"):
        found = predict(of, method="direct")
        return found if method == "direct" else found._replace(maps=found.maps + 0.01 * found.maps.std())

    monkeypatch.setattr(detector, "predict", rounded)

    def direct(of: np.ndarray) -> Outputs:
        found = predict(of, method="direct")
        verdicts = found.image_scores > detector.image_threshold()
        return found.maps.numpy(), found.image_scores.numpy(), found.masks.numpy(), verdicts.numpy()

    parity = compare(detector, direct, SIZE, given(images()))
    assert parity.compared_with == "direct" and parity.map_difference == 0
    assert parity.engine_difference == pytest.approx(0.01, rel=0.01)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(DataError, match=r"image 0: is 80x72, the export takes 80x60; .*--size 72,80"):
        compare(untrained(), runner(untrained()), (60, 80), given(images()))


def test_nothing_is_written_of_a_wrong_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = untrained()

    def wrong(*_: object) -> Built:
        return Built(runner(detector, 1.0), lambda _: {"": b"never"})

    monkeypatch.setitem(export.FORMATS, "onnx", wrong)
    with pytest.raises(ParityError):
        export_detector(detector, tmp_path / "m.onnx", size=SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "to", "told"),
    [("m.bin", "openvino", "name it m.xml"), ("m.onnx", "onnx", "say which height and width")],
)
def test_what_cannot_be_is_refused_at_once(name: str, to: str, told: str, tmp_path: Path) -> None:
    size = SIZE if to == "openvino" else None
    with pytest.raises(DataError, match=told):
        export_detector(untrained(), tmp_path / name, to, size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [Path("/home/someone/photos"), "/home/someone/photos"])
def test_it_tells_no_folders_of_the_machine_of_the_training(place: Path | str) -> None:
    detector = untrained(penalty=place)
    detector.teachers = ["/home/someone/t.safetensors"]
    told = json.dumps(_told_of(detector))
    assert "someone" not in told
    assert json.loads(told)["settings"]["penalty"] == "photos"
    assert json.loads(told)["settings"]["teachers"] == ["t.safetensors"]


def test_other_detectors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="knn cannot be exported"):
        export_detector(METHODS["knn"](), tmp_path / "m.onnx")


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_missing_package_is_named_with_the_command(to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if to == "openvino":
        pytest.importorskip("onnxscript", reason="needs the extra onnx")
    monkeypatch.setitem(sys.modules, {"onnx": "onnxscript"}.get(to, to), None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'stadx\[{to}\]'"):
        export_detector(untrained(), tmp_path / "m.xml", to, size=SIZE)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_torch_s_program_loads_without_stadx(tmp_path: Path) -> None:
    detector, file = untrained(stride=8), tmp_path / "m.pt2"
    exported = export_detector(detector, file, "torch", size=SIZE, check=given(images()[:1]))
    assert exported.files == [file, tmp_path / "m.pt2.json"] and exported.parity.real
    assert check_export(file)["parity"] == json.loads((tmp_path / "m.pt2.json").read_text())["parity"]
    np.save(tmp_path / "frames.npy", frames(images(seed=3)[:3]))
    code = (
        "import sys; sys.modules['stadx'] = None\n"
        "import json, numpy, torch\n"
        "told = {'stadx.json': ''}\n"
        "program = torch.export.load(sys.argv[1], extra_files=told).module()\n"
        "limits = [torch.tensor([json.loads(told['stadx.json'])['thresholds'][one]]) for one in ('pixel', 'image')]\n"
        "maps, *_ = program(torch.from_numpy(numpy.load(sys.argv[2])), *limits)\n"
        "numpy.save(sys.argv[3], maps.numpy())\n"
    )
    subprocess.run([sys.executable, "-c", code, file, tmp_path / "frames.npy", tmp_path / "maps.npy"], check=True)
    expected = detector.predict(images(seed=3)[:3]).maps.numpy()
    assert np.abs(np.load(tmp_path / "maps.npy") - expected).max() < 1e-3 * expected.std()
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    with pytest.raises(ModelFileError, match=r"m\.pt2: was changed after the export"):
        check_export(file)
    (tmp_path / "m.pt2.json").unlink()
    with pytest.raises(ModelFileError, match=r"m\.pt2\.json: cannot be read"):
        check_export(file)


def test_openvino_takes_the_thresholds_as_inputs(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    detector, file = untrained(stride=8), tmp_path / "m.xml"
    exported = export_detector(detector, file, "openvino", size=SIZE)
    assert [one.name for one in exported.files] == ["m.xml", "m.bin", "m.xml.json"]
    assert set(check_export(file)["sha256"]) == {"m.xml", "m.bin"}
    core = openvino.Core()
    model = core.read_model(file)
    told = json.loads(model.get_rt_info(["stadx"]).astype(str))
    assert told["thresholds"]["pixel"] == detector.threshold_
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    low = np.array([-1e9], np.float32)
    found = compiled({"images": frames(images()), "pixel_threshold": low, "image_threshold": low})
    expected = detector.predict(images()).maps.numpy()
    assert np.abs(found["maps"] - expected).max() < 1e-3 * expected.std() and found["masks"].all()


def test_openvino_in_bfloat16(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    core, detector, file = openvino.Core(), untrained(stride=8), tmp_path / "m.xml"
    tested = given(images())

    def exported() -> Parity:
        return export_detector(detector, file, "openvino", size=SIZE, check=tested, precision="bfloat16").parity

    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(DataError, match="does not compute in bfloat16"):
            exported()
        return
    scores = detector.predict(images()).image_scores.sort().values
    detector.set_image_threshold(float(scores[1:3].mean()))
    parity = exported()
    assert 1e-3 < parity.map_difference < 0.5 and check_export(file)["inference_precision"] == "bfloat16"


def test_the_command_compares_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torch_free(graph: ExportedDetector, *_: object) -> Built:
        return Built(runner(detector), lambda told: {"": json.dumps(told, default=str).encode()})

    monkeypatch.setitem(export.FORMATS, "onnx", torch_free)
    detector, model, out = untrained(image_size=SIZE), tmp_path / "m.safetensors", tmp_path / "m.onnx"
    detector.save(model)
    for number, image in enumerate(given(images())):
        write_image(tmp_path / "good" / f"{number}.png", image)

    def run(*options: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["export", str(model), *map(str, options)], env={"COLUMNS": "200"})
        return result.exit_code, " ".join(result.output.split())

    code, said = run("--out", out, "--check", tmp_path / "good")
    assert code == 0 and "of 4 images the maps differ" in said and "m.onnx.json" in said
    assert json.loads(out.read_text())["input"] == {"height": 72, "width": 80, "colours": "rgb", "dtype": "uint8"}
    code, said = run("--out", out, "--size", "72,81")
    assert code == 0 and "Real images were not compared" in said
    code, said = run("--out", out, "--size", "9", "--check", tmp_path / "good")
    assert code == 2 and "is not like 700,900" in said
    code, said = run("--out", model)
    assert code == 2 and "is a file that is read" in said and torch.is_tensor(Detector.load(model).score(images()))


def test_figures_that_are_not_numbers_do_not_hold() -> None:
    assert not Parity(1, True, float("nan"), "engine", 0.0, 0.0, 0.0, 0.0, 0, 0).holds
