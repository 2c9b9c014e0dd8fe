"""Bilinear interpolation of maps that are known at every stride-th row and column."""

from __future__ import annotations

import torch
from torch import Tensor


class Upsampler:
    """Bilinear interpolation of maps known at every stride-th row and column, band by band.

    Beyond the last known row and column their values continue.
    """

    def __init__(self, height: int, width: int, stride: int) -> None:
        self._height, self._width, self._stride = height, width, stride
        self._known = 0  # rows so far
        self._last: list[Tensor] = []  # the last of them, at every column

    def push(self, known: Tensor) -> Tensor:
        """Take further rows [..., n, ⌈W / stride⌉], give the rows [..., m, W] that they complete."""
        if self._stride == 1:
            return known
        wide = _between(known, -1, range(self._width), self._stride)
        first = max(self._known - 1, 0)  # known row that rows[0] is
        self._known += known.shape[-2]
        rows = torch.cat([*self._last, wide], -2) if self._last else wide
        end = self._height
        if self._known * self._stride < self._height:
            end = (self._known - 1) * self._stride
            self._last = [rows[..., -1:, :].clone()]  # not a view, which would keep them all
        return _between(rows, -2, range(first * self._stride, end), self._stride)


def upsample(known: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Maps known at every stride-th row and column [..., h, w], all at once at every pixel [..., height, width]."""
    return Upsampler(height, width, stride).push(known)


def _between(known: Tensor, dim: int, positions: range, stride: int) -> Tensor:
    """Values at `positions` of an axis of which `known` has every stride-th, from that of positions[0] on."""
    position = torch.arange(len(positions), device=known.device)  # positions.start is a multiple of stride
    before = position // stride
    share = (position % stride).float() / stride
    if dim == -2:
        share = share[:, None]
    low = known.index_select(dim, before)
    high = known.index_select(dim, (before + 1).clamp_max(known.shape[dim] - 1))
    return low + (high - low) * share
