"""Bilinear interpolation of maps that are known at every stride-th row and column."""

from __future__ import annotations

import torch
from torch import Tensor


class Upsampler:
    """Bilinear interpolation of maps known at every stride-th row and column, band by band.

    Beyond the last known row and column their values continue.
    """

    def __init__(self, height: int, width: int, stride: int) -> None:
        self._height, self._stride = height, stride
        column = torch.arange(width)
        self._column = column // stride
        self._share = (column % stride).float() / stride
        self._done = 0
        self._kept = torch.empty(0)

    def push(self, known: Tensor) -> Tensor:
        """Take further rows [n, ⌈W / stride⌉], give the rows [m, W] that they complete."""
        if self._stride == 1:
            return known
        right = (self._column + 1).clamp_max(known.shape[1] - 1)
        left_values, right_values = known[:, self._column], known[:, right]
        wide = left_values + (right_values - left_values) * self._share
        known_rows = torch.cat([self._kept, wide]) if self._done else wide
        first = max(self._done - 1, 0)  # known row that known_rows[0] is
        self._done = first + len(known_rows)
        self._kept = known_rows[-1:]
        last = (self._done - 1) * self._stride
        end = self._height if self._done * self._stride >= self._height else last
        row = torch.arange(first * self._stride, end)
        above = row // self._stride - first
        below = (above + 1).clamp_max(len(known_rows) - 1)
        share = (row % self._stride).float()[:, None] / self._stride
        return known_rows[above] + (known_rows[below] - known_rows[above]) * share


def upsample(known: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Maps known at every stride-th row and column [B, h, w], bilinearly at every pixel [B, height, width].

    Beyond the last known row and column their values continue; the same as `Upsampler`, all at once.
    """
    if stride == 1:
        return known
    for dim, length in ((2, width), (1, height)):
        position = torch.arange(length, device=known.device)
        before = position // stride
        share = (position % stride).float() / stride
        if dim == 1:
            share = share[:, None]
        low = known.index_select(dim, before)
        high = known.index_select(dim, (before + 1).clamp_max(known.shape[dim] - 1))
        known = low + (high - low) * share
    return known
