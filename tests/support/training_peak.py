"""How much memory a training takes: `python tests/support/training_peak.py HEIGHT WIDTH` prints the peak in MiB."""

from __future__ import annotations

import sys
from pathlib import Path

from small import good_images

from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.settings import DetectorSettings
from stadx.detectors.student_teacher.students import train_students
from stadx.teachers.teacher_files import load_teachers


def peak() -> int:
    """Most memory in MiB that this process had; `resource` would count that of the one it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


def train(height: int, width: int) -> None:
    (teacher,) = load_teachers((33,), ())
    source = ImageSource(good_images(2, (height, width)), None)
    train_students(teacher, source, [0], DetectorSettings(students=1, steps=2), held_out=[1])


if __name__ == "__main__":
    train(int(sys.argv[1]), int(sys.argv[2]))
    print(peak())
