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


def hard_masks(*, rows: int, columns: int, side: int, word: int) -> dict[str, NDArray[np.bool_]]:
    """Masks by name, of about this size; squares of `side`; `word`: how many pixels of a row are labelled as one."""
    return {
        "full": np.ones((rows, columns), dtype=bool),
        "nothing": np.zeros((rows, columns), dtype=bool),
        "chessboard": np.indices((rows - 2, columns - 1)).sum(0) % 2 == 0,
        "spiral": spiral(side),
        "spiral_mirrored": spiral(side)[::-1, ::-1].copy(),
        "snake": snake(rows, columns),
        "comb": comb(rows - 2, columns),
        "comb_upside_down": comb(rows - 2, columns)[::-1].copy(),
        "diagonal": np.eye(side, dtype=bool),
        "antidiagonal": np.eye(side, dtype=bool)[:, ::-1].copy(),
        "one_pixel": np.ones((1, 1), dtype=bool),
        "row": np.arange(300)[None] % 64 != 0,
        "column": np.arange(300)[:, None] % 7 != 0,
        "last_bits": np.indices((5, 256))[1] % word == word - 1,
    }
