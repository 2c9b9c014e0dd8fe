"""What a training takes: the most memory of the process and processor time, stage by stage.

    python benchmarks/train_memory.py --images 250 --size 256 --steps 20
    python benchmarks/train_memory.py --images 10000 --size 256 --steps 20 --narrow

Trains with the defaults on PNG files of drawn cloth, written to a temporary folder. Memory is the process's own peak
until the stage ends (VmHWM), so that stages that do not raise it say so; time is of all threads, of a step the mean
after the first five. With `--narrow` the networks have an eighth of the channels, descriptors too: what grows with the
number of images is as large, in a fiftieth of the time; what a single image takes, and the networks, less.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from memory import peak_so_far
from stadx import Detector, PatchNetwork
from stadx.core.files import write_model
from stadx.data.demo import weave
from stadx.detectors.student_teacher import targets
from stadx.networks import patch_network
from stadx.teachers.teacher_files import TEACHER_VERSION

DRAWN = 16  # pieces of cloth; other images are parts of them, moved
WARM = 5  # steps that do not count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--size", type=int, default=256, help="side in pixels")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--scale", type=int, default=33)
    parser.add_argument("--threads", type=int, help="of PyTorch; default: its own")
    parser.add_argument("--narrow", action="store_true", help="networks with an eighth of the channels")
    parser.add_argument("--descriptors", type=int, metavar="MIB", help="room for the teacher's; default: stadx's own")
    given = parser.parse_args()
    if given.descriptors is not None:
        targets._CACHE_BYTES = given.descriptors << 20
    if given.threads:
        torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), given.images, given.size)
        settings = {"scales": (given.scale,), "image_size": given.size, "steps": given.steps}
        if given.narrow:
            settings["teachers"] = (narrow_teacher(Path(folder, "teacher.safetensors"), given.scale),)
        stages = Stages()
        detector = Detector(**settings).fit(Path(folder, "*.png"), progress=stages)
        stages.end("Thresholds")
        detector.save(Path(folder, "model.stadx"))
        stages.end("Model file")
    print(f"{given.images:,} images of {given.size}², p = {given.scale}, {given.steps} steps, {torch.__version__}")
    print(f"{'stage':<32}{'peak, MiB':>10}{'CPU, s':>10}")
    for name, (peak, seconds) in stages.ended.items():
        print(f"{name:<32}{peak / 2**20:>10.0f}{seconds:>10.1f}")
    if stages.steps:
        print(f"A step takes {1000 * float(np.mean(stages.steps)):.0f} ms of CPU time.")


def draw(folder: Path, images: int, size: int) -> None:
    """Write PNG files, no two of the same pixels."""
    rng = np.random.default_rng(0)
    cloth = [(255 * weave.draw(size, rng, None).good.clip(0, 1)).astype(np.uint8) for _ in range(min(images, DRAWN))]
    for number in range(images):
        turns, piece = divmod(number, len(cloth))
        moved = np.roll(cloth[piece], (turns % size, turns // size), (0, 1))
        Image.fromarray(moved).save(folder / f"{number:06}.png", compress_level=1)


def narrow_teacher(path: Path, p: int) -> Path:
    """Write a teacher that was never trained; networks of this process are as narrow from then on."""
    layers = patch_network._LAYERS[p]
    patch_network._LAYERS[p] = tuple((k, n // 8 if isinstance(n, int) else n, pooled) for k, n, pooled in layers)
    generator = torch.Generator().manual_seed(0)
    net = PatchNetwork(p, descriptor_size=16)
    net.init_from_data(torch.randn(256, 3, p, p, generator=generator), generator)
    write_model(path, "teacher", TEACHER_VERSION, {"network": net.settings, "card": {}}, net.state_dict())
    return path


class Stages:
    """Notes, as a training's progress, the peak and the processor's seconds of each stage."""

    def __init__(self) -> None:
        self.ended: dict[str, tuple[int, float]] = {}
        self.steps: list[float] = []
        self._name = "Start"
        self._began = self._last = seconds()

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        now = seconds()
        if stage != self._name:
            self.ended[self._name] = peak_so_far(), self._last - self._began
            self._began, self._name = self._last, stage
        if stage.startswith("Students") and done > WARM:
            self.steps.append(now - self._last)
        self._last = now

    def end(self, name: str) -> None:
        """The last stage is over, and what came after it, which `name` is for, too."""
        self.ended[self._name] = peak_so_far(), self._last - self._began
        self._began, self._last, self._name = self._last, seconds(), name
        self.ended[name] = peak_so_far(), self._last - self._began


def seconds() -> float:
    """Of the processor, user and system, of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
