"""Areas under curves given by points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
