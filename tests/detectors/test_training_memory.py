"""Training on large images at their own size takes little more memory than what it keeps of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small import good_images

from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.students import StudentSettings, train_students
from stadx.teachers.teacher_files import load_teachers

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def peak() -> int:
    """Most memory in MiB that this process had; `resource` would count that of the one it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


def train(height: int, width: int) -> None:
    (teacher,) = load_teachers((33,), ())
    source = ImageSource(good_images(2, (height, width)), None)
    train_students(teacher, source, [0], StudentSettings(students=1, steps=2), held_out=[1])


def peak_of_training(height: int, width: int) -> int:
    """In a process of its own."""
    command = [sys.executable, __file__, str(height), str(width)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_the_peak_of_training_on_large_images() -> None:
    """Described as a whole they took 3.4 GB a megapixel."""
    added = peak_of_training(1500, 1100) - peak_of_training(64, 64)
    kept = 128 * 1500 * 1100 * 2 >> 20  # the teacher's descriptors, as float16
    assert kept < added < kept + 700, (added, kept)


if __name__ == "__main__":
    train(int(sys.argv[1]), int(sys.argv[2]))
    print(peak())
