"""Which values of images are black and white to a detector, and images within that range."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stadx.core.errors import DataError, DataWarning

from .images import read_image
from .pixels import read_pixels
from .samples import Array, UInt8Array

Depth = Literal["uint8", "uint16", "float32"]
"""The kind of values that images have."""

_BITS = {"uint8": "8 bits", "uint16": "16 bits", "float32": "floating point"}
_SOURCES = {
    "depth": "by their depth",
    "files": "as their files say",
    "values": "by their values",
    "given": "as given",
    "memory": "as images in memory have them",
}


@dataclass(frozen=True)
class ValueRange:
    """The range of a detector's training images: what is black, and what is white.

    Attributes:
        low, high: these values.
        full: white of these images by their depth, on which scale `low` and `high` are: 255, 4095, 65535, 1 …; None:
            of floating-point images that have no such value.
        depth: the kind of values that they have.
        source: where the range comes from.
    """

    low: float
    high: float
    full: float | None
    depth: Depth
    source: Literal["depth", "files", "values", "given", "memory"] = "depth"

    @property
    def is_plain(self) -> bool:
        """Whether it is that of 8 bits, or of images in memory: all there was in previous versions."""
        return (self.depth == "uint8" and self.is_whole) or self.source == "memory"

    @property
    def is_whole(self) -> bool:
        """Whether it goes from 0 to the full scale."""
        return self.low == 0 and self.high == self.full

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def sentence(self) -> str:
        """What it is, and of which images."""
        bits = "" if self.depth != "uint16" or self.full is None else f", {int(self.full).bit_length()} used"
        return f"{self}, {_SOURCES[self.source]} (training images of {_BITS[self.depth]}{bits})"

    def to_json(self) -> dict[str, Any]:
        """As values that `json.dumps` takes."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any] | None) -> ValueRange | None:
        """Undo `to_json`; None: none, as in files of previous versions."""
        return None if content is None else ValueRange(**content)


BYTES = ValueRange(0, 255, 255, "uint8")
UNIT = ValueRange(0, 1, 1, "float32", "memory")


def to_range(values: Array, value_range: ValueRange, full: float | None = None) -> UInt8Array | npt.NDArray[np.float32]:
    """Values of images as shares of a range, in [0, 1]; what lies beyond is clipped.

    Args:
        values: of any shape; uint8, uint16 or floating point.
        value_range: the detector's.
        full: the value that is white, if it is known; 255 for uint8. Where that of the range is another one, values are
            scaled from one to the other. Not known, values of the range's own depth are taken as they are, others as
            of 16 bits, or in [0, 1].

    Returns:
        float32; uint8 values unchanged where the range is that of their depth.
    """
    if values.dtype == np.uint8 and value_range.is_whole:
        return values
    share = _on_scale(values, value_range, full)
    share -= np.float32(value_range.low)
    share /= np.float32(value_range.high - value_range.low)
    return np.clip(share, 0, 1, out=share)


def scale_factor(dtype: np.dtype[Any], value_range: ValueRange, full: float | None) -> float:
    """What values are multiplied by to be on the scale of a range."""
    if dtype == np.uint8:
        full = 255
    if value_range.full is None or (full is None and dtype == value_range.depth):
        return 1.0
    if full is None:
        full = 65535 if dtype == np.uint16 else 1
    return value_range.full / full


def _on_scale(values: Array, value_range: ValueRange, full: float | None) -> npt.NDArray[np.float32]:
    factor = scale_factor(values.dtype, value_range, full)
    if factor == 1:
        return values.astype(np.float32)
    scaled: npt.NDArray[np.float32] = (values * np.float64(factor)).astype(np.float32)  # rounded once: white stays so
    return scaled


def beyond(values: Array, value_range: ValueRange, full: float | None = None) -> npt.NDArray[np.bool_]:
    """Which values lie outside a range; arguments as of `to_range`."""
    if values.dtype == np.uint8 and value_range.is_whole:
        return np.zeros(values.shape, np.bool_)
    scaled = _on_scale(values, value_range, full)
    found: npt.NDArray[np.bool_] = (scaled < np.float32(value_range.low)) | (scaled > np.float32(value_range.high))
    return found


def read_in_range(path: str | os.PathLike[str], value_range: ValueRange | None) -> UInt8Array | npt.NDArray[np.float32]:
    """Read one image as a detector sees it: RGB [H, W, 3], uint8 or, in [0, 1], float32.

    Warns, by `DataWarning`, of an image of another depth than the range's, and of values beyond the range.

    Args:
        path: the file.
        value_range: the detector's; None, of models of previous versions: `read_image`.

    Raises:
        DataError: as `read_pixels`; and for floating-point values outside [0, 1] where the range is of whole numbers.
    """
    if value_range is None:
        return read_image(path)
    pixels = read_pixels(path)
    return in_range(pixels.values, value_range, path, pixels.full)


def in_range(
    values: Array, value_range: ValueRange, path: str | os.PathLike[str], full: float | None = None
) -> UInt8Array | npt.NDArray[np.float32]:
    """`to_range` of an image that messages call `path`, with the warnings and errors of `read_in_range`."""
    if values.dtype == np.float32 and value_range.depth != "float32" and not (values.min() >= 0 and values.max() <= 1):
        raise DataError(
            f"{path}: values from {values.min():g} to {values.max():g}, while the training images have "
            f"{_BITS[value_range.depth]}; save it as these, or scale it to 0..1"
        )
    warn_of_depth(path, values.dtype, full, value_range)
    if values.dtype != np.uint8 or not value_range.is_whole:  # of these none is: no need to look at each
        warn_of_values_beyond(path, float(beyond(values, value_range, full).any(2).mean()), value_range)
    return to_range(values, value_range, full)


def read_shown(path: str | os.PathLike[str], value_range: ValueRange | None) -> UInt8Array:
    """Read one image for display, uint8 RGB [H, W, 3]: the range from black to white."""
    return shown(read_in_range(path, value_range))


def shown(values: UInt8Array | npt.NDArray[np.float32]) -> UInt8Array:
    """What `read_in_range` gives as bytes."""
    return np.asarray(values if values.dtype == np.uint8 else np.rint(values * 255), np.uint8)


def warn_of_depth(
    path: str | os.PathLike[str], dtype: np.dtype[Any], full: float | None, value_range: ValueRange
) -> None:
    """Warn if an image has another depth, or another white by its file, than the training images."""
    factor = scale_factor(dtype, value_range, full)
    if value_range.source == "memory" or (dtype == value_range.depth and factor == 1):
        return
    how = "taken as they are" if factor == 1 else f"multiplied by {factor:.6g}"
    own = "" if value_range.full is None else f" with white at {value_range.full:g}"
    warnings.warn(
        DataWarning(
            f"{path}: has {depth_in_words(dtype.name, full)}, the training images {_BITS[value_range.depth]}{own}; "
            f"its values are {how}. Save it as they are saved"
        ),
        stacklevel=3,
    )


def warn_of_values_beyond(path: str | os.PathLike[str], share: float, value_range: ValueRange) -> None:
    """Warn if a share of an image's pixels has values outside the range."""
    if share:
        warnings.warn(
            DataWarning(
                f"{path}: {100 * share:.3g} % of its pixels have values outside the range of the training images, "
                f"{value_range}, and are clipped; where they matter, train with a wider one (--range LOW,HIGH)"
            ),
            stacklevel=3,
        )


def depth_in_words(depth: str, full: float | None) -> str:
    """A kind of values, and which one is white if the file says so."""
    return _BITS[depth] if full is None or depth == "uint8" else f"{_BITS[depth]} with white at {full:g}"
