"""How much memory a training takes: `python tests/support/training_peak.py HEIGHT WIDTH` prints the peak in MiB.

With a third argument that many images, and networks an eighth as wide.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from small import good_images

from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.settings import DetectorSettings
from stadx.detectors.student_teacher.students import train_students
from stadx.networks import patch_network
from stadx.teachers.teacher_files import load_teachers


def peak() -> int:
    """Most memory in MiB that this process had; `resource` would count that of the one it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


def train(height: int, width: int) -> None:
    (teacher,) = load_teachers((33,), ())
    source = ImageSource(good_images(2, (height, width)), None)
    train_students(teacher, source, [0], DetectorSettings(students=1, steps=2), held_out=[1])


def train_narrow(height: int, width: int, images: int) -> None:
    layers = patch_network._LAYERS[33]
    patch_network._LAYERS[33] = tuple((k, n // 8 if isinstance(n, int) else n, pooled) for k, n, pooled in layers)
    teacher = patch_network.PatchNetwork(33)
    teacher.init_from_data(torch.randn(64, 3, 33, 33), torch.Generator().manual_seed(0))
    source = ImageSource(good_images(1, (height, width)).expand(images, -1, -1, -1), None)
    settings = DetectorSettings(students=1, steps=2)
    train_students(teacher.eval().requires_grad_(False), source, range(images), settings)


if __name__ == "__main__":
    size = int(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        train_narrow(*size, int(sys.argv[3]))
    else:
        train(*size)
    print(peak())
