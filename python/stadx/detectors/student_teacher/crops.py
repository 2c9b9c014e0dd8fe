"""The parts of training images that a training step sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.networks.patch_network import PatchNetwork
from stadx.networks.windows import TensorRows, padded_window

_CELL = 16  # pixels a side of what `Focus` tells apart


class Crop(NamedTuple):
    """Every stride-th pixel of every stride-th row of a rectangle of an image, or of those of it that are computed.

    Attributes:
        row, column: the first of its pixels.
        height, width: how many pixels it has along each side, counted in steps of `stride`.
        stride: from pixel to pixel; a network's own is one phase of its pooling grid.
    """

    row: int
    column: int
    height: int
    width: int
    stride: int

    def of(self, values: Tensor) -> Tensor:
        """Its pixels of a map [H, W, ...]: [height, width, ...]."""
        s = self.stride
        rows = slice(self.row, self.row + s * (self.height - 1) + 1, s)
        columns = slice(self.column, self.column + s * (self.width - 1) + 1, s)
        return values[rows, columns]

    def receptive_field(self, image: Tensor, net: PatchNetwork, inside: bool = False) -> Tensor:
        """What a network needs of an image [3, H, W], normalised and padded, to describe them.

        Args:
            inside: whether row and column count from the first pixel whose patch lies within the image.

        Returns:
            float32 [1, 3, h, w] on the network's device.
        """
        p, device = net.patch_size, next(net.parameters()).device
        margin = 0 if inside else p // 2
        rows = self.row, self.row + self.stride * (self.height - 1) + p
        columns = self.column, self.column + self.stride * (self.width - 1) + p
        window = padded_window(TensorRows(image), rows, columns, margin, net.padding, device)
        return window.permute(2, 0, 1)[None].contiguous()


def random_crops(
    sizes: Sequence[tuple[int, int]], side: int | None, stride: int, rng: np.random.Generator
) -> list[Crop]:
    """One crop of each image, all of the same size.

    A crop's place is uniform over all that touch the image, those that reach beyond it being moved inside: so the
    pixels near the border are seen no less often than those in the middle.

    Args:
        sizes: height and width of each image in pixels.
        side: of a crop in pixels; None, or more than there are: as large as the smallest image.
        stride: of the pixels in it.
        rng: source of the places.
    """
    smallest = [min(lengths) for lengths in zip(*sizes, strict=True)]
    counts = [max(1, min(side or length, length) // stride) for length in smallest]
    crops = []
    for size in sizes:
        row, column = (
            _place(length, stride * (n - 1) + 1, stride, rng) for length, n in zip(size, counts, strict=True)
        )
        crops.append(Crop(row, column, counts[0], counts[1], stride))
    return crops


def _place(length: int, span: int, stride: int, rng: np.random.Generator) -> int:
    return _inside(int(rng.integers(1 - span, length)), length - span, stride, rng)


def _inside(place: int, last: int, stride: int, rng: np.random.Generator) -> int:
    """`place` moved into 0 … last."""
    if 0 <= place <= last:
        return place
    inwards = int(rng.integers(min(stride, last + 1)))  # else the border would always be in the same phase
    return inwards if place < 0 else last - inwards


def covering(crop: Crop, inside: Tensor, rng: np.random.Generator) -> Crop:
    """A crop of that size elsewhere on an image: it covers a pixel that is set in bool [H, W], drawn uniformly."""
    pixels = np.flatnonzero(inside.numpy())
    pixel = divmod(int(pixels[rng.integers(len(pixels))]), inside.shape[1])
    return _around(crop, pixel, inside.shape, rng)


def _around(crop: Crop, pixel: Sequence[int], size: Sequence[int], rng: np.random.Generator) -> Crop:
    """`crop` moved to a place where it covers a pixel; what would reach beyond the image is moved inside."""
    spans = [crop.stride * (n - 1) + 1 for n in (crop.height, crop.width)]
    row, column = (
        _inside(at - int(rng.integers(span)), n - span, crop.stride, rng)
        for at, n, span in zip(pixel, size, spans, strict=True)
    )
    return crop._replace(row=row, column=column)


class Focus:
    """Where on each training image the loss was high when last seen, in cells of 16 x 16 pixels.

    Args:
        sizes: height and width of each image in pixels.
        share: of the crops that `place` moves there.
        start: loss that places not yet seen are taken to have.
        insides: which pixels of each image are looked at, bool [H, W]; None: all. It never goes elsewhere.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        share: float,
        start: float,
        insides: Sequence[Tensor | None] | None = None,
    ) -> None:
        self.share = share
        self._sizes = list(sizes)
        self._insides = list(insides or [None] * len(self._sizes))
        self._shares = [None if inside is None else _share_of_cells(inside) for inside in self._insides]
        self._losses = [np.full((-(-h // _CELL), -(-w // _CELL)), start, np.float32) for h, w in sizes]

    def place(self, image: int, crop: Crop, rng: np.random.Generator) -> Crop:
        """The crop itself, or, with probability `share`, one of its size elsewhere on the image of that number.

        That covers a pixel drawn in proportion to the loss of its cell, anywhere within the crop; what reaches beyond
        the image is moved inside.
        """
        losses, size = self._losses[image], self._sizes[image]
        spans = [crop.stride * (n - 1) + 1 for n in (crop.height, crop.width)]
        if rng.random() >= self.share or all(n - span < _CELL for n, span in zip(size, spans, strict=True)):
            return crop
        weights = losses.ravel() + 1e-6  # never all zero
        if (shares := self._shares[image]) is not None:
            weights = weights * shares.ravel()
        cell = np.unravel_index(rng.choice(len(weights), p=weights / weights.sum(dtype=np.float64)), losses.shape)
        if (inside := self._insides[image]) is not None:
            top, left = (_CELL * int(i) for i in cell)
            pixels = inside[top : top + _CELL, left : left + _CELL].nonzero()
            row, column = pixels[int(rng.integers(len(pixels)))].tolist()
            return _around(crop, (top + row, left + column), size, rng)
        pixel = [min(_CELL * int(i) + int(rng.integers(_CELL)), n - 1) for i, n in zip(cell, size, strict=True)]
        return _around(crop, pixel, size, rng)

    def update(self, image: int, crop: Crop, loss: Tensor, weight: Tensor | None = None) -> None:
        """Note the loss [height, width] of a crop's pixels, of those whose `weight` is 1, not 0."""
        cells = self._losses[image]
        rows = (crop.row + crop.stride * np.arange(crop.height)) // _CELL
        columns = (crop.column + crop.stride * np.arange(crop.width)) // _CELL
        at = (rows[:, None] * cells.shape[1] + columns).ravel()
        if weight is not None:
            kept = weight.numpy().ravel() > 0
            at, loss = at[kept], loss.flatten()[torch.from_numpy(kept)]
        count = np.bincount(at, minlength=cells.size).reshape(cells.shape)
        total = np.bincount(at, loss.numpy().ravel(), cells.size).reshape(cells.shape)
        known = np.minimum(count * (crop.stride / _CELL) ** 2, 1)  # share of a cell that was seen
        cells += (known * (total / np.maximum(count, 1) - cells)).astype(np.float32)

    @property
    def losses(self) -> Tensor:
        """All cells of all images in one row, for a checkpoint."""
        return torch.from_numpy(np.concatenate([cells.ravel() for cells in self._losses]))

    @losses.setter
    def losses(self, losses: Tensor) -> None:
        sizes = [cells.size for cells in self._losses]
        for cells, values in zip(self._losses, torch.split(losses, sizes), strict=True):
            cells[:] = values.numpy().reshape(cells.shape)


def _share_of_cells(inside: Tensor) -> NDArray[np.float64]:
    """How many pixels of each cell of an image are set in bool [H, W], as a share of a whole cell."""
    rows, columns = (np.arange(0, n, _CELL) for n in inside.shape)
    counts = np.add.reduceat(np.add.reduceat(inside.numpy().astype(np.int64), rows, 0), columns, 1)
    return counts / _CELL**2
