"""What `predict` costs beside scoring as images go on: bytes for scores.jsonl, time and memory of each image.

    python benchmarks/long_predict.py                          # 100,000 images
    python benchmarks/long_predict.py --images 20000 --no-pictures

Scoring itself is a constant. Times are medians, of the clock and of the processor, of the images just before number
1,000 and just before the last; memory is that of the process then, above which nothing may grow.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))

import numpy as np
import torch
from brightness import Brightness

from memory import resident
from stadx.core import growing
from stadx.data.images import write_image
from stadx.evaluation.output_settings import OutputSettings
from stadx.evaluation.prediction import SCORES_FILE, predict_files

FIRST = 1000
WINDOW = 500  # images whose time is looked at


class Constant(Brightness):
    """Every pixel of every image has the same score."""

    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        return torch.full((len(images), *images.shape[2:]), 0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--no-pictures", action="store_true", help="scores.jsonl alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    outputs = OutputSettings(pictures=()) if given.no_pictures else OutputSettings()
    written, write = 0, os.write

    def counted(handle: int, content: bytes) -> int:
        nonlocal written
        done = write(handle, content)
        written += done
        return done

    moments: dict[int, tuple[float, float]] = {}
    memory: dict[int, int] = {}
    wanted = {FIRST, given.images}

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if any(last - WINDOW <= done <= last for last in wanted):
            moments[done] = time.perf_counter(), time.process_time()
        if done in wanted:
            memory[done] = resident()

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        write_image(source / "first.png", np.full((4, 4, 3), 90, np.uint8))
        paths = [source / f"{number:06}.png" for number in range(given.images)]
        for path in paths:
            path.symlink_to("first.png")
        growing.os.write = counted  # type: ignore[assignment]
        try:
            predict_files(Constant(), paths, out, outputs=outputs, progress=progress)
        finally:
            growing.os.write = write
        size = (out / SCORES_FILE).stat().st_size
    print(
        f"{given.images:,} images: {SCORES_FILE} has {size:,} bytes, written for it {written:,} ({written / size:.2f})"
    )
    for last in sorted(wanted):
        steps = range(last - WINDOW + 1, last + 1)
        clock, processor = (
            1000 * statistics.median(moments[i][kind] - moments[i - 1][kind] for i in steps) for kind in (0, 1)
        )
        print(f"image {last:>9,}: {clock:.3f} ms, processor {processor:.3f} ms, {memory[last] / 2**20:.1f} MiB")
    grown = memory[given.images] - memory[FIRST]
    print(f"memory grows by {grown / max(1, given.images - FIRST):.1f} bytes an image")


if __name__ == "__main__":
    main()
