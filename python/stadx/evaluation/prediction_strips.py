"""Score one huge image by bands of rows: neither it nor its map nor its mask is ever wholly in memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.core.progress import Progress
from stadx.data.images import write_image
from stadx.data.roi import Roi
from stadx.data.strip_writer import RowWriter
from stadx.data.strips import RowReader
from stadx.metrics.image_score import HighestValues

from .looked_at import roi_argument
from .measured_detector import top_share_of
from .regions import FoundRegion, RegionFinder, Regions
from .report.overlay import Box, Scale, overlay

OVERLAY_SIDE = 2048


class BandScorer(Protocol):
    """What this module needs of a detector."""

    @property
    def threshold_(self) -> float: ...

    def score_bands(self, image: RowReader, *, stride: int = 1) -> Iterable[torch.Tensor]:
        """Yield the scores of consecutive bands of rows from top to bottom, float32 [rows, width]."""
        ...


class _NotWanted(Exception):
    """Files that were begun are to vanish."""


class Found(NamedTuple):
    """The score of an image, and the regions above the threshold."""

    score: float
    regions: Regions


def predict_rows(
    detector: BandScorer,
    image: RowReader,
    path: Path,
    out: Path,
    files: Mapping[str, str],
    scale: Scale,
    *,
    stride: int,
    min_pixels: int,
    roi: Roi | None = None,
    progress: Progress,
    is_wanted: Callable[[float], bool] = lambda score: True,
) -> Found:
    """Score `image`, read from `path`, and write those of overlay, map and mask that `files` has into the folder `out`.

    None is written unless the image's score `is_wanted`.
    The overlay is made smaller, to at most `OVERLAY_SIDE` pixels a side. Regions of fewer than `min_pixels` are not
    in the mask; it is written when the last row is scored, for only then are all regions known.

    Raises:
        DataError: if the image is damaged, or a score is no finite number; then no file is written.
        OutputError: if a file cannot be written.
    """
    done, highest = 0, HighestValues(pixels_of_strips(image, roi, path), top_share_of(detector))
    height, width = image.height, image.width
    small, finder = Reduction(height, width), RegionFinder()
    with contextlib.suppress(_NotWanted), contextlib.ExitStack() as stack:
        maps, masks = (
            stack.enter_context(RowWriter(out / files[kind], height, width, dtype)) if kind in files else None
            for kind, dtype in (("map", np.float32), ("mask", np.uint8))
        )
        progress("Rows", 0, height, {})
        for band in detector.score_bands(image, stride=stride, **roi_argument(mask_for_strips(roi, path))):
            scores: NDArray[np.float32] = band.float().cpu().numpy()
            check_finite(scores, path)
            if maps is not None:
                maps.write(scores)
            finder.add(scores > detector.threshold_, scores)
            small.add(image.shown(done, done + len(scores)), scores)
            highest.add(band.cpu())
            done += len(scores)
            progress("Rows", done, height, {})
        regions = finder.finish(min_pixels)
        if not is_wanted(highest.score()):
            raise _NotWanted
        for labels in regions.bands():
            if masks is not None:
                masks.write((labels > 0).astype(np.uint8) * 255)
            small.mark(labels > 0)
        if "overlay" in files:
            picture = overlay(small.pixels, small.scores, scale, predicted=small.mask, boxes=small.boxes(regions.found))
            write_image(out / files["overlay"], picture, durable=False)
    return Found(highest.score(), regions)


def mask_for_strips(roi: Roi | None, path: Path) -> NDArray[np.bool_] | None:
    """The mask of an image that is read by strips; `DataError` where each image has its own."""
    if roi is not None and roi.mask is None:
        raise DataError(
            f"{path}: is read by strips, as it is large, and has no mask of its own then; give one mask for all as the "
            "region of interest"
        )
    return None if roi is None else roi.mask


def pixels_of_strips(image: RowReader, roi: Roi | None, path: Path) -> int:
    """How many pixels of an image are looked at."""
    mask_for_strips(roi, path)
    return image.height * image.width if roi is None else roi.count(image.height, image.width)


def check_finite(scores: NDArray[np.float32], path: Path) -> None:
    """Raise `DataError` unless all scores of the image at `path` are finite."""
    if not np.isfinite(scores).all():
        raise DataError(f"{path}: the model's score is not a finite number here; train the model again")


class Reduction:
    """An image and its scores, both made smaller band by band to at most `side` pixels a side; None: `OVERLAY_SIDE`.

    Attributes:
        pixels: the mean of each block of pixels, uint8 [h, w, 3].
        scores: the maximum of each block, so that the smallest defect stays visible, float32 [h, w].
        mask: whether any pixel of a block was marked, bool [h, w].
    """

    def __init__(self, height: int, width: int, side: int | None = None) -> None:
        self._block = math.ceil(max(height, width) / (side or OVERLAY_SIDE))
        self._height = height
        self._columns = np.arange(0, width, self._block)
        self._widths = np.diff(self._columns, append=width)
        shape = (math.ceil(height / self._block), len(self._columns))
        self.pixels = np.zeros((*shape, 3), np.uint8)
        self.scores = np.full(shape, -np.inf, np.float32)
        self.mask = np.zeros(shape, np.bool_)
        self._sums = np.zeros((3, len(self._columns)), np.int64)  # of the row of blocks not yet complete
        self._done = self._marked = 0

    def add(self, pixels: NDArray[np.uint8], scores: NDArray[np.float32]) -> None:
        """Add the next rows: uint8 [3, n, W], and float32 [n, W]."""
        start = 0
        while start < len(scores):
            row, filled = divmod(self._done, self._block)
            stop = min(len(scores), start + self._block - filled)
            sums = pixels[:, start:stop].sum(axis=1, dtype=np.int64)
            self._sums += np.add.reduceat(sums, self._columns, axis=1)
            peaks = np.maximum.reduceat(scores[start:stop].max(axis=0), self._columns)
            self.scores[row] = np.maximum(self.scores[row], peaks)
            self._done, filled, start = self._done + stop - start, filled + stop - start, stop
            if filled == self._block or self._done == self._height:
                self.pixels[row] = np.rint(self._sums / (self._widths * filled)).T
                self._sums[:] = 0

    def mark(self, mask: NDArray[np.bool_]) -> None:
        """Mark pixels of the next rows, bool [n, W]."""
        rows, columns = np.nonzero(mask)
        self.mask[(rows + self._marked) // self._block, columns // self._block] = True
        self._marked += len(mask)

    def boxes(self, regions: Sequence[FoundRegion]) -> list[Box]:
        """The regions' boxes in the small picture: of all blocks that they touch."""
        block, found = self._block, []
        for x, y, width, height in (region.box for region in regions):
            left, top = x // block, y // block
            found.append((left, top, math.ceil((x + width) / block) - left, math.ceil((y + height) / block) - top))
        return found
