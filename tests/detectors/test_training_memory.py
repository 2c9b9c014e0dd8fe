"""Training on large images at their own size takes little more memory than what it keeps of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

SCRIPT = Path(__file__).parents[1] / "support" / "training_peak.py"


def peak_of_training(height: int, width: int, *images: int) -> int:
    """In a process of its own."""
    command = [sys.executable, str(SCRIPT), str(height), str(width), *map(str, images)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_the_peak_of_training_on_large_images() -> None:
    """Described as a whole they took 3.4 GB a megapixel."""
    added = peak_of_training(1500, 1100) - peak_of_training(64, 64)
    kept = 128 * 1500 * 1100 * 2 >> 20  # the teacher's descriptors, as float16
    assert kept < added < kept + 700, (added, kept)


def test_the_peak_of_training_does_not_grow_with_the_images() -> None:
    """Ten times 100 MB of the teacher's descriptors were kept, up to 4 GiB."""
    assert peak_of_training(640, 640, 10) < 1500
