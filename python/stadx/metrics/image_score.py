"""The score of a whole image: of its map the highest value, or the mean of the highest."""

from __future__ import annotations

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
    return values.amax(1) if count == 1 else values.topk(count, 1).values.mean(1)


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
