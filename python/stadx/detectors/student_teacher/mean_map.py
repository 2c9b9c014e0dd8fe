"""What good images score at each place, which is taken off anomaly maps: the paper has none of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stadx.networks.upsampling import upsample

from .smoothing import smooth

_SIGMA = 4.0  # in pixels of the image: no object lies just as another


@dataclass(frozen=True, eq=False)
class MeanMap:
    """The mean anomaly map of the good images that judge, times the share of their scores' variance that it predicts.

    Where objects lie alike in every image, the rim of each, or a hole, scores high though all is well, and hides what
    is less than that. The share tells how alike: of 1 all of the mean is taken off, of objects that lie anyhow little.

    Attributes:
        scores: what is taken off, mean times share times the setting `mean_map`: float32 [⌈height / stride⌉,
            ⌈width / stride⌉], finite.
        height, width: of the images, at the size they are scored at.
        stride: `scores` has every stride-th pixel of every stride-th row.
        share: 1 − Σ (F − m)² / Σ (F − F̄)² over the good images' maps F, m the mean of the other ones, smoothed by a
            Gaussian whose standard deviation is 4 pixels of the image.

    Raises:
        ValueError: if `scores` is not such a map.
    """

    scores: Tensor
    height: int
    width: int
    stride: int
    share: float

    def __post_init__(self) -> None:
        size = tuple(-(-length // max(self.stride, 1)) for length in (self.height, self.width))
        given = tuple(self.scores.shape), self.scores.dtype
        if given != (size, torch.float32) or not self.scores.isfinite().all():
            raise ValueError(f"the mean map is {given[1]} {given[0]}; it must be float32 {size}, and finite")

    def at(self, height: int, width: int, stride: int) -> Tensor | None:
        """What is taken off at every stride-th pixel; None, which is nothing, of images of another size."""
        if (height, width) != (self.height, self.width):
            return None
        if stride >= self.stride:  # both are powers of two
            return self.scores[:: stride // self.stride, :: stride // self.stride]
        return upsample(self.scores, height, width, self.stride)[::stride, ::stride]

    def taken_off(self, bands: Iterable[Tensor], height: int, width: int, stride: int) -> Iterator[Tensor]:
        """Anomaly maps of images of that size without it, in bands of rows [..., n, ⌈width / stride⌉] as they come."""
        scores = self.at(height, width, stride)
        if scores is None:
            yield from bands
            return
        row = 0
        for band in bands:
            rows = band.shape[-2]
            yield band - scores[row : row + rows].to(band.device)
            row += rows


def take_mean_off(
    maps: Sequence[Tensor],
    size: tuple[int, int],
    stride: int,
    strength: float,
    insides: Sequence[Tensor | None],
) -> MeanMap | None:
    """From each good image's anomaly map take, in place, what the others' mean map says, as of an image that is new.

    Args:
        maps: at every stride-th pixel, float32 [h, w].
        size: height and width of the images.
        stride: of the maps.
        strength: how much of the mean map's share is taken.
        insides: which pixels of each image are looked at, bool [H, W]; None: all.

    Returns:
        What is taken off other images' maps. None, and the maps stay as they are, where that is nothing: of one image,
        and where a place tells nothing.
    """
    if not strength or len(maps) < 2:
        return None

    def weighted() -> Iterator[tuple[Tensor, Tensor]]:  # made anew each time: together they may be gigabytes
        for scores, inside in zip(maps, insides, strict=True):
            yield scores, _counted(scores, stride, inside)

    sums, counts = torch.zeros(maps[0].shape, dtype=torch.float64), torch.zeros(maps[0].shape, dtype=torch.float64)
    for scores, weight in weighted():
        sums += scores * weight
        counts += weight
    overall = float(sums.sum() / counts.sum())
    unexplained = spread = 0.0
    for scores, weight in weighted():
        mean = _smoothed_mean(sums - scores * weight, counts - weight, stride)
        unexplained += float((weight * (scores - mean).square()).sum())
        spread += float((weight * (scores - overall).square()).sum())
    share = max(0.0, 1 - unexplained / spread) if spread > 0 else 0.0  # of NaN, which thresholds refuse, 0
    if not share:
        return None
    for scores, weight in weighted():
        scores -= strength * share * _smoothed_mean(sums - scores * weight, counts - weight, stride)
    mean = strength * share * _smoothed_mean(sums, counts, stride)
    return MeanMap(mean, *size, stride, share)


def _counted(scores: Tensor, stride: int, inside: Tensor | None) -> Tensor:
    """Which pixels of a map are looked at, float64 0 or 1."""
    if inside is None:
        return torch.ones((), dtype=torch.float64).expand(scores.shape)
    return inside[::stride, ::stride].double()


def _smoothed_mean(sums: Tensor, counts: Tensor, stride: int) -> Tensor:
    """The mean, smoothed, of sums [h, w] over so many images each; 0, a good image's score, where there is none."""
    smoothed = smooth(torch.stack([sums, counts]).float(), _SIGMA / stride)  # float64 takes PyTorch much more memory
    return torch.where(smoothed[1] > 1e-9, smoothed[0] / smoothed[1], 0.0)
