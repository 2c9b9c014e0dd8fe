"""A small set of images with ten classes, as CIFAR-10 comes in folders, named like MNIST's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stadx.data.images import write_image


def write_digits(folder: Path, train: int = 12, test: int = 3) -> None:
    """So many images 28 x 28 of each class, its grey value growing with the digit, with noise."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for digit in range(10):
            for i in range(count):
                pixels = np.full((28, 28, 3), 25 * digit, np.uint8) + rng.integers(0, 9, (28, 28, 3), dtype=np.uint8)
                write_image(folder / part / str(digit) / f"{i}.png", pixels)
