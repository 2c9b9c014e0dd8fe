"""Resizing inside an exported graph: two products with constant weights; of bytes they give the detector's own bits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stadx.data.tensors import resize

_EXACT = 16  # bits of a weight up to which float32 holds 255 times the sum of all exactly


class ByteResize(nn.Module):
    """What `stadx.data.tensors.resize` does to uint8 images on a CPU, of and in float32 holding whole numbers.

    PyTorch rounds to bytes after each axis, and its weights are integers over a power of two. Both are done here, in
    sums that float32 holds exactly whatever their order: a runtime gives the same bytes.

    Args:
        size, target: height and width before and after.
    """

    def __init__(self, size: tuple[int, int], target: tuple[int, int]) -> None:
        super().__init__()
        self.rows = nn.Identity() if size[0] == target[0] else _AxisResize(size[0], target[0])
        self.columns = nn.Identity() if size[1] == target[1] else _AxisResize(size[1], target[1])

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] at the target size."""
        wide = self.columns(images)
        resized: Tensor = self.rows(wide.transpose(2, 3)).transpose(2, 3)
        return resized


class FloatResize(nn.Module):
    """What `stadx.data.tensors.resize` does to floating-point images, to rounding.

    Args:
        size, target: height and width before and after.
    """

    def __init__(self, size: tuple[int, int], target: tuple[int, int]) -> None:
        super().__init__()
        for name, length, wanted in zip(("rows", "columns"), size, target, strict=True):
            weights = resize(torch.eye(length, dtype=torch.float64)[None, None], (wanted, length))[0, 0].float()
            self.register_buffer(name, None if length == wanted else weights)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] at the target size."""
        wide = images @ self.columns.T if isinstance(self.columns, Tensor) else images
        return self.rows @ wide if isinstance(self.rows, Tensor) else wide


class _AxisResize(nn.Module):
    """Resizes the last axis, of bytes."""

    high: Tensor
    low: Tensor | None

    def __init__(self, length: int, wanted: int) -> None:
        super().__init__()
        weights, bits = integer_weights(length, wanted)
        fine = max(bits - _EXACT, 0)
        self.register_buffer("high", torch.from_numpy((weights >> fine) / 2.0 ** (bits - fine)).float().T)
        rest = torch.from_numpy((weights & ((1 << fine) - 1)) / 2.0**bits).float().T
        self.register_buffer("low", rest if fine else None)

    def forward(self, x: Tensor) -> Tensor:
        half_up = x @ self.high + 0.5
        whole = half_up.floor()
        if self.low is not None:
            whole = whole + (half_up - whole + x @ self.low).floor()
        return whole.clamp(0, 255)


def integer_weights(length: int, wanted: int) -> tuple[NDArray[np.int64], int]:
    """Antialiased bilinear weights [wanted, length] as integers, over 2 to the power of the second value.

    As PyTorch has them for bytes: a triangle of one pixel of the coarser grid to either side, the highest weight in 15
    bits.
    """
    scale = length / wanted
    reach = max(scale, 1.0)
    weights = np.zeros((wanted, length))
    for place in range(wanted):
        centre = scale * (place + 0.5)
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), length)
        triangle = np.maximum(0, 1 - np.abs((np.arange(first, last) - centre + 0.5) / reach))
        weights[place, first:last] = triangle / triangle.sum()
    bits, highest = 0, float(weights.max())
    while bits < 22 and int(0.5 + highest * 2 ** (bits + 1)) < 2**15:
        bits += 1
    return np.floor(weights * 2**bits + 0.5).astype(np.int64), bits
