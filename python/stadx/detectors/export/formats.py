"""The formats of exports: each makes of a graph something that runs, to be compared, and the files to be written."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stadx.core.errors import DataError, MissingExtraError

from .graph import ExportedDetector, example_inputs
from .parity import ExportPrecision, Outputs, Run
from .sealing import sealed
from .thresholds import Thresholds

FormatName = Literal["onnx", "torch", "openvino"]
METADATA = "stadx"
"""Key of the description in an export's own metadata."""
_HINTS: Mapping[ExportPrecision, str] = {"float32": "f32", "bfloat16": "bf16"}  # OpenVINO's words
_OPSET = 20  # of ONNX
_OUTPUTS = ("maps", "image_scores", "masks", "is_anomalous")


class Built(NamedTuple):
    """A graph in one format.

    Attributes:
        run: runs what will be written.
        files: their contents by suffix, "" that of the name itself, with a description inside.
    """

    run: Run
    files: Callable[[Mapping[str, Any]], dict[str, bytes]]


def as_onnx(graph: ExportedDetector, size: tuple[int, int], thresholds: Thresholds) -> Built:
    """For onnxruntime and others: thresholds are inputs that may be left out, as they have defaults."""
    onnx, runtime = _onnx_packages()
    model = _onnx_model(graph, size)
    for name, value in thresholds.inputs().items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))

    def files(description: Mapping[str, Any]) -> dict[str, bytes]:
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {METADATA: json.dumps(description, default=str)})
        return {"": sealed(model.SerializeToString())}

    options = runtime.SessionOptions()
    options.log_severity_level = 3  # else it warns of the inputs that have defaults
    session = runtime.InferenceSession(files({})[""], options, providers=["CPUExecutionProvider"])

    def run(images: NDArray[Any]) -> Outputs:
        maps, scores, masks, verdicts = session.run(_OUTPUTS, {"images": images})
        return maps, scores, masks, verdicts

    return Built(run, files)


def as_torch(graph: ExportedDetector, size: tuple[int, int], thresholds: Thresholds) -> Built:
    """PyTorch's exported program (.pt2), which needs PyTorch alone: torch.export.load(FILE).module()."""
    program = _program(graph, size)

    def files(description: Mapping[str, Any]) -> dict[str, bytes]:
        buffer = io.BytesIO()
        with _quiet():
            torch.export.save(program, buffer, extra_files={f"{METADATA}.json": json.dumps(description, default=str)})
        return {"": buffer.getvalue()}

    loaded = torch.export.load(io.BytesIO(files({})[""])).module()
    limits = [torch.from_numpy(value) for value in thresholds.inputs().values()]

    @torch.no_grad()
    def run(images: NDArray[Any]) -> Outputs:
        maps, scores, masks, verdicts = (x.numpy() for x in loaded(torch.from_numpy(images), *limits))
        return maps, scores, masks, verdicts

    return Built(run, files)


def as_openvino(
    graph: ExportedDetector, size: tuple[int, int], thresholds: Thresholds, precision: ExportPrecision = "float32"
) -> Built:
    """OpenVINO's two files; its inputs have no defaults, so that the thresholds have to be given.

    They are the same whatever the precision, which is chosen where they are compiled.
    """
    _onnx_packages()
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("export to OpenVINO needs openvino; run: pip install 'stadx[openvino]'") from error
    core = openvino.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise DataError("this processor does not compute in bfloat16, so it cannot be compared; export it in float32")
    model = core.read_model(model=_onnx_model(graph, size).SerializeToString())

    def files(description: Mapping[str, Any]) -> dict[str, bytes]:
        model.set_rt_info(json.dumps(description, default=str), [METADATA])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.xml"
            openvino.save_model(model, file, compress_to_fp16=False)
            return {"": file.read_bytes(), ".bin": file.with_suffix(".bin").read_bytes()}

    parts = files({})
    weights = openvino.Tensor(np.frombuffer(parts[".bin"], np.uint8))
    compiled = core.compile_model(
        core.read_model(model=parts[""], weights=weights), "CPU", {"INFERENCE_PRECISION_HINT": _HINTS[precision]}
    )

    def run(images: NDArray[Any]) -> Outputs:
        found = compiled({"images": images, **thresholds.inputs()})
        maps, scores, masks, verdicts = (np.asarray(found[name]) for name in _OUTPUTS)
        return maps, scores, masks.astype(bool), verdicts.astype(bool)

    return Built(run, files)


FORMATS: Mapping[FormatName, Callable[[ExportedDetector, tuple[int, int], Thresholds], Built]] = {
    "onnx": as_onnx,
    "torch": as_torch,
    "openvino": as_openvino,
}


def _onnx_packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnx.numpy_helper
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx uses it)
    except ImportError as error:
        raise MissingExtraError(
            f"export to ONNX needs onnx, onnxruntime and onnxscript ({error}); run: pip install 'stadx[onnx]'"
        ) from error
    return onnx, onnxruntime


def _program(graph: ExportedDetector, size: tuple[int, int]) -> torch.export.ExportedProgram:
    """The graph of PyTorch's operations, of a batch of any size."""
    with torch.no_grad(), _quiet():
        return torch.export.export(
            graph, example_inputs(size, graph.taken.depth), dynamic_shapes=({0: torch.export.Dim("batch")}, None, None)
        )


def _onnx_model(graph: ExportedDetector, size: tuple[int, int]) -> Any:
    """The same as `onnx.ModelProto`."""
    names = "images", "pixel_threshold", "image_threshold"
    with _quiet():
        exported = torch.onnx.export(
            _program(graph, size),
            input_names=names,
            output_names=_OUTPUTS,
            dynamic_shapes=({0: "batch"}, None, None),
            external_data=False,
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    return exported.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on itself and on torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
