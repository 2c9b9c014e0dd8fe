"""AU-sPRO by its definition."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stadx.metrics import SPRO_LIMITS

Array = NDArray[Any]


def brute_force(maps: list[Array], regions: list[list[Array]], saturation: list[list[float]]) -> dict[float, float]:
    """Every distinct score is tried as a threshold, and all pixels are looked at for each."""
    background = np.concatenate(
        [m[~np.any([np.zeros(m.shape, bool), *r], axis=0)] for m, r in zip(maps, regions, strict=True)]
    ).astype(np.float64)
    parts = [
        (m[r != 0].astype(np.float64), min(s, np.count_nonzero(r)))
        for m, all_r, all_s in zip(maps, regions, saturation, strict=True)
        for r, s in zip(all_r, all_s, strict=True)
    ]
    points = [(0.0, 0.0)]
    for t in sorted({float(x) for m in maps for x in m.ravel()}, reverse=True):
        spro = math.fsum(min(np.count_nonzero(p >= t) / s, 1.0) for p, s in parts) / len(parts)
        points.append((np.count_nonzero(background >= t) / background.size, spro))
    points.append((1.0, 1.0))
    return {limit: area(points, limit) for limit in SPRO_LIMITS}


def area(points: list[tuple[float, float]], limit: float) -> float:
    areas = []
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 > limit:
            areas.append((limit - x0) * (2 * y0 + (y1 - y0) * (limit - x0) / (x1 - x0)) / 2)
            break
        areas.append((x1 - x0) * (y0 + y1) / 2)
    return math.fsum(areas) / limit
