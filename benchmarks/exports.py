"""Exported graphs beside the engine: `python benchmarks/exports.py`. They take turns, see `timing`.

Each takes its own default of threads. Networks are the real ones in size, with random weights: a prediction's cost does
not depend on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from stadx import Detector, PatchNetwork, StadxError
from stadx.detectors.export.formats import FORMATS, as_openvino
from stadx.detectors.export.graph import ExportedDetector
from stadx.detectors.export.thresholds import Thresholds
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.normalization import Normalization
from stadx.detectors.thresholds import HeldOutScores
from timing import Competitor, interleaved


def random_detector(
    scales: tuple[int, ...], stride: int, students: int = 3, image_size: int | tuple[int, int] = 256
) -> Detector:
    """A detector of the default settings whose networks learned nothing."""
    ensembles = []
    for p in scales:
        networks = [PatchNetwork(p) for _ in range(students + 1)]  # equal ones would be computed once by some runtimes
        for network in networks:
            network.init_from_data(torch.randn(64, 3, p, p))
            network.eval().requires_grad_(False)
        ensembles.append(Ensemble(networks[0], networks[1:], torch.zeros(128), torch.ones(128), True))
    settings = Detector(scales, students, image_size, stride=stride).settings
    normalizations = [Normalization(1.0, 1.0, 1.0, float("inf"), 1.0, 1.0, 2.0)] * len(scales)
    return Detector.from_parts(settings, ensembles, normalizations, HeldOutScores.of([torch.rand(4, 4)]))


def competitors(detector: Detector, size: tuple[int, int], compiled: bool) -> list[Competitor]:
    """The engine, PyTorch's convolutions, and every format that is installed, on one image."""
    frame = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    graph, thresholds = ExportedDetector(detector, size), Thresholds.of(detector)
    tensors = (torch.from_numpy(frame), *map(torch.from_numpy, thresholds.inputs().values()))
    found = [
        Competitor("stadx engine", lambda: detector.predict(frame), "stadx"),
        Competitor("stadx, PyTorch's convolutions", lambda: detector.predict(frame, method="direct")),
    ]
    for name, build in FORMATS.items():
        found.append(_built(name, lambda build=build: build(graph, size, thresholds).run, frame))  # type: ignore[misc]
    bfloat16 = partial(as_openvino, graph, size, thresholds, "bfloat16")
    found.append(_built("openvino, bfloat16", lambda: bfloat16().run, frame))
    if compiled:
        program = torch.compile(graph)
        with torch.no_grad():
            found.append(Competitor("torch.compile", lambda: program(*tensors)))
    return found


def _built(name: str, build: Callable[[], Callable[[np.ndarray], object]], frame: np.ndarray) -> Competitor:
    try:
        run = build()
    except StadxError as error:
        return Competitor(name, lambda: None, skip=str(error))
    return Competitor(f"export, {name}", lambda: run(frame))


def main() -> None:
    """Print medians and their ratios to the engine's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scales", default="33", help="such as 33 or 17,33,65")
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--size", default="256,256", help="of the camera's images: H,W")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="torch.compile as well, which needs a C++ compiler")
    options = parser.parse_args()
    height, width = map(int, options.size.split(","))
    detector = random_detector(tuple(map(int, options.scales.split(","))), options.stride)
    results = interleaved(competitors(detector, (height, width), options.compile), options.rounds)
    first = results[0].median or float("nan")
    for result in results:
        told = result.skip or f"{1e3 * (result.median or 0):9.1f} ms   {(result.median or 0) / first:5.2f} x"
        print(f"{result.competitor.name:32s} {told}")


if __name__ == "__main__":
    main()
