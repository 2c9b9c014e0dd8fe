"""Scoring on the CPU: images of any height, a band of rows after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from stadx.data.roi import nearest
from stadx.networks.border import Computed
from stadx.networks.dense import Method
from stadx.networks.engine import Workspace
from stadx.networks.windows import ImageRows, TensorRows, pieces

from .ensemble import Ensemble
from .normalization import LEVEL_STRIDE, Normalization, fuse

_KEPT_PIXELS = 1 << 22  # whose errors are kept until the level of all is known
_LEVEL_BANDS = 16


class CpuScorer:
    """Anomaly maps of images on the CPU.

    Args:
        ensembles: of every scale.
        normalizations: of every scale; `errors` needs none.
        method: as in `dense_features`.
    """

    device = torch.device("cpu")
    together = 1

    def __init__(
        self, ensembles: Sequence[Ensemble], normalizations: Sequence[Normalization] = (), method: Method = "auto"
    ) -> None:
        self._ensembles = ensembles
        self._normalizations = normalizations
        self._method: Method = method

    def errors(self, images: Tensor, stride: int = 1) -> list[tuple[Tensor, Tensor]]:
        """As `Scorer.errors`, of one image."""
        pairs = [e.error_and_variance(images, stride=stride, method=self._method) for e in self._ensembles]
        return [(e[None], v[None]) for e, v in pairs]

    def maps(self, images: Tensor, stride: int = 1, roi: Tensor | None = None) -> Iterator[Tensor]:
        """As `Scorer.maps`, of one image."""
        (image,) = images
        return self.bands(TensorRows(image), stride, None if roi is None else roi[0])

    def bands(self, image: ImageRows, stride: int, roi: Tensor | None = None) -> Iterator[Tensor]:
        """Anomaly map at every stride-th pixel, from top to bottom: float32 [1, rows, ⌈W / stride⌉], all rows together.

        Memory does not grow with the image's height; the engine's bits do not depend on how it is cut. Where the level
        is taken out of an image of more than 4 million scored pixels, up to 16 bands are looked at before. It is that
        of the pixels inside `roi`, bool [h, w] of any size.
        """
        side = min(ensemble.tile_side(image, stride) for ensemble in self._ensembles)
        sizes: dict[str, int] = {}  # the scales take turns in the same memory
        for ensemble in self._ensembles:
            for name, size in ensemble.buffer_sizes(image, side, stride).items():
                sizes[name] = max(size, sizes.get(name, 0))
        tiles: dict[str, Any] = {"stride": stride, "method": self._method, "tile": side, "workspace": Workspace(sizes)}
        scales = list(zip(self._ensembles, self._normalizations, strict=True))
        kept: list[tuple[Tensor, ...]] = []
        factors: list[Tensor | None] = [None] * len(scales)
        if any(n.strength for n in self._normalizations):
            if image.height * image.width * len(scales) <= _KEPT_PIXELS * stride**2:
                kept = [ensemble.whole(image, **tiles) for ensemble in self._ensembles]
                insides = [_inside(roi, image, ensemble.computed(image, stride)) for ensemble in self._ensembles]
                found = zip(self._normalizations, kept, insides, strict=True)
                factors = [n.factor(e, stride, inside) for n, (e, _), inside in found]
            else:
                factors = [self._factor(ensemble, n, image, stride, roi) for ensemble, n in scales]
        for top, bottom in pieces(0, image.height, side, stride):
            maps = []
            for index, (ensemble, normalization) in enumerate(scales):
                computed = ensemble.computed(image, stride)
                rows = computed.rows.near(top, bottom)
                if kept:
                    first = (rows.begin - computed.rows.begin) // stride
                    e, v = (x[first : first + rows.count] for x in kept[index])
                else:
                    e, v = ensemble.band(image, rows.begin, rows.end, **tiles)
                scores = normalization.score(e, v, factors[index])
                maps.append(computed._replace(rows=rows).continued(scores))
            yield fuse(maps)[None]

    def _factor(
        self, ensemble: Ensemble, normalization: Normalization, image: ImageRows, stride: int, roi: Tensor | None
    ) -> Tensor:
        """The factor of an image too large to keep its errors, from every 8th pixel of up to 16 bands."""
        stride = max(stride, LEVEL_STRIDE)
        side = ensemble.tile_side(image, stride)
        workspace = Workspace(ensemble.buffer_sizes(image, side, stride))
        computed = ensemble.computed(image, stride)
        bands = list(pieces(computed.rows.begin, computed.rows.end, side, stride))
        bands = bands[:: -(-len(bands) // _LEVEL_BANDS)]
        parts = [
            ensemble.band(image, *band, stride=stride, method=self._method, tile=side, workspace=workspace)[0]
            for band in bands
        ]
        insides = [_inside(roi, image, computed._replace(rows=computed.rows.near(*band))) for band in bands]
        inside = None if roi is None else torch.cat([x for x in insides if x is not None])
        return normalization.factor(torch.cat(parts), stride, inside)


def _inside(roi: Tensor | None, image: ImageRows, computed: Computed) -> Tensor | None:
    """Which of the computed pixels are inside a mask [h, w] of any size."""
    size = image.height, image.width
    return None if roi is None else nearest(roi, size, computed.rows.pixels, computed.columns.pixels)
