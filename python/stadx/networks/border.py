"""Which pixels of an image are computed, where a patch may reach beyond it, and how the others continue them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """Of some pixels along an axis, those that are computed: every stride-th of [begin, end).

    Attributes:
        begin: a multiple of 8 and of `stride`.
        before, after: how many on either side are not, and take the value of the nearest; counted in strides.
    """

    begin: int
    end: int
    stride: int = 1
    before: int = 0
    after: int = 0

    @property
    def count(self) -> int:
        """How many are computed."""
        return -(-(self.end - self.begin) // self.stride)

    @property
    def pixels(self) -> slice:
        """Which they are, of all along the axis."""
        return slice(self.begin, self.end, self.stride)

    def near(self, first: int, last: int) -> Span:
        """Of the pixels [first, last), `first` a multiple of the stride; at least the nearest one is computed."""
        begin, end = max(first, self.begin), min(last, self.end)
        if begin >= end:
            begin = self.begin if last <= self.begin else self.begin + (self.count - 1) * self.stride
            return Span(begin, begin + 1, self.stride, -(-(last - first) // self.stride) - 1)
        after = -(-last // self.stride) - -(-end // self.stride)
        return Span(begin, end, self.stride, (begin - first) // self.stride, after)


class Computed(NamedTuple):
    """The pixels of an image that are computed; the others take the value of the nearest of them."""

    rows: Span
    columns: Span

    def of(self, mask: Tensor) -> Tensor:
        """What a mask [..., H, W] of the image is at them, [..., h, w]."""
        return mask[..., self.rows.pixels, self.columns.pixels]

    def continued(self, maps: Tensor) -> Tensor:
        """Maps [..., h, w] of the computed pixels, continued outwards: [..., ⌈H / stride⌉, ⌈W / stride⌉]."""
        around = self.columns.before, self.columns.after, self.rows.before, self.rows.after
        if not any(around):
            return maps
        wide = F.pad(maps.reshape(1, -1, *maps.shape[-2:]), around, "replicate")
        return wide.view(*maps.shape[:-2], *wide.shape[-2:])


def computed_pixels(height: int, width: int, patch_size: int, inside: bool, stride: int = 1) -> Computed:
    """The pixels of an image that are computed.

    Args:
        height, width: of the image.
        patch_size: p.
        inside: only those whose patch lies within the image. One that holds none of them is computed all over.
        stride: a power of two.
    """
    margin = patch_size // 2 if inside else 0  # p is 17, 33 or 65: a multiple of 8
    begin = -(-margin // stride) * stride
    spans = [Span(begin, length - margin, stride).near(0, length) for length in (height, width)]
    if min(height, width) - margin <= begin:
        spans = [Span(0, length, stride) for length in (height, width)]
    return Computed(*spans)
