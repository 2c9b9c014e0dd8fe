"""Is the exported graph the detector? Both look at the same images, and the figures decide."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError, StadxError
from stadx.core.progress import Progress, silent
from stadx.data.frames import one_frame
from stadx.detectors.base import Prediction
from stadx.detectors.student_teacher.detector import Detector

Checked = Sequence[str | os.PathLike[str] | NDArray[np.uint8]]
"""Images that an export is compared on: files, or arrays uint8 [H, W, 3]."""

Outputs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]
"""Maps [B, H, W], image scores [B], masks [B, H, W], whether images are anomalous [B]."""

Run = Callable[[NDArray[np.uint8]], Outputs]
"""Runs an exported graph on images [B, H, W, 3]."""

MOST_DIFFERENCE = 1e-3  # of a map, in its standard deviations
MOST_MASK_SHARE = 1e-3  # of an image's pixels whose mask differs: those whose score is the threshold but for rounding
_LEAST_DEVIATION = 1e-2  # a map that is flat is compared in scores, which are in deviations of good images
_DRAWN = 4


class ParityError(StadxError):
    """An exported graph whose results are not the detector's."""


@dataclass(frozen=True)
class Parity:
    """How far an exported graph is from the detector, the worst of all images.

    Attributes:
        images: how many were compared.
        real: whether they were given; else they were drawn.
        map_difference: of a pixel of the maps, in standard deviations of the detector's map.
        compared_with: "engine", what `Detector.predict` runs; "direct", `predict(method="direct")`, where the engine's
            own rounding is more than the limit.
        engine_difference: the same figure, of the engine's maps.
        score_difference: of the image scores.
        mask_share: of an image's pixels whose mask differs.
        verdicts: images of which one says that they are anomalous, and the other does not.
    """

    images: int
    real: bool
    map_difference: float
    compared_with: str
    engine_difference: float
    score_difference: float
    mask_share: float
    verdicts: int

    @property
    def holds(self) -> bool:
        """Whether the graph is the detector; NaN is not."""
        return self.map_difference < MOST_DIFFERENCE and self.mask_share <= MOST_MASK_SHARE and self.verdicts == 0

    def sentence(self) -> str:
        """The figures in words."""
        with_what = "" if self.compared_with == "engine" else " from PyTorch's convolutions"
        return (
            f"of {self.images} {'images' if self.real else 'drawn images (no real ones were given)'} the maps differ "
            f"by at most {self.map_difference:.2g} of a map's standard deviation{with_what} (allowed: less than "
            f"{MOST_DIFFERENCE:g}), the image scores by {self.score_difference:.2g}, masks in {self.mask_share:.2g} of "
            f"the pixels (allowed: {MOST_MASK_SHARE:g}), verdicts in {self.verdicts} images (allowed: none)"
        )

    def to_json(self) -> dict[str, Any]:
        """All figures and limits."""
        return {**asdict(self), "map_difference_limit": MOST_DIFFERENCE, "mask_share_limit": MOST_MASK_SHARE}


def compare(
    detector: Detector, run: Run, size: tuple[int, int], images: Checked | None, progress: Progress = silent
) -> Parity:
    """Compare a graph with the detector on images of one size, one after the other.

    Raises:
        DataError: if an image cannot be read or has another size.
        ParityError: if the graph's results are not the detector's.
    """
    threshold = detector.image_threshold()
    worst = np.zeros(5)  # of the engine's maps, of PyTorch's, scores, masks; verdicts that differ
    given = _drawn(size) if images is None else images
    if not len(given):
        raise DataError("there are no images to compare the export on; give some, or none at all for drawn ones")
    for number, image in enumerate(_of_size(given, size), start=1):
        expected = detector.predict(image)
        maps, scores, masks, verdicts = run(image.permute(0, 2, 3, 1).contiguous().numpy())
        engine = direct = _difference(expected, maps)
        if not engine < MOST_DIFFERENCE:
            direct = _difference(detector.predict(image, method="direct"), maps)
        score = np.abs(scores - expected.image_scores.numpy()).max()
        mask = (masks != expected.masks.numpy()).mean()
        differing = int((verdicts != (expected.image_scores.double().numpy() > threshold)).sum())
        # unlike max(), these keep NaN
        worst[:4] = np.maximum(worst[:4], (engine, direct, score, mask))
        worst[4] += differing
        progress("Compared", number, len(given), {})
    engine, direct, score, mask, differing = worst.tolist()
    is_engine = engine < MOST_DIFFERENCE
    compared_with = "engine" if is_engine else "direct"
    figures = (engine if is_engine else direct), compared_with, engine, score, mask, int(differing)
    parity = Parity(len(given), images is not None, *figures)
    if not parity.holds:
        raise ParityError(
            f"the exported graph is not the detector: {parity.sentence()}; nothing was written. Please report it with "
            "the model, or try another version of the packages that export"
        )
    return parity


def _difference(expected: Prediction, maps: NDArray[np.float32]) -> float:
    """The largest difference of a pixel, in standard deviations of the expected map."""
    reference = expected.maps.numpy()
    return float(np.abs(maps - reference).max() / max(float(reference.std()), _LEAST_DEVIATION))


def _of_size(images: Checked, size: tuple[int, int]) -> Iterator[Tensor]:
    """Images as tensors [1, 3, H, W]."""
    for number, image in enumerate(images):
        name = f"image {number}" if isinstance(image, np.ndarray) else os.fspath(image)
        pixels = one_frame(image)
        height, width = pixels.shape[2:]
        if (height, width) != size:
            raise DataError(
                f"{name}: is {width}x{height}, the export takes {size[1]}x{size[0]}; export with the size of your "
                f"camera's images (--size {height},{width})"
            )
        if pixels.dtype != torch.uint8:
            raise DataError(f"{name}: is {pixels.dtype}, the export takes uint8; give the camera's bytes")
        yield pixels


def _drawn(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Smooth random images with a little noise, always the same."""
    generator = torch.Generator().manual_seed(0)
    coarse = [max(2, length // 16) for length in size]
    images = torch.rand(_DRAWN, 3, *coarse, generator=generator)
    smooth = torch.nn.functional.interpolate(images, size, mode="bilinear", align_corners=False)
    noisy = 255 * smooth + 4 * torch.randn(smooth.shape, generator=generator)
    return list(noisy.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())
