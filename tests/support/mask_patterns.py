"""Masks whose regions are hard to follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spiral(n: int) -> NDArray[np.bool_]:
    """One line, one pixel wide, from the corner to the middle of n x n pixels."""
    mask = np.zeros((n, n), dtype=bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True
    while True:
        ahead_y, ahead_x = y + 2 * dy, x + 2 * dx
        if not (0 <= ahead_y < n and 0 <= ahead_x < n) or mask[ahead_y, ahead_x]:
            dy, dx = dx, -dy
            if not (0 <= y + 2 * dy < n and 0 <= x + 2 * dx < n) or mask[y + 2 * dy, x + 2 * dx]:
                return mask
        y, x = y + dy, x + dx
        mask[y, x] = True


def snake(rows: int, columns: int) -> NDArray[np.bool_]:
    """Every second row, joined at alternate ends: one line."""
    mask = np.zeros((rows, columns), dtype=bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


def comb(rows: int, columns: int) -> NDArray[np.bool_]:
    """Every second column, joined in the last row alone."""
    mask = np.zeros((rows, columns), dtype=bool)
    mask[:, ::2] = True
    mask[-1] = True  # teeth that meet in the last row only
    return mask
