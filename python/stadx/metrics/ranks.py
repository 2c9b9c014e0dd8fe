"""The one thing that every metric needs: the rank of each defect pixel's score among the background's scores.

Nothing is sorted but the scores of defect pixels. The background is only counted, in one pass, and for a metric that
ends at a false-positive rate only its highest scores: a sample says above which they lie, and the count proves it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx import ops
from stadx.core.errors import DataError

from .defect_pixels import DefectPixels as DefectPixels
from .inputs import GROUP_PIXELS, Pair, groups

Int64Array = NDArray[np.int64]
IN_MEMORY_PIXELS = 2**26  # counted at once: more of them share the cost of the tables


class Counts(NamedTuple):
    """Where the defect pixels' scores lie among the background's; tensors on the device that counted.

    Attributes:
        values: distinct scores of defect pixels [E], ascending.
        multiplicity: defect pixels with each of them, int64 [E]; one that lies in several regions is one.
        above, equal: background pixels above and equal to each, int64 [E].
        at: index into `values` of defect pixel k, int32 [n]; pixels below the cut are left out, and one that lies in
            several regions is there for each.
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
        saturation: as in `DefectPixels`, float64 [R].
        sizes: pixels of every image, int64 [N].
        num_background: background pixels.
        overlapping: whether some pixel lies in several regions.
        fpr_limit: up to this false-positive rate the ranks are known.
    """

    counts: Counts
    areas: Int64Array
    firsts: Int64Array
    images: Int64Array
    saturation: NDArray[np.float64]
    sizes: Int64Array
    num_background: int
    overlapping: bool
    fpr_limit: float

    def sum_by_region(self, values: Tensor) -> NDArray[np.float64]:
        """Σ values[at] over the pixels of every region, of int64 [E], exact below 2^53, float64 [R]."""
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
        kept, kept_region = (scores, region) if cut is None else _at_least(cut, scores, region)
        values, at, multiplicity = ops.distinct_scores(kept)
        multiplicity = _once_each(found, values, multiplicity, cut)
        extra = cut is not None and (not len(values) or float(values[0]) != cut)
        thresholds = torch.cat([values.new_tensor([cut]), values]) if extra else values
        above, equal = _count(images, thresholds, found.sizes, name_of, at_once)
        background_counted = int(above[0] + equal[0] - multiplicity.sum())
        if extra:
            above, equal = above[1:], equal[1:]
        equal = equal - multiplicity
        above = above - (multiplicity.sum() - multiplicity.cumsum(0))
        if cut is None or background_counted >= fpr_limit * background:
            break
        cut = None  # the sample misled: count for all defect pixels
    if len(equal) and int(torch.minimum(equal.min(), above.min())) < 0:
        raise changed_error()
    return Ranks(
        Counts(values, multiplicity, above, equal, at, kept_region),
        np.concatenate(found.areas),
        np.concatenate(found.firsts),
        np.concatenate(found.images),
        np.concatenate(found.saturation),
        np.array(found.sizes, dtype=np.int64),
        background,
        bool(found.repeated),
        fpr_limit,
    )


def _at_least(cut: float, scores: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Those scores that are not below the cut, and their regions."""
    mask = scores >= cut
    # NumPy finds the indices several times as fast as PyTorch
    where = mask.nonzero()[:, 0] if mask.is_cuda else torch.from_numpy(np.flatnonzero(mask.numpy()))
    return scores.index_select(0, where), region.index_select(0, where)


def _once_each(found: DefectPixels, values: Tensor, multiplicity: Tensor, cut: float | None) -> Tensor:
    """How many pixels have each value, where a pixel of several regions was counted for each of them."""
    if not found.repeated or not len(values):
        return multiplicity
    again = torch.cat([s.to(values.dtype) for s in found.repeated])
    at = torch.searchsorted(values, again if cut is None else again[again >= cut])
    return multiplicity - torch.bincount(at.clamp(max=len(values) - 1), minlength=len(values))


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
