"""What a step of a detector's training costs, students, optimiser and all, in ms of processor time.

    python benchmarks/training_step.py --threads 1

Medians of the first steps of a training with the defaults, on drawn images, before it looks at held-out images.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

import torch

from stadx import Detector
from train_memory import draw

WARM, COUNTED = 10, 40


class Enough(Exception):
    """That many steps were seen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", default="17,33,65", help="after commas")
    parser.add_argument("--precisions", default="float32,bfloat16", help="after commas")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    precisions = given.precisions.split(",")
    print(f"| p | {' | '.join(precisions)} |\n|---|{'---|' * len(precisions)}")
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), 12, 256)
        for p in map(int, given.scales.split(",")):
            found = [step(p, precision, Path(folder)) for precision in precisions]
            print(f"| {p} | {' | '.join(f'{seconds * 1000:.0f}' for seconds in found)} |", flush=True)


def step(p: int, precision: str, images: Path) -> float:
    """Seconds of processor time."""
    times: list[float] = []

    def told(stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        if stage.startswith("Students"):
            times.append(time.process_time())
            if len(times) > WARM + COUNTED:
                raise Enough

    with contextlib.suppress(Enough):
        Detector(scales=[p], precision=precision).fit(images, progress=told)  # type: ignore[arg-type]
    return statistics.median(after - before for before, after in zip(times[WARM:], times[WARM + 1 :], strict=False))


if __name__ == "__main__":
    main()
