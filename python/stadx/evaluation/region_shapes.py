"""Shapes of regions as annotation tools write them: run lengths, and outlines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .regions import Int64Array, Regions, runs


def run_lengths(regions: Regions) -> list[list[int]]:
    """COCO's run lengths of each region: of pixels outside, inside, outside, …, column by column of the image."""
    if not regions.found:
        return []
    height, top = regions.height, 0
    bands = []
    for labels in regions.bands():
        starts, stops = runs(labels.T > 0)  # pixels one above the other always belong to one region
        column, row = np.divmod(starts, len(labels) + 1)
        start = column * height + row + top
        bands.append(np.stack((labels[row, column], start, start + stops - starts)))
        top += len(labels)
    number, start, stop = np.concatenate(bands, axis=1)
    order = np.lexsort((start, number))
    number, start, stop = number[order], start[order], stop[order]
    breaks = (number[1:] != number[:-1]) | (start[1:] != stop[:-1])  # else it goes on in the next band or column
    begins, ends = np.append(True, breaks), np.append(breaks, True)
    of_each = np.flatnonzero(np.diff(number[begins])) + 1
    result = []
    for edges in np.split(np.stack((start[begins], stop[ends]), axis=1), of_each):
        counts = np.diff(edges.ravel(), prepend=0, append=height * regions.width).tolist()
        result.append(counts if counts[-1] else counts[:-1])
    return result


def outlines(regions: Regions) -> list[list[list[int]]]:
    """The outer outline of each region: the corners [x, y] of a polygon along the edges of pixels, clockwise.

    Pixel (x, y) is the square from [x, y] to [x + 1, y + 1]. Holes are left out. Where a region hangs together
    at a corner alone, its outline touches itself.
    """
    x, y, number, falling = _corners(regions)
    # Lines join the corners of a row two by two from left to right, those of a column two by two from top to bottom.
    # Where pixels touch at a corner alone there are two corners: one ends the line on the left, the next begins that
    # on the right. Between pixels on a falling diagonal the first goes on below, on a rising one above.
    index = np.arange(len(x))
    in_columns = np.lexsort((np.where(falling, -index, index), y, x))
    vertical = np.empty_like(index)
    vertical[in_columns] = in_columns[index ^ 1]
    following = vertical[index ^ 1].tolist()
    points = np.stack((x, y), axis=1).tolist()
    result = []
    for first in np.unique(number, return_index=True)[1].tolist():  # the top left corners, of outer outlines
        polygon: list[list[int]] = []
        corner = first
        while not polygon or corner != first:
            polygon += [points[corner], points[corner ^ 1]]
            corner = following[corner]
        result.append(polygon)
    return result


def _corners(regions: Regions) -> tuple[Int64Array, Int64Array, Int64Array, NDArray[np.bool_]]:
    """The corners of all outlines in raster order: x, y, region, whether between pixels on a falling diagonal.

    A corner between two pixels that touch nowhere else comes twice.
    """
    above = np.zeros((1, regions.width), np.int32)
    found, top = [], 0
    for labels in (*regions.bands(), above):
        around = np.pad(np.concatenate((above, labels)), ((0, 0), (1, 1)))
        above = labels[-1:]
        inside = around > 0
        a, b, c, d = inside[:-1, :-1], inside[:-1, 1:], inside[1:, :-1], inside[1:, 1:]
        touching = (a == d) & (b == c) & (a != b)
        y, x = np.nonzero(touching | (a ^ b ^ c ^ d))
        number = np.max([around[y, x], around[y, x + 1], around[y + 1, x], around[y + 1, x + 1]], axis=0)
        corners = np.stack((x, y + top, number, touching[y, x] & a[y, x]))
        found.append(np.repeat(corners, 1 + touching[y, x], axis=1))
        top += len(labels)
    x, y, number, falling = np.concatenate(found, axis=1)
    return x, y, number, falling > 0
