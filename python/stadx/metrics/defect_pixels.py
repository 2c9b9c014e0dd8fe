"""What the first pass over a set leaves: the scores of its defect pixels, and the regions they lie in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx import ops
from stadx.core.errors import DataError

from .inputs import RegionMasks, Truth

Int64Array = NDArray[np.int64]
_SAMPLE = 2**15  # scores, at least, from which the cut is estimated if the set is large
_FROM_IMAGE = 2**11  # of them from one image, at first


@dataclass
class DefectPixels:
    """What the first pass over a set leaves: its defect pixels, its regions, and a sample of all its scores.

    Attributes:
        scores: per group of images, of their defect pixels.
        regions: likewise int32 [n], region of each pixel, through the whole set, on the scores' device. A pixel of
            several regions is there for each.
        repeated: scores of pixels that are there again.
        areas, firsts, images: per region: pixels, index of the first pixel in its image, index of that image.
        saturation: per region, the pixels with which it counts as found, above 0 and at most its area.
        sizes: pixels of every image.
    """

    scores: list[Tensor] = field(default_factory=list)
    regions: list[Tensor] = field(default_factory=list)
    areas: list[Int64Array] = field(default_factory=list)
    firsts: list[Int64Array] = field(default_factory=list)
    images: list[Int64Array] = field(default_factory=list)
    saturation: list[NDArray[np.float64]] = field(default_factory=list)
    repeated: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    num_regions: int = 0
    _sample: list[Tensor] = field(default_factory=list)
    _step: int = 0  # every how many-th score of an image is in the sample
    _held: int = 0  # scores in the sample

    def add(self, scores: list[Tensor], truth: list[Truth], connectivity: int) -> None:
        """Take further images, all of one dtype: masks, or the regions of each image in masks of their own."""
        masks = [t for t in truth if isinstance(t, Tensor)]
        if len(masks) == len(truth):
            self._add_masks(scores, masks, connectivity)
            return
        for s, t in zip(scores, truth, strict=True):
            if isinstance(t, Tensor):
                self._add_masks([s], [t], connectivity)
            else:
                self._add_regions(s, t)

    def _add_masks(self, scores: list[Tensor], truth: list[Tensor], connectivity: int) -> None:
        values, regions, areas, firsts, counts = ops.defect_pixels(scores, truth, connectivity)
        image = np.repeat(np.arange(len(scores)), counts.cpu().numpy())
        area = areas.cpu().numpy()
        self._keep(values, regions, area, firsts.cpu().numpy(), image, area.astype(np.float64))
        self._sample_of(scores)

    def _add_regions(self, scores: Tensor, truth: RegionMasks) -> None:
        inside = [_pixels_of(mask) for mask in truth.masks]
        if inside:
            area = np.array([len(pixels) for pixels in inside], np.int64)
            if not area.all():
                raise DataError(f"{truth.name}: region {int(np.argmin(area))} marks no pixel; remove it")
            saturation = area.astype(np.float64) if truth.saturation is None else np.minimum(truth.saturation, area)
            regions = torch.from_numpy(np.repeat(np.arange(len(area), dtype=np.int32), area)).to(scores.device)
            firsts = np.array([int(pixels[0]) for pixels in inside], np.int64)
            pixels = torch.cat(inside)
            self._keep(scores.flatten()[pixels], regions, area, firsts, np.zeros(len(area), np.int64), saturation)
            self._add_repeated(scores, pixels)
        self._sample_of([scores])

    def _add_repeated(self, scores: Tensor, pixels: Tensor) -> None:
        if _distinct(pixels, scores.numel()) < len(pixels):
            which, counts = torch.unique(pixels, return_counts=True)
            self.repeated.append(scores.flatten()[which].repeat_interleave(counts - 1))

    def _keep(
        self,
        values: Tensor,
        regions: Tensor,
        areas: Int64Array,
        firsts: Int64Array,
        image: Int64Array,
        saturation: NDArray[np.float64],
    ) -> None:
        """Take regions; `regions` and `image` count from 0 through what is new."""
        self.scores.append(values)
        self.regions.append(regions + self.num_regions)
        self.areas.append(areas)
        self.firsts.append(firsts)
        self.images.append(image + len(self.sizes))
        self.saturation.append(saturation)
        self.num_regions += len(areas)

    def _sample_of(self, scores: list[Tensor]) -> None:
        self.sizes += [s.numel() for s in scores]
        self._step = self._step or max(scores[0].numel() // _FROM_IMAGE, 1)
        parts = [s.flatten()[:: self._step].clone() for s in scores]
        self._sample += parts
        self._held += sum(map(len, parts))
        self._thin()

    def merge(self, other: DefectPixels) -> None:
        """Take another set's images after one's own."""
        self.regions += [r + self.num_regions for r in other.regions]
        self.images += [i + len(self.sizes) for i in other.images]
        self.scores += other.scores
        self.areas += other.areas
        self.firsts += other.firsts
        self.saturation += other.saturation
        self.repeated += other.repeated
        self.sizes += other.sizes
        self.num_regions += other.num_regions
        step = max(self._step, other._step, 1)
        parts = [(part, step // max(self._step, 1)) for part in self._sample]
        parts += [(part, step // max(other._step, 1)) for part in other._sample]
        self._sample, self._step = [part[::skip] for part, skip in parts], step
        self._held = sum(map(len, self._sample))
        self._thin()

    def _thin(self) -> None:
        while self._held > 2 * _SAMPLE:
            self._step *= 2
            self._sample = [torch.cat(self._sample)[::2].clone()]
            self._held = len(self._sample[0])

    @property
    def num_defect(self) -> int:
        """Defect pixels, each once."""
        return sum(map(len, self.scores)) - sum(map(len, self.repeated))

    @property
    def num_background(self) -> int:
        """All other pixels."""
        return sum(self.sizes) - self.num_defect

    def dtype(self) -> torch.dtype:
        """float64 if any image has it, else float32."""
        return torch.float64 if any(s.dtype == torch.float64 for s in self.scores) else torch.float32

    def cut(self, share: float) -> float | None:
        """A score above which surely enough lie `share` of all pixels; None if that may be all of them."""
        if not self._sample:
            return None
        sample = torch.cat([part.to(self.dtype()) for part in self._sample]).cpu().numpy()
        margin = 5 * np.sqrt(share * max(1 - share, 0) / len(sample)) + 8 / len(sample)
        rank = int((1 - share - margin) * len(sample))  # of the score, counted from the lowest
        return None if rank < 1 else float(np.partition(sample, rank)[rank])


def _pixels_of(mask: Tensor) -> Tensor:
    """Indices of the non-zero pixels, in raster order, int64 [n]."""
    if mask.is_cuda:
        return mask.flatten().nonzero()[:, 0]
    flat = np.ravel(mask.numpy())
    if flat.itemsize > 1 or flat.size % 8:
        return torch.from_numpy(np.flatnonzero(flat))  # several times as fast as PyTorch's
    words = np.flatnonzero(flat.view(np.uint64))  # 8 pixels at a time: most have none
    word, column = np.nonzero(flat.reshape(-1, 8)[words])
    return torch.from_numpy(8 * words[word] + column)


def _distinct(pixels: Tensor, size: int) -> int:
    """How many indices below `size` there are, each once."""
    if pixels.is_cuda:
        return len(torch.unique(pixels))
    seen = np.zeros(size, np.bool_)
    seen[pixels.numpy()] = True
    return int(np.count_nonzero(seen))
