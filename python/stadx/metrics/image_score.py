"""The score of a whole image: of its map the highest value, or the mean of the highest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def image_scores(maps: Tensor, top_share: float = 0.0, inside: Tensor | None = None) -> Tensor:
    """Scores [B] of maps [B, H, W]: the mean of the `top_share` highest values, at least one; 0: the highest.

    Of the pixels `inside`, bool [B, H, W]; None: of all.
    """
    if inside is not None and len(maps):
        parts = zip(maps, inside, strict=True)
        return torch.cat([image_scores(scores[mask][None], top_share) for scores, mask in parts])
    values = maps.flatten(1)
    count = pixels_that_count(values.shape[1], top_share)
    return values.amax(1) if count == 1 else _highest(values, count).mean(1)


def _highest(values: Tensor, count: int) -> Tensor:
    """The `count` highest of values [B, n], falling, NaN first: [B, count]."""
    traced = type(values) is not Tensor or torch.compiler.is_compiling()  # an exported model has topk in its graph
    wide = values.dtype in (torch.float32, torch.float64)
    if traced or not wide or values.device.type != "cpu" or values.requires_grad:
        return values.topk(count, 1).values
    try:
        array = values.numpy()
    except RuntimeError:  # torch.vmap's have no memory of their own
        return values.topk(count, 1).values
    # the same values in the same order in a sixth of topk's time, which keeps a heap
    highest = np.partition(array, values.shape[1] - count, axis=1)[:, -count:]
    highest.sort(axis=1)
    return torch.from_numpy(highest[:, ::-1].copy())


def pixels_that_count(pixels: int, top_share: float) -> int:
    """How many of so many values."""
    return max(1, round(top_share * pixels))


class HighestValues:
    """`image_scores` of one map that comes in parts.

    Args:
        pixels: of the whole map.
        top_share: as in `image_scores`.
    """

    def __init__(self, pixels: int, top_share: float) -> None:
        self._count = pixels_that_count(pixels, top_share)
        self._kept = torch.empty(0)

    def add(self, values: Tensor) -> None:
        """Add some of the map's values, of any shape."""
        values = torch.cat([self._kept, values.flatten().float()])
        self._kept = values.topk(min(self._count, len(values))).values

    def score(self) -> float:
        """The score, when all were added."""
        return float(self._kept.mean())
