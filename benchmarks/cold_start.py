"""stadx-runtime in an environment of its own: its size, and the time from nothing to a first prediction.

`python benchmarks/cold_start.py` builds the environment with pip, exports a small model with random weights, whose cost
is a trained one's, and starts new processes with it. The first of them may read its files from the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
import venv
from pathlib import Path

from exports import random_detector
from stadx.detectors.export import export_detector

RUNTIME = Path(__file__).resolve().parents[1] / "runtime"
SIZES = """
import importlib.metadata as metadata, json
files = {d.name: [f.locate() for f in d.files if f.locate().is_file()] for d in metadata.distributions()}
print(json.dumps({name: [sum(f.stat().st_size for f in of if compiled or f.suffix != ".pyc") for compiled in (1, 0)]
                  for name, of in files.items()}))
"""
STEPS = """
import json, sys, time
begun = time.perf_counter()
import numpy
from stadx_runtime import Runtime
imported = time.perf_counter()
runtime = Runtime(sys.argv[1])
loaded = time.perf_counter()
runtime.predict(numpy.zeros((runtime.height, runtime.width, 3), runtime.dtype))
print(json.dumps({"import": imported - begun, "load": loaded - imported, "predict": time.perf_counter() - loaded}))
"""


def environment(folder: Path, lean: bool = False) -> Path:
    """An environment with stadx-runtime and what it needs; its Python. Lean: without what is never loaded."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", *(["--no-compile"] if lean else []), RUNTIME]
    subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
    for library in folder.glob("lib/python*/site-packages/onnxruntime/capi/libonnxruntime.so*") if lean else ():
        library.unlink()  # for programs in C; the module of Python has it all a second time
    return python


def sizes(python: Path) -> dict[str, tuple[int, int]]:
    """Bytes of every installed distribution but pip's and its like, and those without compiled Python files."""
    found = subprocess.run([python, "-c", SIZES], check=True, capture_output=True, text=True)
    return {name: size for name, size in json.loads(found.stdout).items() if name not in ("pip", "setuptools", "wheel")}


def cold_start(python: Path, model: Path) -> dict[str, float]:
    """Seconds of a new process, to its end, those of its threads together, and of its steps to its first prediction."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([python, "-c", STEPS, model], check=True, capture_output=True, text=True, env=clean)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"process": seconds, "of all cores": cores, **json.loads(done.stdout)}


def main() -> None:
    """Print sizes and times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="an ONNX file from stadx export; default: one with random weights")
    parser.add_argument("--scales", default="33", help="of that with random weights, such as 33 or 17,33,65")
    parser.add_argument("--size", default="256,256", help="of its images: H,W, which it does not resize")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--lean", action="store_true", help="without compiled Python and onnxruntime's library for C")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = environment(Path(folder) / "env", options.lean)
        found = sizes(python)
        found["together"] = sum(of[0] for of in found.values()), sum(of[1] for of in found.values())
        for name, (size, source) in sorted(found.items(), key=lambda pair: pair[1][0]):
            print(f"{name:20s} {size / 1e6:7.1f} MB   {source / 1e6:7.1f} MB without compiled Python")
        model = options.model
        if model is None:
            model = Path(folder) / "model.onnx"
            height, width = map(int, options.size.split(","))
            scales = tuple(map(int, options.scales.split(",")))
            detector = random_detector(scales, stride=4, image_size=(height, width))
            export_detector(detector, model, size=(height, width))
        print(f"{'model':20s} {model.stat().st_size / 1e6:7.1f} MB")
        runs = [cold_start(python, model) for _ in range(options.runs)]
    for name in runs[0]:
        times = [run[name] for run in runs]
        print(f"{name:20s} {statistics.median(times):7.2f} s   from {min(times):.2f} to {max(times):.2f}")


if __name__ == "__main__":
    main()
