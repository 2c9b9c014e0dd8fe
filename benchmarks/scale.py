"""What a large line costs, from what one image and one model cost on this machine: core seconds, seconds, bytes.

    python benchmarks/scale.py
    python benchmarks/scale.py --size 2048 --images-a-day 5000000

Trains a model of full width for one step (its results are worthless, its cost is that of any), and scores drawn PNG
files by `stadx predict` with one thread: core seconds an image are those of the processes, less what they begin with.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from stadx import Detector
from stadx.core.devices import facts
from stadx.data.images import read_image
from train_memory import draw

FEW, MANY = 4, 20  # images of two runs, whose difference is what an image costs
DAY = 24 * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of the images in pixels; scored at 256")
    parser.add_argument("--images-a-day", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1, help="the least of so many, which others disturb least")
    parser.add_argument("--categories", type=int, default=10_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, count in (("few", FEW), ("many", MANY)):
            (folder / name).mkdir()
            draw(folder / name, count, given.size)
        model = folder / "model.stadx"
        Detector(steps=1).fit(folder / "few").save(model)
        began = time.perf_counter()
        Detector.load(model)
        load = time.perf_counter() - began
        rounds = range(given.rounds)
        decode = min(decoding(sorted((folder / "many").iterdir())) for _ in rounds)
        each = [[core_seconds(folder, model, options) for options in (BARE, ())] for _ in rounds]
        bare, full = (min(seconds) for seconds in zip(*each, strict=True))
        written = sum(file.stat().st_size for file in (folder / "full").rglob("*") if file.is_file()) / (FEW + MANY)
        size, read = model.stat().st_size, next((folder / "many").iterdir()).stat().st_size
    print(f"{given.size}² PNG, scored at 256², p = 33, three students, every 4th pixel; {facts()['instruction set']}\n")
    print("| one image | core seconds | bytes |\n|---|---|---|")
    print(f"| reading and decoding | {decode:.3f} | {read:,} read |")
    print(f"| all of `stadx predict`, scores alone | {bare:.3f} | |")
    print(f"| with overlay, map and mask | {full:.3f} | {written:,.0f} written |\n")
    print(f"Scores alone take {bare / full:.0%} of the time with all outputs.\n")
    per_day, mega = given.images_a_day, 1e6
    print(f"| {per_day:,} images a day | |\n|---|---|")
    print(f"| cores, scores alone / all outputs | {bare * per_day / DAY:.1f} / {full * per_day / DAY:.1f} |")
    print(
        f"| read / written a second | {read * per_day / DAY / mega:.1f} / {written * per_day / DAY / mega:.1f} MB |\n"
    )
    print(f"| {given.categories:,} categories | |\n|---|---|")
    print(f"| model files, {size / mega:.1f} MB each | {size * given.categories / 1e9:.0f} GB |")
    print(f"| loading one | {load:.2f} s, as long as scoring {load / bare:.1f} images |")


BARE = ("--no-overlay", "--no-map", "--no-mask")


def decoding(files: list[Path]) -> float:
    """Core seconds of reading an image."""
    began = time.process_time()
    for file in files:
        read_image(file)
    return (time.process_time() - began) / len(files)


def core_seconds(folder: Path, model: Path, options: tuple[str, ...]) -> float:
    """Of `stadx predict`, an image."""
    took = []
    for name in ("few", "many"):
        out = folder / ("bare" if options else "full") / name
        command = [sys.executable, "-m", "stadx", "--threads", "1", "predict", model, folder / name, "--out", out]
        command += ["--overwrite"]  # of the round before
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*map(str, command), *options], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return (took[1] - took[0]) / (MANY - FEW)


if __name__ == "__main__":
    main()
