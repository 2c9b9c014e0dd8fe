"""From images to anomaly maps of the same size: what scorers of all devices share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from stadx.data.tensors import ImageSize, resize, resize_maps
from stadx.networks.dense import check_stride
from stadx.networks.upsampling import Upsampler
from stadx.networks.windows import ImageRows

from .cpu_scorer import CpuScorer
from .mean_map import MeanMap
from .smoothing import smooth_bands


class Scorer(Protocol):
    """Scores images at the size that they have, on one device."""

    @property
    def device(self) -> torch.device:
        """Where it works, and takes images."""

    @property
    def together(self) -> int | None:
        """Images that it takes at once; None: as many as there are."""

    def maps(self, images: Tensor, stride: int, roi: Tensor | None = None) -> Iterable[Tensor]:
        """Anomaly maps (Eqs. 9 to 12) at every stride-th pixel, the images' level taken out.

        Args:
            images: RGB [B, 3, H, W] on the device, uint8 or floating in [0, 1].
            stride: a power of two.
            roi: which of their pixels the level is of, bool [B, h, w] of any size, on the device; None: all.

        Returns:
            Bands of rows from top to bottom, float32 [B, rows, ⌈W / stride⌉] each; a GPU has all in one.
        """

    def errors(self, images: Tensor, stride: int) -> list[tuple[Tensor, Tensor]]:
        """Of each scale, e and v (Eqs. 9 and 10) at every stride-th pixel: float32 [B, ⌈H / stride⌉, ⌈W / stride⌉].

        Or at fewer of them, see `computed_pixels`.
        """


def score_images(
    scorer: Scorer,
    images: Tensor,
    size: ImageSize,
    stride: int,
    smoothing: float,
    roi: Tensor | None = None,
    mean_map: MeanMap | None = None,
) -> Tensor:
    """Anomaly maps of images, at every pixel.

    Args:
        scorer: of their device or another.
        images: RGB [B, 3, H, W], uint8 or floating in [0, 1].
        size: what they are resized to before.
        stride: what is between the scored pixels is interpolated bilinearly.
        smoothing: standard deviation in pixels, at `size`.
        roi: which pixels an image's level is of, bool [B, h, w] of any size; None: all.
        mean_map: is taken off; None: nothing.

    Returns:
        float32 [B, H, W] on the images' device.
    """
    check_stride(stride)
    batch, _, height, width = images.shape
    maps = torch.empty(batch, height, width, device=images.device)
    count = scorer.together or batch
    for first in range(0, batch, max(count, 1)):
        part = images[first : first + count].to(scorer.device)
        small = resize(part, size)
        inside = None if roi is None else roi[first : first + count].to(scorer.device)
        maps_of_small = scorer.maps(small, stride, inside)
        bands = _at_every_pixel(maps_of_small, small.shape[2], small.shape[3], stride, smoothing, mean_map)
        if small.shape != part.shape:
            bands = iter([resize_maps(_joined(list(bands)), height, width)])
        row = 0
        for band in bands:
            if band.shape == maps.shape:  # all there is
                return band.to(images.device)
            maps[first : first + count, row : row + band.shape[1]] = band
            row += band.shape[1]
    return maps


def score_bands(
    scorer: CpuScorer,
    image: ImageRows,
    stride: int,
    smoothing: float,
    roi: Tensor | None = None,
    mean_map: MeanMap | None = None,
) -> Iterator[Tensor]:
    """`score_images` of an image too large to hold, as it is: bands of rows from top to bottom, float32 [rows, W]."""
    check_stride(stride)
    bands = scorer.bands(image, stride, roi)
    bands = _at_every_pixel(bands, image.height, image.width, stride, smoothing, mean_map)
    return (band[0] for band in bands)


def _at_every_pixel(
    bands: Iterable[Tensor], height: int, width: int, stride: int, smoothing: float, mean_map: MeanMap | None
) -> Iterator[Tensor]:
    """Without the mean map, interpolated between every stride-th pixel, and smoothed."""
    if mean_map is not None:
        bands = mean_map.taken_off(bands, height, width, stride)
    upsampler = Upsampler(height, width, stride)
    return smooth_bands(filter(Tensor.numel, map(upsampler.push, bands)), height, smoothing)


def _joined(bands: list[Tensor]) -> Tensor:
    return bands[0] if len(bands) == 1 else torch.cat(bands, 1)
