"""Smoothing of anomaly maps, as an option: the paper has none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from stadx.networks.padding import padded_positions

_REACH = 4  # standard deviations after which the Gaussian is cut off


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of maps [B, H, W], reflected at the border: the same shape and dtype; sigma 0 changes nothing.

    Args:
        maps: anomaly scores.
        sigma: standard deviation in pixels.
    """
    return next(smooth_bands([maps], maps.shape[1], sigma))


def smooth_bands(bands: Iterable[Tensor], height: int, sigma: float) -> Iterator[Tensor]:
    """`smooth` of maps that come in bands of rows [B, n, W], from top to bottom; gives bands of other heights."""
    if sigma == 0:
        yield from bands
        return
    reach = _reach(sigma)
    kept, first, done = torch.empty(0), 0, 0  # smoothed along the rows; the first one kept; the next to give
    for band in bands:
        rows = _along_rows(band, sigma)
        kept = torch.cat([kept, rows], 1) if kept.numel() else rows
        known = first + kept.shape[1]
        ready = height if known == height else known - reach
        if ready > done:
            yield _along_columns(kept, range(done, ready), first, height, sigma)
            done = ready
            drop = max(0, done - reach - first)
            kept, first = kept[:, drop:], first + drop


def _reach(sigma: float) -> int:
    return math.ceil(_REACH * sigma)


def _gaussian(sigma: float, maps: Tensor) -> Tensor:
    reach = _reach(sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    return (weights / weights.sum()).to(maps)


def _along_rows(maps: Tensor, sigma: float) -> Tensor:
    width = maps.shape[2]
    index = padded_positions(0, width + 2 * _reach(sigma), width, _reach(sigma)).to(maps.device)
    padded = maps.index_select(2, index)
    return F.conv2d(padded[:, None], _gaussian(sigma, maps)[None, None, None])[:, 0]


def _along_columns(maps: Tensor, rows: range, first: int, height: int, sigma: float) -> Tensor:
    """Smoothed rows of maps of which `maps` [B, n, W] holds the rows from `first` on."""
    index = padded_positions(rows.start, rows.stop + 2 * _reach(sigma), height, _reach(sigma)).to(maps.device)
    padded = maps.index_select(1, index - first)
    return F.conv2d(padded[:, None], _gaussian(sigma, maps)[None, None, :, None])[:, 0]
