"""What the review page shows of an image: itself, its map in steps of the threshold, its score and its hash."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stadx.data.image_hash import hash_of_file, hash_of_rows, image_hash
from stadx.data.roi import Roi
from stadx.data.strips import open_rows
from stadx.data.value_range import BYTES, read_in_range, shown
from stadx.metrics.image_score import HighestValues

from ..image_scores import ImageScorer
from ..looked_at import roi_argument
from ..measured_detector import range_of, top_share_of
from ..prediction_strips import Reduction, check_finite, mask_for_strips, pixels_of_strips
from ..report.overlay import scale_for
from ..report.page import data_uri

SIDE = 1024  # of an image in the page, in pixels, at most; masks are painted at this size
MAP_SIDE = 512  # likewise of a map
STEPS = 100  # from a typical good score to the model's threshold
_HIGHEST = 2**16 - 1  # level that two bytes hold


class Levels(NamedTuple):
    """Scores as whole numbers: `base` + n · `step` is the highest score of level n, the model's threshold is `STEPS`.

    So a threshold of n steps cuts the map exactly where it would cut the scores.
    """

    base: float
    step: float
    threshold: float

    @staticmethod
    def of(threshold: float) -> Levels:
        """Those of a model with this threshold of a pixel."""
        scale = scale_for(threshold)
        reach = (scale.high - scale.low) / 2
        return Levels(threshold - reach, reach / STEPS, threshold)

    def of_scores(self, scores: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Levels [H, W] of a map."""
        found = np.ceil((scores.astype(np.float64) - self.base) / self.step)
        above = scores > self.threshold  # rounding must not move a score over the model's own threshold
        found = np.where(above, np.maximum(found, STEPS + 1), np.minimum(found, STEPS))
        return np.asarray(np.clip(found, 0, _HIGHEST), np.uint16)


class Look(NamedTuple):
    """An image as the page shows it.

    Attributes:
        score: its image score.
        sha256: see `image_hash`.
        size: height and width of the image.
        shown: the same in the page.
        picture, levels: data addresses of the image, and of its map: red and green are the bytes of a level.
        block: so many pixels a side of the picture are one of the map.
    """

    score: float
    sha256: str
    size: tuple[int, int]
    shown: tuple[int, int]
    picture: str
    levels: str
    block: int


def look(detector: ImageScorer, path: Path, levels: Levels, stride: int, roi: Roi | None) -> Look:
    """Score one image file.

    Raises:
        DataError: if it cannot be read or scored.
    """
    value_range = range_of(detector)
    reader = open_rows(path, value_range) if detector.image_size is None else None
    with contextlib.nullcontext() if reader is None else reader:
        if reader is None:
            pixels = read_in_range(path, value_range)
            height, width = pixels.shape[:2]
            planes = torch.from_numpy(pixels).permute(2, 0, 1)
            sha256 = image_hash(planes) if value_range is not None else hash_of_file(path, BYTES)
            inside = None if roi is None else roi.of(path, (height, width))
            count = height * width if inside is None else int(inside.sum())
            bands: Iterable[torch.Tensor] = [detector.score(planes[None], stride=stride, **roi_argument(inside))[0]]
            bytes_shown = shown(pixels).transpose(2, 0, 1)
        else:
            height, width, sha256 = reader.height, reader.width, hash_of_rows(reader)
            count = pixels_of_strips(reader, roi, path)
            bands = detector.score_bands(reader, stride=stride, **roi_argument(mask_for_strips(roi, path)))
        small, highest, done = Reduction(height, width, SIDE), HighestValues(count, top_share_of(detector)), 0
        for band in bands:
            scores: NDArray[np.float32] = band.float().cpu().numpy()
            check_finite(scores, path)
            stop = done + len(scores)
            small.add(bytes_shown if reader is None else reader.shown(done, stop), scores)
            highest.add(band.cpu())
            done = stop
    block = -(-max(small.scores.shape) // MAP_SIDE)
    return Look(
        highest.score(),
        sha256,
        (height, width),
        (small.pixels.shape[0], small.pixels.shape[1]),
        _jpeg(small.pixels),
        _png(levels.of_scores(_highest_of_blocks(small.scores, block))),
        block,
    )


def _highest_of_blocks(scores: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    rows, columns = (np.arange(0, length, block) for length in scores.shape)
    found: NDArray[np.float32] = np.maximum.reduceat(np.maximum.reduceat(scores, rows, axis=0), columns, axis=1)
    return found


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=88)
    return data_uri(buffer.getvalue(), "jpeg")


def _png(levels: NDArray[np.uint16]) -> str:
    buffer = io.BytesIO()
    high, low = (levels >> 8).astype(np.uint8), (levels & 255).astype(np.uint8)
    # A browser's canvas has 8 bits a colour: two colours hold what a 16-bit grey would lose.
    Image.fromarray(np.dstack([high, low, np.zeros_like(low)])).save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue())
