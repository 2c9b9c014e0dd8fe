"""Scores of images of any size, a band of rows after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from stadx.networks.dense import Method, check_stride
from stadx.networks.engine import Workspace
from stadx.networks.upsampling import Upsampler
from stadx.networks.windows import ImageRows, pieces

from .ensemble import Ensemble
from .normalization import LEVEL_STRIDE, Normalization, fuse

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
