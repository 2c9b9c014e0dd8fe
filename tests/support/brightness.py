"""A detector that learned nothing: a pixel's score is its brightness, from 0 to 1, and a half is the threshold."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import NamedTuple

import torch

from stadx.data.strips import RowReader
from stadx.data.tensors import ImageSize


class Found(NamedTuple):
    maps: torch.Tensor
    masks: torch.Tensor


class Brightness:
    threshold_ = 0.5
    settings = MappingProxyType[str, object]({})
    stride = 1

    def __init__(self, image_size: ImageSize = 256) -> None:
        self.image_size = image_size

    def image_threshold(self, stride: int = 1) -> float:
        return 0.6

    def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        return images.float().mean(1) / 255

    def predict(self, images: torch.Tensor, *, stride: int = 1) -> Found:
        assert stride == self.stride
        maps = self.score(images)
        return Found(maps, maps > self.threshold_)

    def score_bands(self, image: RowReader, *, stride: int = 1) -> Iterator[torch.Tensor]:
        assert stride == self.stride
        for start in range(0, image.height, 100):
            stop = min(image.height, start + 100)
            rows = image.rows(max(0, start - 30), min(image.height, stop + 30))
            yield self.score(rows[None])[0, min(start, 30) :][: stop - start]
