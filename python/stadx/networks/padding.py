"""How an image continues beyond its border."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .choices import Padding


def padded_positions(begin: int, end: int, length: int, margin: int, padding: Padding = "reflect") -> Tensor:
    """The positions [begin, end) of an axis padded by `margin` on each side as indices into its `length` pixels.

    Int64 [end - begin], -1 where there is a zero instead. "reflect" is `numpy.pad`'s, for any length: it bounces as
    often as it must (torch's own stops at length - 1).
    """
    index = torch.arange(begin - margin, end - margin)
    if padding == "zeros":
        return torch.where((index >= 0) & (index < length), index, -1)
    if padding == "replicate" or length == 1:
        return index.clamp(0, length - 1)
    index = index.remainder(2 * (length - 1))
    return torch.minimum(index, 2 * (length - 1) - index)


def pad_images(images: Tensor, margin: int, padding: Padding = "reflect") -> Tensor:
    """Images [B, C, H, W] continued by `margin` pixels on each side: [B, C, H + 2 margin, W + 2 margin]."""
    if padding == "zeros":
        return F.pad(images, (margin,) * 4)
    for dim in (-2, -1):
        size = images.shape[dim]
        index = padded_positions(0, size + 2 * margin, size, margin, padding)
        images = images.index_select(dim, index.to(images.device))
    return images
