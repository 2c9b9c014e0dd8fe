"""Connected regions of a mask with their scores, as `stadx.evaluation.regions.find_regions`, in NumPy alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]


class FoundRegion(NamedTuple):
    """A connected region of a mask; pixels that touch at a corner belong together.

    Attributes:
        box: x and y of the top left pixel, width and height of the smallest box around it, in pixels.
        area: pixels.
        peak, mean: its highest and its mean score.
    """

    box: tuple[int, int, int, int]
    area: int
    peak: float
    mean: float


def find_regions(mask: Any, scores: Any, *, min_area: float = 0) -> tuple[list[FoundRegion], NDArray[np.int32]]:
    """Find the connected regions of a mask, in a map's scores.

    Args:
        mask: [H, W], non-zero = inside.
        scores: [H, W], real.
        min_area: regions with fewer pixels are dropped.

    Returns:
        The regions, largest peak first, and labels int32 [H, W]: 0 outside, i in the i-th region, counted from 1.

    Raises:
        ValueError: if mask and scores are not of one shape [H, W].
    """
    inside, values = np.asarray(mask) != 0, np.asarray(scores)
    if inside.ndim != 2 or inside.shape != values.shape or not inside.size:
        raise ValueError(f"mask is {list(inside.shape)} and scores {list(values.shape)}; both must be [H, W]")
    height, width = inside.shape
    labels = np.zeros(height * (width + 1), np.int32)
    # runs along the rows, of rows laid end to end with a pixel outside after each
    edges = np.flatnonzero(np.diff(np.pad(inside, ((0, 0), (0, 1))).ravel(), prepend=False))
    if not len(edges):
        return [], np.zeros((height, width), np.int32)
    starts, stops = edges[::2], edges[1::2]
    flat = np.pad(values, ((0, 0), (0, 1))).ravel()
    roots, region = np.unique(_joined(starts, stops, width + 1), return_inverse=True)
    row, left = np.divmod(starts, width + 1)
    lengths = stops - starts
    count = len(roots)
    area = np.bincount(region, lengths, count).astype(np.int64)
    total = np.bincount(region, np.add.reduceat(flat, edges, dtype=np.float64)[::2], count)
    peak = _extreme(np.maximum, region, np.maximum.reduceat(flat, edges)[::2], count)
    x, y = (_extreme(np.minimum, region, at, count) for at in (left, row))
    right, bottom = (_extreme(np.maximum, region, at, count) for at in (left + lengths, row + 1))
    kept = np.flatnonzero(area >= min_area)
    order = kept[np.argsort(-peak[kept], kind="stable")]
    numbers = np.zeros(count, np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    labels[starts] = numbers[region]
    labels[stops] = -numbers[region]
    found = [
        FoundRegion(
            (int(x[i]), int(y[i]), int(right[i] - x[i]), int(bottom[i] - y[i])),
            int(area[i]),
            float(peak[i]),
            float(total[i] / area[i]),
        )
        for i in order
    ]
    return found, np.cumsum(labels, dtype=np.int32).reshape(height, -1)[:, :width]


def _extreme(which: Any, region: Int64Array, values: NDArray[Any], count: int) -> NDArray[Any]:
    """The lowest or highest of the values of each region."""
    order = np.argsort(region, kind="stable")
    first: NDArray[Any] = np.searchsorted(region[order], np.arange(count))
    result: NDArray[Any] = which.reduceat(values[order], first)
    return result


def _joined(starts: Int64Array, stops: Int64Array, row: int) -> Int64Array:
    """Of each run the first one that it hangs together with; rows are `row` positions apart."""
    first = np.searchsorted(stops, starts - row)
    last = np.searchsorted(starts, stops - row, side="right")
    counts = np.maximum(last - first, 0)  # of runs in the row above that touch
    below = np.repeat(np.arange(len(starts)), counts)
    above = np.arange(len(below)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    root = np.arange(len(starts))
    while True:
        one, other = root[below], root[above]
        if (one == other).all():
            return root
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(nearer := root[root], root):
            root = nearer
