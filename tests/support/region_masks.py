"""Masks from the forms that annotation tools give regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decoded(counts: list[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of COCO's run lengths, as the format defines them."""
    assert sum(counts) == shape[0] * shape[1] and all(counts[1:])
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(shape[::-1]).T


def filled(polygon: list[list[int]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres lie in a polygon of level and upright lines, by the even-odd rule."""
    inside = np.zeros(shape, bool)
    for (x, y), (next_x, next_y) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        assert (x == next_x) != (y == next_y)
        if x == next_x:
            inside[min(y, next_y) : max(y, next_y), x:] ^= True
    return inside
