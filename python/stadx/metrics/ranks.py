"""The one thing that every metric needs: the rank of each defect pixel's score among the background's scores.

Nothing is sorted but the scores of defect pixels. The background is only counted, in one pass, and for a metric that
ends at a false-positive rate only its highest scores: a sample says above which they lie, and the count proves it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx import ops
from stadx.core.errors import DataError

from .inputs import GROUP_PIXELS, Pair, groups

Int64Array = NDArray[np.int64]
_SAMPLE = 2**15  # scores, at least, from which the cut is estimated if the set is large
IN_MEMORY_PIXELS = 2**26  # counted at once: more of them share the cost of the tables
_FROM_IMAGE = 2**11  # of them from one image, at first


@dataclass
class DefectPixels:
    """What the first pass over a set leaves: its defect pixels, its regions, and a sample of all its scores.

    Attributes:
        scores: per group of images, of their defect pixels.
        regions: likewise int32 [n], region of each pixel, through the whole set, on the scores' device.
        areas, firsts, images: per region: pixels, index of the first pixel in its image, index of that image.
        sizes: pixels of every image.
    """

    scores: list[Tensor] = field(default_factory=list)
    regions: list[Tensor] = field(default_factory=list)
    areas: list[Int64Array] = field(default_factory=list)
    firsts: list[Int64Array] = field(default_factory=list)
    images: list[Int64Array] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    num_regions: int = 0
    _sample: list[Tensor] = field(default_factory=list)
    _step: int = 0  # every how many-th score of an image is in the sample
    _held: int = 0  # scores in the sample

    def add(self, scores: list[Tensor], truth: list[Tensor], connectivity: int) -> None:
        """Take further images, all of one dtype."""
        values, regions, areas, firsts, counts = ops.defect_pixels(scores, truth, connectivity)
        self.scores.append(values)
        self.regions.append(regions + self.num_regions)
        self.areas.append(areas.cpu().numpy())
        self.firsts.append(firsts.cpu().numpy())
        self.images.append(np.repeat(np.arange(len(scores)) + len(self.sizes), counts.cpu().numpy()))
        self.sizes += [s.numel() for s in scores]
        self.num_regions += int(counts.sum())
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
        """Defect pixels."""
        return sum(map(len, self.scores))

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


class Counts(NamedTuple):
    """Where the defect pixels' scores lie among the background's; tensors on the device that counted.

    Attributes:
        values: distinct scores of defect pixels [E], ascending.
        multiplicity: defect pixels with each of them, int64 [E].
        above, equal: background pixels above and equal to each, int64 [E].
        at: index into `values` of defect pixel k, int32 [n]; pixels below the cut are left out.
        region: its region, int32 [n].
    """

    values: Tensor
    multiplicity: Tensor
    above: Tensor
    equal: Tensor
    at: Tensor
    region: Tensor


@dataclass(frozen=True)
class Ranks:
    """`Counts`, also as NumPy arrays for what is computed on the CPU, and what belongs to regions and images.

    Attributes:
        counts: the ranks.
        areas, firsts, images: as in `DefectPixels`, int64 [R].
        sizes: pixels of every image, int64 [N].
        num_background: background pixels.
        fpr_limit: up to this false-positive rate the ranks are known.
        on_gpu: whether the GPU's operators sum.
    """

    counts: Counts
    areas: Int64Array
    firsts: Int64Array
    images: Int64Array
    sizes: Int64Array
    num_background: int
    fpr_limit: float
    on_gpu: bool

    def sum_by_region(self, values: Tensor) -> NDArray[np.float64]:
        """Σ values[at] over the pixels of every region, of int64 [E], exact below 2^53, float64 [R]."""
        if not self.on_gpu:
            weights = values.numpy().astype(np.float64)[self.at]
            return np.bincount(self.region, weights, len(self.areas)).astype(np.float64)
        sums = ops.region_sums(values, self.counts.at, self.counts.region, len(self.areas))
        return sums.double().cpu().numpy()

    @cached_property
    def values(self) -> NDArray[np.floating]:
        return self.counts.values.cpu().numpy()

    @cached_property
    def multiplicity(self) -> Int64Array:
        return self.counts.multiplicity.cpu().numpy()

    @cached_property
    def above(self) -> Int64Array:
        return self.counts.above.cpu().numpy()

    @cached_property
    def equal(self) -> Int64Array:
        return self.counts.equal.cpu().numpy()

    @cached_property
    def at(self) -> NDArray[np.int32]:
        return self.counts.at.cpu().numpy()

    @cached_property
    def region(self) -> NDArray[np.int32]:
        return self.counts.region.cpu().numpy()


Rescan = Callable[[], Iterable[Pair]]
NameOf = Callable[[int], str]


def rank(
    found: DefectPixels, images: Rescan, fpr_limit: float, name_of: NameOf, at_once: int = IN_MEMORY_PIXELS
) -> Ranks:
    """Second pass: count the background around the defect pixels' scores, up to a false-positive rate.

    Args:
        found: of the first pass.
        images: gives the same images again, in the same order.
        fpr_limit: in (0, 1].
        name_of: what errors call image i.
        at_once: pixels that are held together, for images that are read from somewhere.

    Raises:
        DataError: there is no defect or no background, a score is NaN, or the images changed.
    """
    if not found.num_defect:
        raise DataError("the masks contain no defect pixel, so AU-PRO is undefined; evaluate on a set with defects")
    background, total = found.num_background, sum(found.sizes)
    if not background:
        raise DataError(
            "the masks mark every pixel as a defect: there is no background, so AU-PRO is undefined; "
            "check the masks, or add good images"
        )
    dtype = found.dtype()
    scores = torch.cat([s.to(dtype) for s in found.scores])
    region = torch.cat(found.regions)
    on_gpu = is_on_gpu(scores)
    cut = None
    if fpr_limit < 1:
        wanted = fpr_limit * background + found.num_defect
        if on_gpu and at_once >= IN_MEMORY_PIXELS:
            cut = float(ops.score_cut([s.to(dtype) for s, _ in images()], math.ceil(wanted)))
        else:
            cut = found.cut(wanted / total)
    while True:
        kept = slice(None) if cut is None else scores >= cut
        values, at, multiplicity = ops.distinct_scores(scores[kept])
        extra = cut is not None and (not len(values) or float(values[0]) != cut)
        thresholds = torch.cat([values.new_tensor([cut]), values]) if extra else values
        above, equal = _count(images, thresholds, found.sizes, name_of, at_once)
        background_counted = int(above[0] + equal[0] - multiplicity.sum())
        if extra:
            above, equal = above[1:], equal[1:]
        equal = equal - multiplicity
        above = above - (multiplicity.flip(0).cumsum(0).flip(0) - multiplicity)
        if cut is None or background_counted >= fpr_limit * background:
            break
        cut = None  # the sample misled: count for all defect pixels
    if len(equal) and int(torch.minimum(equal.min(), above.min())) < 0:
        raise changed_error()
    return Ranks(
        Counts(values, multiplicity, above, equal, at, region[kept]),
        np.concatenate(found.areas),
        np.concatenate(found.firsts),
        np.concatenate(found.images),
        np.array(found.sizes, dtype=np.int64),
        background,
        fpr_limit,
        on_gpu,
    )


def count_all(
    images: Rescan, thresholds: NDArray[np.floating], sizes: Sequence[int], name_of: NameOf
) -> tuple[Int64Array, Int64Array]:
    """Pixels of all images above and equal to each threshold, int64 [E] each; DataError names an image with NaN."""
    above, equal = _count(images, torch.from_numpy(thresholds), sizes, name_of, GROUP_PIXELS)
    return above.cpu().numpy(), equal.cpu().numpy()


def _count(
    images: Rescan, thresholds: Tensor, sizes: Sequence[int], name_of: NameOf, at_once: int
) -> tuple[Tensor, Tensor]:
    bad = thresholds.isnan()
    some_bad = bool(bad.any())
    edges = thresholds[~bad] if some_bad else thresholds
    if not len(edges):  # all defect pixels are NaN: the count below only looks for the image
        edges = edges.new_zeros(1)
    above, equal = torch.zeros(0), torch.zeros(0)
    done = 0
    for scores, _ in groups(images(), at_once):
        edges = edges.to(scores[0].device)
        now_above, now_equal, nans = ops.count_above([s.to(edges.dtype) for s in scores], edges)
        if nans.any():
            raise nan_error(name_of(done + int(nans.nonzero()[0])))
        if done:
            now_above += above
            now_equal += equal
        above, equal = now_above, now_equal
        if [s.numel() for s in scores] != list(sizes[done : done + len(scores)]):
            raise changed_error()
        done += len(scores)
    if done != len(sizes) or some_bad:
        raise changed_error()
    return above, equal


def is_on_gpu(scores: Tensor) -> bool:
    """Whether the GPU's operators count."""
    return scores.device.type != "cpu"


def nan_error(image: str) -> DataError:
    """The error that names an image with NaN."""
    return DataError(f"{image}: maps contain NaN; the detector or its input is broken there")


def changed_error() -> DataError:
    """The error of a source that gives other images than at first."""
    return DataError("the images are not the same when read again; give a source that can be read several times")
