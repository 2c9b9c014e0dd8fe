"""Scores of images of any size, a band of rows after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from stadx.dense import Method, check_stride
from stadx.engine import Workspace
from stadx.scoring import LEVEL_STRIDE, Ensemble, Normalization, fuse, pieces
from stadx.windows import ImageRows

_KEPT_PIXELS = 1 << 22  # whose errors are kept until the level of all is known
_LEVEL_BANDS = 16


def score_bands(
    ensembles: Sequence[Ensemble],
    normalizations: Sequence[Normalization],
    image: ImageRows,
    stride: int,
    method: Method,
) -> Iterator[Tensor]:
    """Anomaly scores (Eqs. 11 and 12) of an image from top to bottom: float32 [rows, width] each, all rows together.

    Memory does not grow with the image's height; the engine's bits do not depend on how it is cut. Where the level is
    taken out of an image of more than 4 million scored pixels, up to 16 bands are looked at before.
    """
    check_stride(stride)
    side = min(ensemble.tile_side(image, stride) for ensemble in ensembles)
    sizes: dict[str, int] = {}  # the scales take turns in the same memory
    for ensemble in ensembles:
        for name, size in ensemble.buffer_sizes(image, side, stride).items():
            sizes[name] = max(size, sizes.get(name, 0))
    workspace = Workspace(sizes)
    bands = list(pieces(image.height, side, stride))

    def errors(band: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
        return [e.band(image, *band, stride=stride, method=method, tile=side, workspace=workspace) for e in ensembles]

    kept: list[list[tuple[Tensor, Tensor]]] = []
    factors: list[Tensor | None] = [None] * len(ensembles)
    if any(n.strength for n in normalizations):
        if image.height * image.width * len(ensembles) <= _KEPT_PIXELS * stride**2:
            kept = [errors(band) for band in bands]
            whole = [torch.cat([pairs[i][0] for pairs in kept]) for i in range(len(ensembles))]
            factors = [n.factor(e, stride) for n, e in zip(normalizations, whole, strict=True)]
        else:
            parts = zip(ensembles, normalizations, strict=True)
            factors = [_factor(ensemble, n, image, stride, method) for ensemble, n in parts]
    upsampler = Upsampler(image.height, image.width, stride)
    for index, band in enumerate(bands):
        parts_of_score = zip(normalizations, kept[index] if kept else errors(band), factors, strict=True)
        rows = upsampler.push(fuse([n.score(e, v, factor) for n, (e, v), factor in parts_of_score]))
        if len(rows):
            yield rows


def _factor(ensemble: Ensemble, normalization: Normalization, image: ImageRows, stride: int, method: Method) -> Tensor:
    """The factor of an image too large to keep its errors, from every 8th pixel of up to 16 bands."""
    stride = max(stride, LEVEL_STRIDE)
    side = ensemble.tile_side(image, stride)
    workspace = Workspace(ensemble.buffer_sizes(image, side, stride))
    bands = list(pieces(image.height, side, stride))
    parts = [
        ensemble.band(image, begin, end, stride=stride, method=method, tile=side, workspace=workspace)[0]
        for begin, end in bands[:: -(-len(bands) // _LEVEL_BANDS)]
    ]
    return normalization.factor(torch.cat(parts), stride)


class Upsampler:
    """Bilinear interpolation of maps known at every stride-th row and column, band by band.

    Beyond the last known row and column their values continue.
    """

    def __init__(self, height: int, width: int, stride: int) -> None:
        self._height, self._stride = height, stride
        column = torch.arange(width)
        self._column = column // stride
        self._share = (column % stride).float() / stride
        self._done = 0
        self._kept = torch.empty(0)

    def push(self, known: Tensor) -> Tensor:
        """Take further rows [n, ⌈W / stride⌉], give the rows [m, W] that they complete."""
        if self._stride == 1:
            return known
        right = (self._column + 1).clamp_max(known.shape[1] - 1)
        left_values, right_values = known[:, self._column], known[:, right]
        wide = left_values + (right_values - left_values) * self._share
        known_rows = torch.cat([self._kept, wide]) if self._done else wide
        first = max(self._done - 1, 0)  # known row that known_rows[0] is
        self._done = first + len(known_rows)
        self._kept = known_rows[-1:]
        last = (self._done - 1) * self._stride
        end = self._height if self._done * self._stride >= self._height else last
        row = torch.arange(first * self._stride, end)
        above = row // self._stride - first
        below = (above + 1).clamp_max(len(known_rows) - 1)
        share = (row % self._stride).float()[:, None] / self._stride
        return known_rows[above] + (known_rows[below] - known_rows[above]) * share


def upsample(known: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Maps known at every stride-th row and column [B, h, w], bilinearly at every pixel [B, height, width].

    Beyond the last known row and column their values continue; the same as `bands.Upsampler`, all at once.
    """
    if stride == 1:
        return known
    for dim, length in ((2, width), (1, height)):
        position = torch.arange(length, device=known.device)
        before = position // stride
        share = (position % stride).float() / stride
        if dim == 1:
            share = share[:, None]
        low = known.index_select(dim, before)
        high = known.index_select(dim, (before + 1).clamp_max(known.shape[dim] - 1))
        known = low + (high - low) * share
    return known
