"""The image scores of files, and nothing else of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import torch

from stadx.core.errors import DataError
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.data.roi import Roi
from stadx.data.strips import open_rows
from stadx.data.tensors import ImageSize
from stadx.data.value_range import read_in_range
from stadx.metrics.image_score import HighestValues

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
    huge = open_rows(path, range_of(detector)) if detector.image_size is None else None
    if huge is None:
        pixels = torch.from_numpy(read_in_range(path, range_of(detector))).permute(2, 0, 1).unsqueeze(0)
        inside = None if roi is None else roi.of(path, (pixels.shape[2], pixels.shape[3]))
        whole = detector.score(pixels, stride=stride, **roi_argument(inside))
        bands: Iterable[torch.Tensor] = [whole]
        count = whole.numel() if inside is None else int(inside.sum())
    else:
        bands = detector.score_bands(huge, stride=stride, **roi_argument(mask_for_strips(roi, path)))
        count = pixels_of_strips(huge, roi, path)
    highest = HighestValues(count, top_share_of(detector))
    with contextlib.nullcontext() if huge is None else huge:
        for band in bands:
            check_finite(band.float().cpu().numpy(), path)
            highest.add(band.cpu())
    return highest.score()
