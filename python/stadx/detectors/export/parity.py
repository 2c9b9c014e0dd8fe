"""Is the exported graph the detector? Both look at the same images, and the figures decide."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError, StadxError
from stadx.core.progress import Progress, silent
from stadx.data.frames import one_frame
from stadx.data.pixels import read_pixels
from stadx.data.value_range import BYTES, ValueRange, scale_factor, to_range
from stadx.detectors.student_teacher.detector import Detector

from .graph import value_range_of

Checked = Sequence[str | os.PathLike[str] | NDArray[Any]]
"""Images that an export is compared on: files, or arrays [H, W, 3] of the values that it takes, such as uint8."""

Outputs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]
"""Maps [B, H, W], image scores [B], masks [B, H, W], whether images are anomalous [B]."""

Run = Callable[[NDArray[Any]], Outputs]
"""Runs an exported graph on images [B, H, W, 3]."""

ExportPrecision = Literal["float32", "bfloat16"]
"""What an export computes in."""

LIMITS: Mapping[ExportPrecision, float] = {"float32": 1e-3, "bfloat16": 0.5}
"""Each pixel of a map differs from the detector's by less than this, in standard deviations of that map."""

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
        wrong_share: those of them whose score is not the threshold within the allowed difference.
        verdicts: images of which one says that they are anomalous, and the other does not.
        wrong_verdicts: those of them whose score is not the threshold within the allowed difference; in bfloat16, all.
        precision: what the graph computes in.
    """

    images: int
    real: bool
    map_difference: float
    compared_with: str
    engine_difference: float
    score_difference: float
    mask_share: float
    wrong_share: float
    verdicts: int
    wrong_verdicts: int
    precision: ExportPrecision = "float32"

    @property
    def holds(self) -> bool:
        """Whether the graph is the detector; NaN is not.

        Thresholds are scores of good images, so that a score may be the threshold itself: then rounding decides.
        """
        return self.map_difference < LIMITS[self.precision] and not self.wrong_share and not self.wrong_verdicts

    def sentence(self) -> str:
        """The figures in words."""
        with_what = "" if self.compared_with == "engine" else " from PyTorch's convolutions"
        band = f"in {self.wrong_share:.2g} and {self.wrong_verdicts} (allowed: none)"
        if self.precision != "float32":
            band = f"masks in {self.wrong_share:.2g} (allowed: none, and no verdict anywhere)"
        return (
            f"of {self.images} {'images' if self.real else 'drawn images (no real ones were given)'} the maps differ "
            f"by at most {self.map_difference:.2g} of a map's standard deviation{with_what} (allowed: less than "
            f"{LIMITS[self.precision]:g}), the image scores by {self.score_difference:.2g}, masks in "
            f"{self.mask_share:.2g} of the pixels and verdicts in {self.verdicts} images; where the score is not the "
            f"threshold within that difference, {band}"
        )

    def to_json(self) -> dict[str, Any]:
        """All figures, and the limit."""
        return {**asdict(self), "map_difference_limit": LIMITS[self.precision]}


def compare(
    detector: Detector,
    run: Run,
    size: tuple[int, int],
    images: Checked | None,
    progress: Progress = silent,
    precision: ExportPrecision = "float32",
) -> Parity:
    """Compare a graph with the detector on images of one size, one after the other.

    Scores are thresholds within rounding in float32 alone: in bfloat16, each verdict has to be the same.

    Raises:
        DataError: if an image cannot be read or has another size.
        ParityError: if the graph's results are not the detector's.
    """
    taken = value_range_of(detector)
    given = _drawn(size, taken) if images is None else images
    if not len(given):
        raise DataError("there are no images to compare the export on; give some, or none at all for drawn ones")
    figures = np.zeros((len(given), 7))
    for number, values in enumerate(_of_size(given, size, taken)):
        image = torch.from_numpy(to_range(values, taken)).permute(0, 3, 1, 2)
        figures[number] = _figures(detector, image, run(values), precision)
        progress("Compared", number + 1, len(given), {})
    engine, direct, score, masks, wrong_masks = figures[:, :5].max(0).tolist()  # NaN stays
    verdicts, wrong_verdicts = figures[:, 5:].sum(0).astype(int).tolist()
    is_engine = engine < LIMITS[precision]
    parity = Parity(
        images=len(given),
        real=images is not None,
        map_difference=engine if is_engine else direct,
        engine_difference=engine,
        score_difference=score,
        compared_with="engine" if is_engine else "direct",
        mask_share=masks,
        wrong_share=wrong_masks,
        verdicts=verdicts,
        wrong_verdicts=wrong_verdicts,
        precision=precision,
    )
    if not parity.holds:
        fix = "Please report it with the model, or try another version of the packages that export"
        if precision != "float32":
            fix = "Export it in float32, without --precision; or for images of the size that the model works at "
            fix += "(--size), since what a graph resizes is rounded, too"
        raise ParityError(f"the exported graph is not the detector: {parity.sentence()}; nothing was written. {fix}")
    return parity


def _figures(detector: Detector, image: Tensor, found: Outputs, precision: ExportPrecision) -> tuple[float, ...]:
    """Of one image: difference of the map from the engine's and from PyTorch's; of the score; masks; verdicts."""
    maps, scores, masks, verdicts = found
    expected = detector.predict(image)
    reference, score = expected.maps.numpy(), float(expected.image_scores[0])
    deviation = max(float(reference.std()), _LEAST_DEVIATION)
    engine = direct = float(np.abs(maps - reference).max()) / deviation
    if not engine < LIMITS[precision]:
        direct = float(np.abs(maps - detector.predict(image, method="direct").maps.numpy()).max()) / deviation
    allowed, threshold = LIMITS[precision] * deviation, detector.image_threshold()
    masks_differ = masks != expected.masks.numpy()
    far = np.abs(reference - detector.threshold_) > allowed
    verdict_differs = bool(verdicts[0]) != (score > threshold)
    wrong_verdict = verdict_differs and not (precision == "float32" and abs(score - threshold) <= allowed)
    shares = float(masks_differ.mean()), float((masks_differ & far).mean())
    return engine, direct, abs(float(scores[0]) - score), *shares, float(verdict_differs), float(wrong_verdict)


def _of_size(images: Checked, size: tuple[int, int], taken: ValueRange) -> Iterator[NDArray[Any]]:
    """Images [1, H, W, 3], of the values that the export takes."""
    for number, image in enumerate(images):
        name = f"image {number}" if isinstance(image, np.ndarray) else str(image)
        values = _values(image, name, taken)
        height, width = values.shape[1:3]
        if (height, width) != size:
            raise DataError(
                f"{name}: is {width}x{height}, the export takes {size[1]}x{size[0]}; export with the size of your "
                f"camera's images (--size {height},{width})"
            )
        if values.dtype != taken.depth:
            raise DataError(f"{name}: is {values.dtype}, the export takes {taken.depth}; give images as the camera's")
        yield values


def _values(image: str | os.PathLike[str] | NDArray[Any], name: str, taken: ValueRange) -> NDArray[Any]:
    """One image [1, H, W, 3], not yet checked, as its file or array holds it."""
    if taken is BYTES:
        return one_frame(image).permute(0, 2, 3, 1).contiguous().numpy()
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3:
            raise DataError(f"{name}: has shape {list(image.shape)}; give arrays [H, W, 3]")
        return image[None]
    one_frame(image, value_range=taken)  # raises and warns of what the detector would
    pixels = read_pixels(image)
    if scale_factor(pixels.values.dtype, taken, pixels.full) != 1:
        raise DataError(
            f"{name}: is white at {pixels.full or 255:g}, the model's images at {taken.full:g}, and an export takes "
            "values as they are; give images as the camera's"
        )
    return pixels.values[None]


def _drawn(size: tuple[int, int], taken: ValueRange) -> list[NDArray[Any]]:
    """Smooth random images with a little noise, always the same."""
    generator = torch.Generator().manual_seed(0)
    coarse = [max(2, length // 16) for length in size]
    images = torch.rand(_DRAWN, 3, *coarse, generator=generator)
    smooth = torch.nn.functional.interpolate(images, size, mode="bilinear", align_corners=False)
    noisy = 255 * smooth + 4 * torch.randn(smooth.shape, generator=generator)
    shares = (noisy.clamp(0, 255) / 255).permute(0, 2, 3, 1).double()
    values = (taken.low + shares * (taken.high - taken.low)).contiguous().numpy()
    return list((values if taken.depth == "float32" else np.floor(values + 1e-3)).astype(taken.depth))
