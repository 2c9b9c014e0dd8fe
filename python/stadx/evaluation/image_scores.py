"""The image scores of files, and nothing else of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch

from stadx.core.errors import DataError
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.data.roi import Roi, nearest
from stadx.data.strips import RowReader, open_rows
from stadx.data.tensors import ImageSize
from stadx.data.value_range import read_in_range
from stadx.metrics.image_score import HighestValues
from stadx.networks.engine import watched_weights

from .looked_at import region_for, roi_argument
from .measured_detector import range_of, stride_of, top_share_of
from .prediction import Failure
from .prediction_strips import BandScorer, check_finite, mask_for_strips, pixels_of_strips


class ImageScorer(BandScorer, Protocol):
    """What this module needs of a detector."""

    @property
    def image_size(self) -> ImageSize: ...

    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor: ...


@keep_freed_memory()
@watched_weights()
def score_files(
    detector: ImageScorer,
    paths: Sequence[Path],
    *,
    stride: int | None = None,
    roi: Roi | None = None,
    stage: str = "Images",
    progress: Progress = silent,
) -> tuple[dict[Path, float], list[Failure]]:
    """The image score of each image, as `predict_files` has it; huge ones are read by strips as there.

    Args:
        detector: what scores.
        paths: image files.
        stride: as in `Detector.score`; None: the detector's own.
        roi: which pixels are looked at; None: the detector's own `roi_`.
        stage: what `progress` is told that this is.
        progress: told how far it is.

    Returns:
        Image scores by path, and the images that could not be scored.
    """
    stride = stride_of(detector, stride)
    scores: dict[Path, float] = {}
    failures: list[Failure] = []
    roi = region_for(detector, roi)
    progress(stage, 0, len(paths), {})
    for done, path in enumerate(paths, start=1):
        try:
            scores[path] = _score_file(detector, path, stride, roi)
        except DataError as error:
            failures.append(Failure(path, str(error)))
        progress(stage, done, len(paths), {})
    return scores, failures


def _score_file(detector: ImageScorer, path: Path, stride: int, roi: Roi | None) -> float:
    count, parts = scores_looked_at(detector, path, stride, roi)
    highest = HighestValues(count, top_share_of(detector))
    for part in parts:
        highest.add(part)
    return highest.score()


def scores_looked_at(
    detector: ImageScorer, path: Path, stride: int, roi: Roi | None
) -> tuple[int, Iterator[torch.Tensor]]:
    """How many pixels of an image file are looked at, and their scores, part by part, of any shapes, on the CPU.

    Raises:
        DataError: if the image cannot be read; also while the parts come, naming a score that is no finite number.
    """
    huge = open_rows(path, range_of(detector)) if detector.image_size is None else None
    if huge is not None:
        return pixels_of_strips(huge, roi, path), _by_bands(detector, huge, path, stride, roi)
    pixels = torch.from_numpy(read_in_range(path, range_of(detector))).permute(2, 0, 1).unsqueeze(0)
    inside = None if roi is None else roi.of(path, (pixels.shape[2], pixels.shape[3]))
    whole = detector.score(pixels, stride=stride, **roi_argument(inside))[0].float().cpu()
    check_finite(whole.numpy(), path)
    looked_at = whole if inside is None else whole[torch.from_numpy(inside)]
    return looked_at.numel(), iter([looked_at])


def _by_bands(
    detector: ImageScorer, image: RowReader, path: Path, stride: int, roi: Roi | None
) -> Iterator[torch.Tensor]:
    mask, size, done = mask_for_strips(roi, path), (image.height, image.width), 0
    with image:
        for band in detector.score_bands(image, stride=stride, **roi_argument(mask)):
            scores = band.float().cpu()
            check_finite(scores.numpy(), path)
            rows = slice(done, done + len(scores))
            done += len(scores)
            yield scores if mask is None else scores[nearest(torch.from_numpy(mask), size, rows)]
