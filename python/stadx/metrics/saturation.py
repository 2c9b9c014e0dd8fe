"""Saturated per-region overlap (sPRO, Bergmann et al., IJCV 2022): a region is found once so many of its pixels are.

min(pixels ≥ t, s) / s is the share of a region's s highest pixels that are ≥ t. So sPRO is PRO of regions cut down to
their highest pixels, and as exact; the background stays what it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .ranks import Ranks


class HighestPixels(NamedTuple):
    """Pixels that count until their region is saturated, each region's together.

    Attributes:
        at, region: as in `Counts`, [n].
        weight: 1, and for the last pixel of a region what is left of a saturation that is no whole number: float64 [n].
    """

    at: NDArray[np.int32]
    region: NDArray[np.int32]
    weight: NDArray[np.float64]

    def sum_by_region(self, values: Tensor, regions: int) -> NDArray[np.float64]:
        """Σ weight · values[at] over the pixels of every region, of int64 [E], float64 [R]."""
        weights = values.cpu().numpy().astype(np.float64)[self.at] * self.weight
        return np.bincount(self.region, weights, regions).astype(np.float64)


def highest_pixels(ranks: Ranks) -> HighestPixels:
    """The pixels of every region up to its saturation; of equal scores it does not matter which."""
    at, region = ranks.at, ranks.region
    weight = np.ones(len(at))
    whole = np.ceil(ranks.saturation).astype(np.int64)
    last = ranks.saturation - (whole - 1)  # of the last pixel, in (0, 1]
    kept = np.ones(len(at), np.bool_)
    runs = (
        np.concatenate([[-1], np.flatnonzero(np.diff(region)), [len(region) - 1]]) + 1 if len(region) else np.zeros(1)
    )
    # a region that is cut down is one mask, whose pixels lie together; connected ones never are
    for i in np.flatnonzero((ranks.saturation < ranks.areas)[region[runs[:-1].astype(np.int64)]]):
        begin, end = int(runs[i]), int(runs[i + 1])
        k = int(region[begin])
        above = end - begin - int(whole[k])  # pixels too many; where only the highest were counted, maybe none
        if above < 0:
            continue
        scores = at[begin:end]
        lowest = np.partition(scores, above)[above]
        kept[begin:end] = scores >= lowest
        tied = begin + np.flatnonzero(scores == lowest)
        kept[tied[: int(kept[begin:end].sum()) - int(whole[k])]] = False
        weight[tied[-1]] = last[k]
    return HighestPixels(at[kept], region[kept], weight[kept])
