"""What an image costs `stadx predict`, stage by stage, in processor time of one thread.

    python benchmarks/output_stages.py

The stages of drawn PNG files take turns; the least of each is told, which other programs on the machine disturb least,
and the median. The model learned for one step: its results are worthless, its cost is that of any.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stadx import Detector, ops
from stadx.core.devices import facts
from stadx.core.files import write_bytes
from stadx.core.memory import keep_freed_memory
from stadx.data.images import write_image, write_map
from stadx.data.png import to_png
from stadx.data.value_range import read_in_range
from stadx.evaluation.output_settings import OutputSettings
from stadx.evaluation.prediction_stages import ImageStages
from stadx.evaluation.report.overlay import overlay, scale_for
from stadx.networks.engine import watched_weights
from train_memory import draw

ENGINE = ("dense_layer", "dense_score")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of the images in pixels; scored at 256")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--model", type=Path, help="a model file; default: one that learns for a step")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place, keep_freed_memory(), watched_weights():
        folder = Path(place)
        draw(folder, 4, given.size)
        files = sorted(folder.iterdir())
        detector = Detector.load(given.model) if given.model else Detector(steps=1).fit(folder)
        found = _seconds(detector, files, folder, given.rounds)
    print(f"{given.size}² PNG, scored at 256², stride {detector.stride}; {facts()['instruction set']}\n")
    print("| stage | least, ms | median, ms |\n|---|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {1e3 * min(seconds):.1f} | {1e3 * statistics.median(seconds):.1f} |")
    least = {name: min(seconds) for name, seconds in found.items()}
    alone, drawn = least["reading"] + least["scoring, regions"], sum(least[name] for name in DRAWN)
    print(f"\nReading and scoring: {1e3 * alone:.1f} ms; pictures: {1e3 * drawn:.1f} ms; {alone / (alone + drawn):.1%}")


DRAWN = ("overlay", "its PNG", "its file", "map", "mask")


def _seconds(detector: Detector, files: list[Path], out: Path, rounds: int) -> dict[str, list[float]]:
    """The processor time of each stage in each round, the first left out."""
    found: dict[str, list[float]] = {}
    spent = _spent_in_engine()
    scale = scale_for(detector.threshold_)
    stages = ImageStages(detector, out, scale, detector.stride, 0, None, OutputSettings(), False, lambda *told: None)

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.thread_time()
        result = work()
        found.setdefault(name, []).append(time.thread_time() - began)
        return result

    for number in range(rounds + 1):
        item = files[number % len(files)], "a"
        pixels = timed("reading", lambda item=item: read_in_range(item[0], detector.value_range_))
        read = stages.read(item)._replace(pixels=pixels)
        spent[0] = 0.0
        scored = timed("scoring, regions", lambda item=item, read=read: stages.score(item, read))
        found.setdefault("of which convolutions", []).append(spent[0])
        boxes = [region.box for region in scored.found.regions.found]
        picture = timed(
            "overlay",
            lambda scored=scored, boxes=boxes: overlay(
                scored.pixels, scored.scores, scale, predicted=scored.mask, boxes=boxes
            ),
        )
        content = timed("its PNG", lambda picture=picture: to_png(picture))
        timed("its file", lambda content=content: write_bytes(out / "overlay.png", content, durable=False))
        timed("map", lambda scored=scored: write_map(out / "map.tiff", scored.scores, durable=False))
        timed("mask", lambda scored=scored: write_image(out / "mask.png", scored.mask * np.uint8(255), durable=False))
    return {name: seconds[1:] for name, seconds in found.items()}


def _spent_in_engine() -> list[float]:
    """Where the operators' processor time is added up from now on."""
    spent = [0.0]

    def watched(operator: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **settings: Any) -> Any:
            began = time.thread_time()
            result = operator(*arguments, **settings)
            spent[0] += time.thread_time() - began
            return result

        return run

    for name in ENGINE:
        setattr(ops, name, watched(getattr(ops, name)))
    return spent


if __name__ == "__main__":
    main()
