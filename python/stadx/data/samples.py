"""An image's samples as its file holds them: what they mean in bytes, and as values with their full scale."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stadx.core.errors import DataError, DataWarning

UInt8Array = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]


class Samples(NamedTuple):
    """An image upright, grey values not inverted.

    Attributes:
        values: [H, W, 1] of grey or [H, W, 3] of red, green and blue; of any real dtype.
        alpha: [H, W] of the same dtype; None: there is none.
        full: the value of white, if the file says so.
        bits: of how many bits the camera is, as far as the file says: not the depth of its samples. 0: it does not.
        is_premultiplied: whether `values` are multiplied by `alpha` already.
    """

    values: Array
    alpha: Array | None = None
    full: float | None = None
    bits: int = 0
    is_premultiplied: bool = False


class Pixels(NamedTuple):
    """An image at its own depth.

    Attributes:
        values: RGB [H, W, 3], uint8, uint16 or, of files of floating-point, signed or wider numbers, float32.
        full: the value of white, if the file says so; 255 for uint8.
        bits: of how many bits the camera is at least, as far as the file says; 0: it does not.
    """

    values: Array
    full: float | None
    bits: int = 0


def is_unfilled(highest: float, opaque: float = 255) -> bool:
    """Whether an alpha channel that is nowhere above `highest` is no picture's: it is 0, or 1 where 255 is opaque."""
    return highest <= opaque / 255


def warn_unfilled(path: Path) -> None:
    """Warn that an image's alpha channel is not used."""
    warnings.warn(
        DataWarning(
            f"{path}: its alpha channel is 0 everywhere, as if nobody had filled it, so the colour below is used; save "
            "it without alpha"
        ),
        stacklevel=2,
    )


def pixels_of(samples: Samples, path: Path) -> Pixels:
    """Samples as RGB with transparency laid on white.

    Raises:
        DataError: if a value is no finite number.
    """
    values = samples.values
    full = samples.full
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
        if odd := int((~np.isfinite(values)).any(2).sum()):
            raise DataError(
                f"{path}: {odd} of its pixels hold NaN, infinity or what float32 cannot hold; replace these values and "
                "save it again"
            )
    elif values.dtype.kind == "b":
        values, full = values.astype(np.uint8) * 255, 255
    elif values.dtype == np.uint8:
        if full not in (None, 255):  # fewer bits, or a Netpbm file's own maximum
            values = np.rint(values * (255 / full)).clip(0, 255).astype(np.uint8)
        full = 255
    elif values.dtype != np.uint16:
        fits = values.size and values.min() >= 0 and values.max() <= 65535
        values = values.astype(np.uint16 if fits else np.float32)
    if samples.alpha is not None:
        values = _laid_on_white(values, samples, path)
    return Pixels(np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3))), full, samples.bits)


def _laid_on_white(values: Array, samples: Samples, path: Path) -> Array:
    assert samples.alpha is not None
    alpha = samples.alpha.astype(np.float64)
    opaque = 1.0 if samples.alpha.dtype.kind == "f" else samples.full or full_scale(float(alpha.max()))
    share = (alpha / opaque).clip(0, 1)[..., None]
    if is_unfilled(float(share.max()), 1):
        warn_unfilled(path)
        return values
    if share.min() == 1:
        return values
    white = 255.0 if values.dtype == np.uint8 else opaque
    laid = values * (1.0 if samples.is_premultiplied else share) + white * (1 - share)
    laid = laid if values.dtype.kind == "f" else np.rint(laid)
    return laid.astype(values.dtype)


def full_scale(highest: float, least_bits: int = 8) -> int:
    """The smallest 2^k − 1, k at least `least_bits`, that is not below `highest`."""
    return int(2 ** max(least_bits, int(highest).bit_length()) - 1)


def bytes_of(samples: Samples, path: Path) -> UInt8Array:
    """Samples as a person would see them: uint8 RGB [H, W, 3].

    Whole numbers of more than 8 bits are taken for 16, if the file does not say how many there are.

    Raises:
        DataError: if floating-point values are not in [0, 1], or whole ones not in 0..65535.
    """
    pixels = pixels_of(samples, path)
    values = pixels.values
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        full = pixels.full or 65535
        if full == 65535 and samples.values.shape[2] == 3:  # as Pillow: the high byte
            return (values >> 8).astype(np.uint8)
        return np.rint(values.clip(0, full) * (255 / full)).astype(np.uint8)
    if samples.values.dtype.kind != "f":
        raise DataError(
            f"{path}: values from {samples.values.min()} to {samples.values.max()} do not fit 16 bits; "
            "scale them to 0..65535 and save it with 16 bits"
        )
    return floats_to_bytes(values, path)


def floats_to_bytes(values: npt.NDArray[Any], path: Path) -> UInt8Array:
    """Values in [0, 1] as bytes; `DataError` if one is not."""
    # Written so that NaN fails too.
    if not (values.min() >= 0 and values.max() <= 1):
        raise DataError(
            f"{path}: floating-point values from {values.min():g} to {values.max():g}; "
            "scale them to 0..1, or save it with 8 or 16 bits"
        )
    return np.asarray(np.rint(values * 255), dtype=np.uint8)
