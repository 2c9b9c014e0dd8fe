"""The depths that images have, and the range of values that follows from them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stadx.core.errors import DataWarning

from .pixels import is_bytes, read_pixels
from .samples import Pixels, full_scale
from .value_range import BYTES, UNIT, ValueRange, depth_in_words


class Depths:
    """Which depths and values images have, told one by one.

    Attributes:
        kinds: how many have 8 bits, 16 bits, floating point; and white at which value, where their files say so.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._depths: set[str] = set()
        self._fulls: set[float] = set()
        self._bits = 8
        self._unsaid = 0.0  # the highest of 16 bits whose white is not known
        self._low, self._high = np.inf, -np.inf
        self._whole = True

    def add(self, pixels: Pixels) -> None:
        """Count an image."""
        values, full = pixels.values, pixels.full
        depth = values.dtype.name
        if depth == "uint8":
            self.add_bytes()
            return
        low, high = float(values.min()), float(values.max())
        self._depths.add(depth)
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._bits = max(self._bits, pixels.bits)
        if full is not None:
            self._fulls.add(full)
        elif depth == "uint16":
            self._unsaid = max(self._unsaid, high)
        if depth == "float32":
            self._whole = self._whole and bool((values == np.rint(values)).all())
        self.kinds[depth_in_words(depth, full)] += 1

    def add_bytes(self) -> None:
        """Count an image of 8 bits."""
        self._depths.add("uint8")
        self.kinds[depth_in_words("uint8", None)] += 1

    def range(self, given: Sequence[float] | None = None) -> ValueRange:
        """The range of these images: what their files say, or else their values; or with black and white as given."""
        found = self._found()
        if given is None:
            return found
        low, high = (float(value) for value in given)
        return ValueRange(low, high, found.full, found.depth, "given")

    def _found(self) -> ValueRange:
        if "float32" in self._depths:
            if self._low >= 0 and self._high <= 1:
                return ValueRange(0, 1, 1, "float32", "values")
            if self._low >= 0 and self._whole:
                high = full_scale(self._high, self._bits)
                return ValueRange(0, high, None, "float32", "values")
            return ValueRange(self._low, max(self._high, np.nextafter(self._low, np.inf)), None, "float32", "values")
        if "uint16" in self._depths:
            said = max(self._fulls, default=0)
            seen = full_scale(self._unsaid, self._bits) if self._unsaid or not said else 0
            full = max(said, seen)
            known = said >= seen or 8 < self._bits == int(full).bit_length()
            return ValueRange(0, full, full, "uint16", "files" if known else "values")
        return BYTES


def range_of_files(paths: Sequence[Path], given: Sequence[float] | None = None) -> ValueRange:
    """The range of training images; those of 8 bits are not decoded for that.

    Warns, by `DataWarning`, of images of several depths.

    Raises:
        DataError: if an image cannot be read.
    """
    depths = Depths()
    for path in paths:
        if is_bytes(path):
            depths.add_bytes()
        else:
            depths.add(read_pixels(path))
    if len(depths.kinds) > 1:
        warnings.warn(DataWarning(mixed(depths.kinds)), stacklevel=2)
    return depths.range(given)


def range_of_tensors(images: Sequence[Tensor], given: Sequence[float] | None = None) -> ValueRange:
    """The range of images in memory, uint8 or in [0, 1]; or, where one is given, that of files that they stand for."""
    if given is None:
        return BYTES if all(image.dtype == torch.uint8 for image in images) else UNIT
    low, high = (float(value) for value in given)
    if low < 0 or high > 65535:
        return ValueRange(low, high, None, "float32", "given")
    full = 1 if high <= 1 else full_scale(high)
    return ValueRange(low, high, full, "float32" if full == 1 else "uint8" if full == 255 else "uint16", "given")


def mixed(kinds: Mapping[str, int]) -> str:
    """Say that images have several depths."""
    listed = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
    return f"the images have several depths ({listed}), and are scaled to one; save all alike"
