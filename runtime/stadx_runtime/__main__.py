"""`python -m stadx_runtime FILE`: check an export, say what it is, and time a cold start."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np

from .runtime import ExportFileError, Runtime

_COLD = (
    "import sys, numpy; from stadx_runtime import Runtime; "
    "runtime = Runtime(sys.argv[1], threads=int(sys.argv[2]) or None); "
    "runtime.predict(numpy.zeros((runtime.height, runtime.width, 3), runtime.dtype))"
)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m stadx_runtime", description=__doc__)
    parser.add_argument("file", help="ONNX file from stadx export")
    parser.add_argument(
        "--repeat", type=int, default=5, help="predictions after the first, of which the median is told"
    )
    parser.add_argument("--threads", type=int, help="how many a prediction may use; default: one for each core")
    options = parser.parse_args()
    begun = time.perf_counter()
    try:
        runtime = Runtime(options.file, threads=options.threads)
    except ExportFileError as error:
        sys.exit(f"error: {error}")
    load = time.perf_counter() - begun
    image = np.zeros((runtime.height, runtime.width, 3), runtime.dtype)
    times = []
    for _ in range(max(options.repeat, 0) + 1):
        begun = time.perf_counter()
        runtime.predict(image)
        times.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", _COLD, options.file, str(options.threads or 0)], check=True)
    seconds = {
        "cold start": time.perf_counter() - begun,  # of a new process, to its first prediction
        "load": load,
        "first prediction": times[0],
        "median of the next": statistics.median(times[1:]) if times[1:] else None,
    }
    print(json.dumps({**runtime.description, "seconds": seconds}, indent=2))


if __name__ == "__main__":
    main()
