"""Connected regions of a mask with their scores: of a whole image, or of one that comes by bands of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stadx import ops
from stadx.core.errors import DataError
from stadx.core.settings import check, documented, setting

Int64Array = NDArray[np.int64]
Labels = NDArray[np.int32]
ExportName = Literal["csv", "coco", "labelme"]


class FoundRegion(NamedTuple):
    """A connected region of a mask; pixels that touch at a corner belong together, as in the metrics.

    Attributes:
        box: x and y of the top left pixel, width and height of the smallest box around it, in pixels.
        area: pixels.
        peak, mean: its highest and its mean score.
    """

    box: tuple[int, int, int, int]
    area: int
    peak: float
    mean: float


@documented
@dataclass(frozen=True)
class RegionSettings:
    """Which regions of an image count, and where they are told.

    Raises:
        ValueError: for a setting that cannot be.
    """

    min_area: float = setting(0.0, "Smallest area of a region: in pixels, with `pixel_size` in mm².", at_least=0)
    pixel_size: float | None = setting(None, "Edge of a pixel in millimetres.", none="areas are in pixels", above=0)
    exports: tuple[ExportName, ...] = setting((), "Files to write them to, besides scores.jsonl.")

    def __post_init__(self) -> None:
        check(self)

    @property
    def min_pixels(self) -> int:
        """The fewest pixels of a region that is kept."""
        pixels = self.min_area / (self.pixel_size or 1) ** 2
        return math.ceil(pixels * (1 - 1e-9))  # 0.03 mm² of pixels of 0.1 mm are 3, whatever rounding makes of it

    def line(self, region: FoundRegion) -> dict[str, Any]:
        """What scores.jsonl says of a region."""
        size = self.pixel_size
        millimetres = {} if size is None else {"area_mm2": float(f"{region.area * size**2:.9g}")}
        box, area, peak, mean = region
        return {"box": list(box), "area": area, **millimetres, "peak": peak, "mean": mean}


class _Band(NamedTuple):
    """Rows of an image, and the runs of pixels along them: where in the rows, and of which part of a region."""

    rows: int
    starts: Int64Array
    stops: Int64Array
    parts: Int64Array


@dataclass(frozen=True)
class Regions:
    """The regions of one image that are kept.

    Attributes:
        height, width: of the image, in pixels.
        found: largest peak first; equal ones in the raster order of their first pixels.
    """

    height: int
    width: int
    found: list[FoundRegion]
    _bands: Sequence[_Band]
    _numbers: Labels  # of each part of a region its place in `found`, from 1; 0 if it was dropped

    @property
    def area(self) -> int:
        """Pixels of all regions together."""
        return sum(region.area for region in self.found)

    def bands(self) -> Iterator[Labels]:
        """The image from top to bottom, int32 [rows, width]: 0 outside, i in region i of `found`, counted from 1."""
        for rows, starts, stops, parts in self._bands:
            labels = np.zeros((rows, self.width), np.int32)
            if len(starts):
                width = self.width + 1
                first, last = int(starts[0]) // width, int(stops[-1]) // width  # rows that hold any
                steps = np.zeros((last + 1 - first) * width, np.int32)
                steps[starts - first * width] = self._numbers[parts]
                steps[stops - first * width] = -self._numbers[parts]
                labels[first : last + 1] = np.cumsum(steps, dtype=np.int32).reshape(-1, width)[:, : self.width]
            yield labels


class RegionFinder:
    """Finds the regions of one image whose rows come band by band: `add` each from top to bottom, then `finish`.

    It holds the runs of pixels along the rows of the mask, not the mask itself.
    """

    def __init__(self) -> None:
        self._bands: list[_Band] = []
        self._parts: list[_Parts] = []
        self._seams = [np.zeros((2, 0), np.int64)]  # pairs of parts that touch between two bands
        self._last: Int64Array | None = None  # the parts in the last row, from 1; 0 outside
        self._height = self._width = self._count = 0

    def add(self, mask: NDArray[np.bool_], scores: NDArray[np.floating]) -> None:
        """Add the next rows: bool [n, W], and their scores [n, W]."""
        rows, self._width = mask.shape
        filled = np.flatnonzero(mask.any(1))
        above, below = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 1)
        inner = mask[above:below]  # mostly a small part
        labels, counts = ops.label_regions(torch.from_numpy(np.ascontiguousarray(inner))[None])
        numbered = labels[0].numpy()
        starts, stops = runs(inner)
        row, left = np.divmod(starts, self._width + 1)
        length = stops - starts
        part = numbered[row, left].astype(np.int64) - 1
        flat = np.pad(scores[above:below], ((0, 0), (0, 1))).ravel()
        edges = np.stack((starts, stops), axis=1).ravel()
        sums = np.add.reduceat(flat, edges, dtype=np.float64)[::2]
        peaks = np.maximum.reduceat(flat, edges)[::2]
        top = row + self._height + above
        pieces = _Parts(left, top, left + length, top + 1, length, sums, peaks)
        self._parts.append(pieces.joined(part, int(counts[0])))
        before = above * (self._width + 1)
        self._bands.append(_Band(rows, starts + before, stops + before, part + self._count))
        first, last = (np.where(line > 0, line + np.int64(self._count), 0) for line in numbered[[0, -1]])
        first, last = first * (above == 0), last * (below == rows)
        if self._last is not None:
            self._seams.append(_touching(self._last, first))
        self._last = last
        self._height += rows
        self._count += int(counts[0])

    def finish(self, min_area: float = 0) -> Regions:
        """The regions of at least `min_area` pixels."""
        parts = _Parts(*map(np.concatenate, zip(*self._parts, strict=True)))
        roots, whole = np.unique(_joined(self._count, np.concatenate(self._seams, axis=1)), return_inverse=True)
        regions = parts.joined(whole, len(roots))
        kept = np.flatnonzero(regions.area >= min_area)
        order = kept[np.argsort(-regions.peak[kept], kind="stable")]
        numbers = np.zeros(len(roots), np.int32)
        numbers[order] = np.arange(1, len(order) + 1)
        left, top, right, bottom, area, total, peak = (values[order] for values in regions)
        boxes = np.stack((left, top, right - left, bottom - top), axis=1).tolist()
        means = (total / area).tolist()
        told = zip(map(tuple, boxes), area.tolist(), peak.tolist(), means, strict=True)
        return Regions(self._height, self._width, [FoundRegion(*one) for one in told], self._bands, numbers[whole])


def find_regions(mask: Any, scores: Any, *, min_area: float = 0) -> tuple[list[FoundRegion], Labels]:
    """Find the connected regions of a mask, in a map's scores.

    Args:
        mask: [H, W], bool or integer, non-zero = inside; NumPy or a tensor on the CPU.
        scores: [H, W], real.
        min_area: regions with fewer pixels are dropped.

    Returns:
        The regions, largest peak first, and labels int32 [H, W]: 0 outside, i in the i-th region, counted from 1.

    Raises:
        DataError: if mask and scores are not of one shape [H, W].
    """
    inside, values = np.asarray(mask) != 0, np.asarray(scores)
    if inside.ndim != 2 or inside.shape != values.shape or not inside.size:
        raise DataError(f"mask is {list(inside.shape)} and scores {list(values.shape)}; both must be [H, W]")
    finder = RegionFinder()
    finder.add(inside, values if values.dtype.kind == "f" else values.astype(np.float64))
    regions = finder.finish(min_area)
    return regions.found, next(regions.bands())


def runs(inside: NDArray[np.bool_]) -> tuple[Int64Array, Int64Array]:
    """Where runs of True along the rows of bool [n, W] begin, and end before.

    Both are indices into the flattened [n, W + 1] that has a column of False on the right.
    """
    padded = np.pad(inside, ((0, 0), (0, 1)))
    edges = np.flatnonzero(np.diff(padded.ravel(), prepend=False))
    return edges[::2], edges[1::2]


class _Parts(NamedTuple):
    """Parts of regions, [n] each: columns `left` to before `right`, rows `top` to before `bottom`, pixels; scores."""

    left: Int64Array
    top: Int64Array
    right: Int64Array
    bottom: Int64Array
    area: Int64Array
    total: NDArray[np.float64]
    peak: NDArray[np.floating]

    def joined(self, whole: Int64Array, count: int) -> _Parts:
        """The wholes that these are parts of, [count] each; part i belongs to `whole[i]`."""
        far = np.iinfo(np.int64).max
        first, last, added = (np.minimum, far), (np.maximum, 0), (np.add, 0)
        joins = (first, first, last, last, added, added, (np.maximum, -np.inf))
        result = []
        for values, (join, start) in zip(self, joins, strict=True):
            wholes = np.full(count, start, values.dtype)
            join.at(wholes, whole, values)
            result.append(wholes)
        return _Parts(*result)


def _touching(above: Int64Array, below: Int64Array) -> Int64Array:
    """Pairs of parts, from 0, [2, n], that touch between two rows [W] of parts, from 1."""
    pairs = [np.stack((above, below)), np.stack((above[1:], below[:-1])), np.stack((above[:-1], below[1:]))]
    found = np.concatenate(pairs, axis=1)
    return np.unique(found[:, (found > 0).all(axis=0)], axis=1) - 1


def _joined(count: int, pairs: Int64Array) -> Int64Array:
    """For each of `count` parts the first one that it hangs together with, through any number of `pairs` [2, n]."""
    root = np.arange(count)
    while True:
        one, other = root[pairs]
        if (one == other).all():
            return root
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(nearer := root[root], root):
            root = nearer
