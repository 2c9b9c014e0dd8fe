"""The parts of training images that a training step sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from .networks import PatchNetwork, normalize_images, pad_images


class Crop(NamedTuple):
    """Every stride-th pixel of every stride-th row of a rectangle of an image.

    Attributes:
        row, column: the first of its pixels.
        height, width: how many pixels it has along each side, counted in steps of `stride`.
        stride: from pixel to pixel; a network's own is one phase of its pooling grid.
    """

    row: int
    column: int
    height: int
    width: int
    stride: int

    def of(self, values: Tensor) -> Tensor:
        """Its pixels of a map [H, W, ...]: [height, width, ...]."""
        s = self.stride
        rows = slice(self.row, self.row + s * (self.height - 1) + 1, s)
        columns = slice(self.column, self.column + s * (self.width - 1) + 1, s)
        return values[rows, columns]

    def receptive_field(self, image: Tensor, net: PatchNetwork) -> Tensor:
        """What a network needs of an image [3, H, W], normalised and padded, to describe them: [1, 3, h, w]."""
        p = net.patch_size
        padded = pad_images(normalize_images(image[None]).float(), p // 2, net.padding)
        bottom = self.row + self.stride * (self.height - 1) + p
        right = self.column + self.stride * (self.width - 1) + p
        return padded[:, :, self.row : bottom, self.column : right]


def random_crops(
    sizes: Sequence[tuple[int, int]], side: int | None, stride: int, rng: np.random.Generator
) -> list[Crop]:
    """One crop of each image, all of the same size.

    A crop's place is uniform over all that touch the image, those that reach beyond it being moved inside: so the
    pixels near the border are seen no less often than those in the middle.

    Args:
        sizes: height and width of each image in pixels.
        side: of a crop in pixels; None, or more than there are: as large as the smallest image.
        stride: of the pixels in it.
        rng: source of the places.
    """
    smallest = [min(lengths) for lengths in zip(*sizes, strict=True)]
    counts = [max(1, min(side or length, length) // stride) for length in smallest]
    crops = []
    for size in sizes:
        row, column = (
            _place(length, stride * (n - 1) + 1, stride, rng) for length, n in zip(size, counts, strict=True)
        )
        crops.append(Crop(row, column, counts[0], counts[1], stride))
    return crops


def _place(length: int, span: int, stride: int, rng: np.random.Generator) -> int:
    last = length - span
    place = int(rng.integers(1 - span, length))
    if 0 <= place <= last:
        return place
    inwards = int(rng.integers(min(stride, last + 1)))  # else the border would always be in the same phase
    return inwards if place < 0 else last - inwards
