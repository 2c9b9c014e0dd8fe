"""What float16, bfloat16 and int8 would gain in an exported graph, and what they would change.

python benchmarks/export_precision.py bottle.safetensors DATA/bottle

Of each way, beside float32: time of an image (they take turns, see `timing`), difference of the maps in standard
deviations of a map, the largest of a pixel and the root of the mean square, image scores' in standard deviations of
those of good images, verdicts that differ, image AUROC and AU-PRO. int8 is ONNX Runtime's static quantisation (QDQ, per
channel) of the convolutions, calibrated on good training images, which OpenVINO runs, too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export_gate import spread
from stadx.data.layouts import open_category
from stadx.data.masks import read_mask
from stadx.data.source import read_batch
from stadx.detectors.export import export_detector
from stadx.detectors.registry import load_model
from stadx.metrics import au_pro, auroc
from timing import Competitor, interleaved

Found = tuple[NDArray[np.float32], NDArray[np.float32]]
Way = Callable[[NDArray[np.uint8]], Found]


class Frames(CalibrationDataReader):
    """Images one by one."""

    def __init__(self, frames: Sequence[NDArray[np.uint8]], thresholds: Mapping[str, NDArray[np.float32]]) -> None:
        self._inputs: Iterator[dict[str, Any]] = iter([{"images": frame[None], **thresholds} for frame in frames])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)


def in_onnxruntime(file: Path, threads: int) -> Way:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(images: NDArray[np.uint8]) -> Found:
        maps, scores = session.run(["maps", "image_scores"], {"images": images})
        return maps, scores

    return run


def in_openvino(file: Path, precision: str, threads: int) -> Way:
    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(core.read_model(file), "CPU", hints)
    high = {name: np.full(1, 9e9, np.float32) for name in ("pixel_threshold", "image_threshold")}
    given = {name: value for name, value in high.items() if any(name in port.names for port in compiled.inputs)}

    def run(images: NDArray[np.uint8]) -> Found:
        found = compiled({"images": images, **given})
        return found["maps"].copy(), found["image_scores"].copy()

    return run


def quantised(file: Path, out: Path, frames: Sequence[NDArray[np.uint8]], ends: bool) -> Path:
    """The graph with int8 convolutions; with `ends`, each network's first and last stay float32."""
    graph = onnx.load(file).graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    shapes = {weight.name: weight.dims for weight in graph.initializer}
    excluded = [n.name for n in convolutions if ends and (shapes[n.input[1]][1] == 3 or shapes[n.input[1]][0] == 128)]
    thresholds = {name: np.zeros(1, np.float32) for name in ("pixel_threshold", "image_threshold")}
    quantize_static(
        file,
        out,
        Frames(frames, thresholds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=excluded,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    return out


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("category", type=Path)
    parser.add_argument("--images", type=int, default=10, help="good images, and as many with defects, to compare on")
    parser.add_argument("--calibrate", type=int, default=16, help="good training images to quantise with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    detector, category = load_model(options.model), open_category(options.category)
    test = [[item.path for item in category.test if item.is_good is kind] for kind in (True, False)]
    files = [spread(of, options.images) for of in test]
    masks = {item.path: item.mask for item in category.test}
    frames = [read_batch([file]).permute(0, 2, 3, 1).contiguous().numpy() for of in files for file in of]
    good = [read_batch([file])[0].permute(1, 2, 0).numpy() for file in spread(category.train, options.calibrate)]
    labels = np.repeat([False, True], [len(of) for of in files])
    with tempfile.TemporaryDirectory() as folder:
        plain, both, inner = (Path(folder) / f"{name}.onnx" for name in ("plain", "both", "inner"))
        export_detector(detector, plain, size=frames[0].shape[1:3], check=[files[0][0], files[1][0]])
        quantised(plain, both, good, ends=False), quantised(plain, inner, good, ends=True)
        ways = {
            "ONNX Runtime, float32": in_onnxruntime(plain, options.threads),
            "ONNX Runtime, int8": in_onnxruntime(both, options.threads),
            "ONNX Runtime, int8 but each first and last convolution": in_onnxruntime(inner, options.threads),
            "OpenVINO, float32": in_openvino(plain, "f32", options.threads),
            "OpenVINO, bfloat16": in_openvino(plain, "bf16", options.threads),
            "OpenVINO, float16": in_openvino(plain, "f16", options.threads),
            "OpenVINO, int8": in_openvino(both, "f32", options.threads),
            "OpenVINO, int8 but each first and last convolution": in_openvino(inner, "f32", options.threads),
        }
        found = {name: [run(frame) for frame in frames] for name, run in ways.items()}
        competitors = [Competitor(name, lambda run=run: run(frames[0])) for name, run in ways.items()]  # type: ignore[misc]
        times = {result.competitor.name: result.median for result in interleaved(competitors, options.rounds)}
    size = frames[0].shape[1:3]
    every = [file for of in files for file in of]
    truth = [np.zeros(size, bool) if (m := masks[file]) is None else read_mask(m, size, file) for file in every]
    reference = found["ONNX Runtime, float32"]
    known = np.array([scores[0] for _, scores in reference])
    print(f"| | ms | × | pixel | r.m.s. | image score | verdicts | AUROC | AU-PRO |\n|{'---|' * 9}")
    for name, results in found.items():
        pairs = [((maps - exact) / exact.std()) for (maps, _), (exact, _) in zip(results, reference, strict=True)]
        scores = np.array([of[0] for _, of in results])
        verdicts = int(((scores > detector.image_threshold()) != (known > detector.image_threshold())).sum())
        ms, base = times[name] or np.nan, times["ONNX Runtime, float32"] or np.nan
        print(
            f"| {name} | {1e3 * ms:.0f} | {base / ms:.2f} | {max(np.abs(pair).max() for pair in pairs):.4f} "
            f"| {np.sqrt(np.mean([np.square(pair).mean() for pair in pairs])):.4f} "
            f"| {np.abs(scores - known).max() / known[~labels].std():.4f} | {verdicts} of {len(labels)} "
            f"| {auroc(scores, labels):.4f} | {au_pro([maps[0] for maps, _ in results], truth):.4f} |"
        )


if __name__ == "__main__":
    main()
