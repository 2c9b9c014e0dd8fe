"""Images as tensors: checked, and brought to the size that a detector works at; and maps brought back."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stadx.core.errors import DataError


class Within(NamedTuple):
    """The largest size with an image's own shape that is not above this one, to rounding."""

    height: int
    width: int


ImageSize = int | tuple[int, int] | Within | None
_ANTIALIASED: Any = {"mode": "bilinear", "antialias": True, "align_corners": False}


def resized(height: int, width: int, size: ImageSize) -> tuple[int, int]:
    """Height and width to which an image of this size is brought by `resize`."""
    if size is None:
        return height, width
    most_high, most_wide = size if isinstance(size, tuple | list) else (size, size)
    target = int(most_high), int(most_wide)  # settings may be NumPy's numbers
    if not isinstance(size, Within):
        return target
    scale = min(target[0] / height, target[1] / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(images: Tensor, size: ImageSize) -> Tensor:
    """Images [B, C, H, W], uint8 or floating, at `size` (a square's side or (H, W)): antialiased bilinear.

    None, or the size they have, returns them as they are.
    """
    target = resized(images.shape[2], images.shape[3], size)
    if tuple(images.shape[2:]) == target:
        return images
    if images.dtype == torch.uint8 and images.device.type != "cpu":  # PyTorch resizes bytes on the CPU alone
        return resize(images.float(), size).round().clamp(0, 255).to(torch.uint8)
    if images.dtype in (torch.float16, torch.bfloat16) and images.device.type == "cpu":  # nor these on it
        images = images.float()
    if 1 in (images.shape[3], target[1]):  # PyTorch 2.13 misreads the memory of images one pixel wide, not high
        return F.interpolate(images.mT.contiguous(), target[::-1], **_ANTIALIASED).mT
    return F.interpolate(images, target, **_ANTIALIASED)


def resize_maps(maps: Tensor, height: int, width: int) -> Tensor:
    """Anomaly maps [B, h, w] at another size, bilinear; as they are if they have it."""
    if tuple(maps.shape[1:]) == (height, width):
        return maps
    return F.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]


def check_images(images: Tensor) -> Tensor:
    """Return `images` if they are [B, 3, H, W] with H, W >= 1, uint8 or floating in [0, 1].

    Raises:
        DataError: saying what they are instead.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        shape = list(getattr(images, "shape", []))
        last = len(shape) == 4 and shape[3] == 3
        fix = "; tensors have the colours first: images.permute(0, 3, 1, 2)" if last else ""
        raise DataError(f"images have shape {shape}, expected [B, 3, H, W] with H, W of at least 1{fix}")
    if images.layout != torch.strided or images.is_meta:
        raise DataError(f"images are a tensor of layout {images.layout} on {images.device}; give a dense one")
    if images.dtype.is_floating_point:
        if images.numel() and not bool(((images >= 0) & (images <= 1)).all()):
            raise DataError("images hold values outside [0, 1] or NaN; divide by their maximum, or pass uint8")
    elif images.dtype != torch.uint8:
        raise DataError(f"images are {images.dtype}; pass uint8, or floating point in [0, 1]")
    return images
