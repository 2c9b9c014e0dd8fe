"""Areas under curves: those given by points, and those of regions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def area_up_to(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """Area under straight lines between points up to x = limit, divided by the limit.

    Args:
        x, y: [n] each; x rises from 0 to at least `limit`.
        limit: above 0; between two points y is interpolated.
    """
    inside = int(np.searchsorted(x, limit, side="right"))
    head, values = x[:inside], y[:inside]
    if inside < len(x) and head[-1] < limit:
        part = (limit - head[-1]) / (x[inside] - head[-1])
        head, values = np.append(head, limit), np.append(values, values[-1] + part * (y[inside] - values[-1]))
    return float(np.sum(np.diff(head) * (values[1:] + values[:-1])) / 2 / limit)


def area_by_region(
    above: Tensor, equal: Tensor, sum_by_region: Callable[[Tensor], NDArray[np.float64]], end: float
) -> NDArray[np.float64]:
    """Area under each region's curve of pixels ≥ threshold against background pixels ≥ threshold, float64 [R].

    Args:
        above, equal: background pixels above and equal to each value, int64 [E].
        sum_by_region: Σ values[at] over the pixels of every region, of int64 [E].
        end: background pixels at which the curves end.
    """
    # A pixel is a step from 0 to 1 between the background counts `above` and `above + equal`; its area up to
    # `end` is end − (above + equal / 2) where the step is over by then. Whole numbers are summed exactly.
    whole = int(end)
    over = above + equal <= whole
    sums = sum_by_region(torch.where(over, 2 * whole - 2 * above - equal, 0)) / 2
    sums += (end - whole) * sum_by_region(over.long())
    last = math.ceil(end)
    for k in ((above < last) & ~over).nonzero().flatten():  # at most one value: the limit lies within its ties
        steep = (end - int(above[k])) ** 2 / (2 * int(equal[k]))
        here = torch.zeros_like(above)
        here[k] = 1
        sums += steep * sum_by_region(here)
    return sums
