"""Parts of padded images: cut from a tensor, or from a file too large to hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from .choices import Padding
from .padding import padded_positions
from .patch_network import normalize_images


class ImageRows(Protocol):
    """An image that is read a few rows at a time."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop): RGB [3, stop - start, width], uint8 or floating in [0, 1]."""
        ...


class TensorRows:
    """An image [3, H, W] in memory as `ImageRows`."""

    def __init__(self, image: Tensor) -> None:
        self._image = image

    @property
    def height(self) -> int:
        """H."""
        return self._image.shape[1]

    @property
    def width(self) -> int:
        """W."""
        return self._image.shape[2]

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) of the image, a view."""
        return self._image[:, start:stop]


class LastRows:
    """`ImageRows` that remembers the rows it gave last: tiles side by side want the same ones."""

    def __init__(self, image: ImageRows) -> None:
        self._image = image
        self._range = (0, 0)
        self._rows = torch.empty(0)

    @property
    def height(self) -> int:
        """H."""
        return self._image.height

    @property
    def width(self) -> int:
        """W."""
        return self._image.width

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) of the image."""
        if self._range != (start, stop):
            self._rows = torch.empty(0)  # first, so that there are never two
            self._rows, self._range = self._image.rows(start, stop), (start, stop)
        return self._rows


def padded_window(
    image: ImageRows,
    rows: tuple[int, int],
    columns: tuple[int, int],
    margin: int,
    padding: Padding,
    device: torch.device | None = None,
) -> Tensor:
    """Positions rows x columns of an image that is padded by `margin` on each side, normalised for the networks.

    Positions beyond the padded image are continued in the same way.

    Args:
        device: where it is normalised and returned; None: where the image's rows are.

    Returns:
        float32 [h, w, 3], contiguous.
    """
    row = padded_positions(*rows, image.height, margin, padding)
    column = padded_positions(*columns, image.width, margin, padding)
    inside = row[row >= 0]
    first, last = (int(inside.min()), int(inside.max())) if len(inside) else (0, 0)
    pixels = image.rows(first, last + 1)[:, (row - first).clamp_min(0)][:, :, column.clamp_min(0)]
    window = normalize_images(pixels[None].to(device or pixels.device))[0].float()
    if padding == "zeros":  # after normalising: the mean colour
        window = window * ((row >= 0)[:, None] & (column >= 0)).to(window.device)
    return window.permute(1, 2, 0).contiguous()


def pieces(begin: int, end: int, side: int, stride: int) -> Iterator[tuple[int, int]]:
    """Cut a range into ranges of about `side` that begin at multiples of 8 and of `stride`, as `begin` does."""
    unit = max(8, stride)
    side = max(-(-side // unit), 1) * unit
    for start in range(begin, end, side):
        yield start, min(start + side, end)
