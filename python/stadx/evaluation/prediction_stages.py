"""What becomes of one image of `predict_files`: read, scored, written."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from stadx.core.errors import DataError, OutputError
from stadx.core.progress import Progress
from stadx.data.roi import Roi
from stadx.data.strips import RowReader, open_rows
from stadx.data.tensors import ImageSize
from stadx.data.value_range import read_in_range, shown
from stadx.metrics.image_score import image_scores

from .looked_at import roi_argument
from .measured_detector import MeasuredDetector, range_of, top_share_of
from .output_names import Picture, file_names
from .output_settings import OutputSettings
from .pictures import write_pictures
from .prediction_strips import BandScorer, Found, check_finite, predict_rows
from .regions import RegionFinder
from .report.overlay import Box, Scale
from .score_lines import stamp_of

_OF_A_NAME = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})  # no trouble for an image of another name


class Predicted(Protocol):
    """What a detector's prediction holds, for B = 1 image."""

    @property
    def maps(self) -> torch.Tensor: ...

    @property
    def masks(self) -> torch.Tensor: ...


class Predictor(MeasuredDetector, BandScorer, Protocol):
    """What `predict_files` needs of a detector."""

    @property
    def image_size(self) -> ImageSize: ...

    def predict(self, images: torch.Tensor, *, stride: int = 1) -> Predicted: ...


def _image_score(prediction: Predicted, top_share: float, inside: NDArray[np.bool_] | None, path: Path) -> float:
    """`image_scores` of the map on the CPU of the image at `path`, which the prediction may tell."""
    told = getattr(prediction, "image_scores", None)
    if isinstance(told, torch.Tensor) and told.device.type == "cpu" and told.dtype == torch.float32:
        if told.shape != (1,):
            raise DataError(f"{path}: the model's image_scores are {list(told.shape)} for one image; they must be [1]")
        check_finite(told.detach().numpy(), path)
        return float(told[0])
    looked_at = None if inside is None else torch.from_numpy(inside)[None]
    return float(image_scores(prediction.maps[:1].float().cpu(), top_share, looked_at))


class _Read(NamedTuple):
    """An image in memory, [H, W, 3], or one that is read by strips."""

    pixels: NDArray[Any] | RowReader
    inside: NDArray[np.bool_] | None
    stamp: dict[str, Any]


class _Scored(NamedTuple):
    """An image with what was found on it; `pixels` is None if its pictures are written already, as `files`."""

    found: Found
    stamp: dict[str, Any]
    files: dict[str, str]
    pixels: NDArray[Any] | None = None
    inside: NDArray[np.bool_] | None = None
    scores: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class ImageStages:
    """The three stages; an item is the image's path and the name of its outputs."""

    detector: Predictor
    out: Path
    scale: Scale
    stride: int
    min_pixels: int
    roi: Roi | None
    outputs: OutputSettings
    stamped: bool
    progress: Progress

    def read(self, item: tuple[Path, str]) -> _Read:
        """The image, and before that the stamp of its file if it is `stamped`."""
        path, _ = item
        stamp = stamp_of(path) if self.stamped else {}
        values = range_of(self.detector)
        huge = open_rows(path, values) if self.detector.image_size is None else None
        if huge is not None:
            return _Read(huge, None, stamp)
        pixels = read_in_range(path, values)
        return _Read(pixels, None if self.roi is None else self.roi.of(path, pixels.shape[:2]), stamp)

    def score(self, item: tuple[Path, str], read: _Read) -> _Scored:
        """Map, mask and regions; an image that is read by strips is written by them, too."""
        path, name = item
        pixels, inside, stamp = read
        if isinstance(pixels, RowReader):
            found, files = self._by_strips(path, name, pixels)
            return _Scored(found, stamp, files)
        image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
        prediction = self.detector.predict(image, stride=self.stride, **roi_argument(inside))
        scores = prediction.maps[0].float().cpu().numpy()
        check_finite(scores, path)
        finder = RegionFinder()
        finder.add(prediction.masks[0].cpu().numpy(), scores)
        regions = finder.finish(self.min_pixels)
        mask = next(regions.bands()) > 0
        score = _image_score(prediction, top_share_of(self.detector), inside, path)
        pictures = self.outputs.pictures if self._is_wanted(score) else ()
        return _Scored(Found(score, regions), stamp, {}, pixels, inside, scores, mask, pictures)

    def write(self, item: tuple[Path, str], scored: _Scored) -> tuple[Found, dict[str, str], dict[str, Any]]:
        """What was found, the names of the pictures by kind, and the stamp."""
        path, name = item
        found, stamp, files, pixels, inside, scores, mask, pictures = scored
        if pixels is not None and scores is not None and mask is not None:
            boxes: list[Box] = [region.box for region in found.regions.found]
            with failing_alone(path):
                files = write_pictures(self.out, name, shown(pixels), scores, mask, self.scale, boxes, inside, pictures)
        return found, files, stamp

    def _by_strips(self, path: Path, name: str, rows: RowReader) -> tuple[Found, dict[str, str]]:
        files = file_names(name, self.outputs.pictures, huge=True)
        settings: dict[str, Any] = {
            "stride": self.stride,
            "min_pixels": self.min_pixels,
            "roi": self.roi,
            "progress": self.progress,
            "is_wanted": self._is_wanted,
        }
        with rows, failing_alone(path):
            found = predict_rows(self.detector, rows, path, self.out, files, self.scale, **settings)
        return found, files if self._is_wanted(found.score) else {}

    def _is_wanted(self, score: float) -> bool:
        """Whether an image's pictures are written."""
        return not self.outputs.only_anomalous or score > float(self.detector.image_threshold(self.stride))


@contextlib.contextmanager
def failing_alone(path: Path) -> Iterator[None]:
    """Turn an `OutputError` that only this image's name is to blame for into a `DataError`."""
    try:
        yield
    except OutputError as error:
        if getattr(error.__cause__, "errno", None) in _OF_A_NAME:
            raise DataError(f"{path}: {error}; no output can have its name there, rename the image") from error
        raise
