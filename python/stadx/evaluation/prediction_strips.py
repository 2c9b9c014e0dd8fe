"""Score one huge image by bands of rows: neither it nor its map nor its mask is ever wholly in memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.core.progress import Progress
from stadx.data.images import write_image
from stadx.data.strip_writer import RowWriter
from stadx.data.strips import RowReader

from .report.overlay import Scale, overlay

OVERLAY_SIDE = 2048


class BandScorer(Protocol):
    """What this module needs of a detector."""

    @property
    def threshold_(self) -> float: ...

    def score_bands(self, image: RowReader, *, stride: int = 1) -> Iterable[torch.Tensor]:
        """Yield the scores of consecutive bands of rows from top to bottom, float32 [rows, width]."""
        ...


class Found(NamedTuple):
    """The highest score of an image, and how many pixels are above the threshold."""

    score: float
    anomalous_pixels: int


def predict_rows(
    detector: BandScorer,
    image: RowReader,
    path: Path,
    out: Path,
    files: Mapping[str, str],
    scale: Scale,
    *,
    stride: int,
    progress: Progress,
) -> Found:
    """Score `image`, read from `path`, and write the `files` overlay, map and mask into the folder `out`.

    The overlay is made smaller, to at most `OVERLAY_SIDE` pixels a side.

    Raises:
        DataError: if the image is damaged, or a score is no finite number; then no file is written.
        OutputError: if a file cannot be written.
    """
    done, best, anomalous = 0, -math.inf, 0
    height, width = image.height, image.width
    small = Reduction(height, width)
    with contextlib.ExitStack() as stack:
        maps = stack.enter_context(RowWriter(out / files["map"], height, width, np.float32))
        masks = stack.enter_context(RowWriter(out / files["mask"], height, width, np.uint8))
        progress("Rows", 0, height, {})
        for band in detector.score_bands(image, stride=stride):
            scores: NDArray[np.float32] = band.float().cpu().numpy()
            check_finite(scores, path)
            above = scores > detector.threshold_
            maps.write(scores)
            masks.write(above.astype(np.uint8) * 255)
            small.add(image.rows(done, done + len(scores)).numpy(), scores)
            best, anomalous = max(best, float(scores.max())), anomalous + int(above.sum())
            done += len(scores)
            progress("Rows", done, height, {})
        picture = overlay(small.pixels, small.scores, scale, predicted=small.scores > detector.threshold_)
        write_image(out / files["overlay"], picture)
    return Found(best, anomalous)


def check_finite(scores: NDArray[np.float32], path: Path) -> None:
    """Raise `DataError` unless all scores of the image at `path` are finite."""
    if not np.isfinite(scores).all():
        raise DataError(f"{path}: the model's score is not a finite number here; train the model again")


class Reduction:
    """An image and its scores, both made smaller band by band to at most `OVERLAY_SIDE` pixels a side.

    Attributes:
        pixels: the mean of each block of pixels, uint8 [h, w, 3].
        scores: the maximum of each block, so that the smallest defect stays visible, float32 [h, w].
    """

    def __init__(self, height: int, width: int) -> None:
        self._block = math.ceil(max(height, width) / OVERLAY_SIDE)
        self._height = height
        self._columns = np.arange(0, width, self._block)
        self._widths = np.diff(self._columns, append=width)
        shape = (math.ceil(height / self._block), len(self._columns))
        self.pixels = np.zeros((*shape, 3), np.uint8)
        self.scores = np.full(shape, -np.inf, np.float32)
        self._sums = np.zeros((3, len(self._columns)), np.int64)  # of the row of blocks not yet complete
        self._done = 0

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
