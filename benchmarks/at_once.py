"""How trainings share a machine's cores: several at once, and one in several processes.

    python benchmarks/at_once.py
    python benchmarks/at_once.py --only torchrun --steps 15 --set scales=17,33,65

Times `stadx train` on drawn cloth from start to end, the ways in turn, with nothing else running: one training with a
thread for each core; as many at once as there are cores, one thread each; and one whose students, or scales, `torchrun`
shares out to as many processes of one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stadx.core.devices import facts
from train_memory import draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=("at-once", "torchrun"), help="default: both comparisons")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="of `stadx train`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        trained = Trained(Path(place), given.steps, [f"--{option}" for option in given.set], given.cores)
        trained.images.mkdir()
        draw(trained.images, given.images, given.size)
        ways: dict[str, Callable[[], float]] = {f"one training, {given.cores} threads": trained.one}
        if given.only != "torchrun":
            ways[f"{given.cores} trainings at once, a thread each"] = trained.at_once
        if given.only != "at-once":
            ways[f"one training, {given.cores} processes of torchrun, a thread each"] = trained.shared_out
            ways["one training, one thread"] = trained.one_thread
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, way in ways.items():
                took[name].append(way())
    chosen = " ".join(given.set) or "defaults"
    print(f"{given.images} images of {given.size}², {given.steps} steps, {chosen}; {facts()['instruction set']}\n")
    print("| | median, s | of the first | each |\n|---|---|---|---|")
    first = statistics.median(next(iter(took.values())))
    for name, seconds in took.items():
        median = statistics.median(seconds)
        print(f"| {name} | {median:.1f} | {median / first:.2f} | {', '.join(f'{s:.1f}' for s in seconds)} |")


class Trained:
    """The ways of training; each gives the seconds until the last model is written."""

    def __init__(self, folder: Path, steps: int, options: list[str], cores: int) -> None:
        self.images = folder / "good"
        self._folder, self._cores = folder, cores
        self._settings = ["--steps", str(steps), *options]

    def one(self) -> float:
        return self._seconds([self._command(0, self._cores)])

    def one_thread(self) -> float:
        return self._seconds([self._command(0, 1)])

    def at_once(self) -> float:
        return self._seconds([self._command(number, 1) for number in range(self._cores)])

    def shared_out(self) -> float:
        run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(self._cores)]
        return self._seconds([[*run, *self._command(0, 1)[1:]]])

    def _command(self, number: int, threads: int) -> list[str]:
        out = self._folder / f"{number}.stadx"
        out.unlink(missing_ok=True)
        command = [sys.executable, "-m", "stadx", "--threads", str(threads), "train", str(self.images)]
        return [*command, "--out", str(out), *self._settings]

    def _seconds(self, commands: list[list[str]]) -> float:
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        began = time.perf_counter()
        running = [
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for command in commands
        ]
        for process in running:
            _, said = process.communicate()
            if process.returncode:
                sys.exit(said.decode(errors="replace"))
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
