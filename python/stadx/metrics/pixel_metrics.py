"""Every pixel metric of a set, from the ranks of its defect pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError

from .aupimo import FPR_BOUNDS, check_bounds, image_overlap
from .bootstrap import Bands, Interval, au_pro_replicates, bootstrap_au_pro, curve_bands
from .curve import area_by_region
from .ranks import NameOf, Ranks, Rescan
from .results import Float64Array
from .results import ProCurve as ProCurve
from .results import Region as Region
from .saturation import HighestPixels, highest_pixels
from .shortcuts import score_range, shortcut_au_pros

FPR_LIMIT = 0.3


class PixelMetrics:
    """Exact metrics of a set of anomaly maps, all from one count; made by `evaluate_maps` and `ProEvaluator.compute`.

    Equal scores pass a threshold together; −0 equals +0. None of the values changes under a strictly increasing
    transform of the scores. It can be pickled; the maps stay behind, so that the copy refuses `bootstrap`, `aupimo` and
    `shortcuts`, which read them again.

    Attributes:
        num_images, num_regions, num_background, num_defect: counts of images, regions and pixels.
    """

    def __init__(
        self, ranks: Ranks, widths: Sequence[int], defects: Sequence[str], images: Rescan, name_of: NameOf
    ) -> None:
        self._ranks = ranks
        self._widths = widths
        self._defects = defects
        self._images = images
        self._name_of = name_of
        self.num_images = len(ranks.sizes)
        self.num_regions = len(ranks.areas)
        self.num_background = ranks.num_background
        self.num_defect = int(ranks.sizes.sum()) - ranks.num_background

    def au_pro(self, fpr_limit: float = FPR_LIMIT) -> float:
        """Area under the PRO curve up to a false-positive rate, divided by that rate: 1 is perfect.

        The trapezoid rule over every distinct score, with linear interpolation at the limit; any number of limits
        costs one count.

        Raises:
            DataError: the limit is outside (0, 1] or above the one that was counted to.
        """
        return float(np.mean(self.region_au_pro(fpr_limit)))

    def region_au_pro(self, fpr_limit: float = FPR_LIMIT) -> Float64Array:
        """Every region's own area under its overlap curve, divided by the limit, float64 [R]. Raises as `au_pro`."""
        r = self._up_to(fpr_limit)
        end = fpr_limit * r.num_background
        area: Float64Array = area_by_region(r.counts.above, r.counts.equal, r.sum_by_region, end) / (r.areas * end)
        return area

    def au_spro(self, fpr_limit: float = FPR_LIMIT) -> float:
        """Area under the saturated PRO curve up to a false-positive rate, divided by that rate: 1 is perfect.

        As `au_pro`, but a region whose saturation area is reached counts as found. Raises as `au_pro`.
        """
        return float(np.mean(self.region_au_spro(fpr_limit)))

    def region_au_spro(self, fpr_limit: float = FPR_LIMIT) -> Float64Array:
        """Every region's own area under its saturated overlap curve, divided by the limit, float64 [R]."""
        r, highest = self._up_to(fpr_limit), self._highest
        end = fpr_limit * r.num_background
        add = partial(highest.sum_by_region, regions=self.num_regions)
        sums = area_by_region(r.counts.above, r.counts.equal, add, end)
        area: Float64Array = sums / (r.saturation * end)
        return area

    def pro_curve(self) -> ProCurve:
        """The PRO curve as its corners: where a region's pixel passes the threshold, before and after its ties."""
        r = self._counted()
        return self._curve(np.bincount(r.at, 1.0 / r.areas[r.region], len(r.values)) / self.num_regions)

    def spro_curve(self) -> ProCurve:
        """The saturated PRO curve as its corners; its `pro` is the mean over all regions of the saturated overlap."""
        r, highest = self._counted(), self._highest
        gain = np.bincount(highest.at, highest.weight / r.saturation[highest.region], len(r.values))
        return self._curve(gain / self.num_regions)

    def roc_curve(self) -> tuple[Float64Array, Float64Array]:
        """False-positive rate and recall of all pixels, float64 [n] each: the corners of the exact curve."""
        curve = self._curve(self._counted().multiplicity / self.num_defect)
        return curve.fpr, curve.pro

    def pr_curve(self) -> tuple[Float64Array, Float64Array]:
        """Recall and precision of all pixels at every distinct score of a defect pixel, from the highest on."""
        r = self._counted()
        hits = np.cumsum(r.multiplicity[::-1])
        return hits / self.num_defect, hits / (hits + (r.above + r.equal)[::-1])

    def _curve(self, gain: NDArray[Any]) -> ProCurve:
        """The curve that rises by `gain` [E] at the values; in all by 1."""
        r = self._ranks
        after = np.cumsum(gain[::-1], dtype=np.longdouble)
        after[-1] = 1.0  # rounding aside, this is where it ends
        pro_after = np.minimum(after, 1.0).astype(np.float64)
        pro_before = np.concatenate([[0.0], pro_after[:-1]])
        above, equal, values = r.above[::-1], r.equal[::-1], r.values[::-1]
        fpr = np.stack([above, above + equal], 1).ravel() / self.num_background
        pro = np.stack([pro_before, pro_after], 1).ravel()
        higher = np.nextafter(values, np.array(np.inf, values.dtype))  # the threshold that leaves the value out
        thresholds = np.stack([higher, values], 1).ravel().astype(np.float64) + 0.0
        fpr, pro = np.concatenate([[0.0], fpr, [1.0]]), np.concatenate([[0.0], pro, [1.0]])
        thresholds = np.concatenate([[np.inf], thresholds, [-np.inf]])
        kept = np.concatenate([[True], (np.diff(fpr) > 0) | (np.diff(pro) > 0)])
        kept[-1] = True
        return ProCurve(fpr[kept], pro[kept], thresholds[kept])

    @cached_property
    def auroc(self) -> float:
        """Area under the ROC curve of all pixels: the share of pairs in the right order, ties being half."""
        r = self._counted()
        right = 2 * r.num_background - 2 * r.above - r.equal  # twice the background below, and half of the equal
        return _exact_dot(right, r.multiplicity) / (2 * r.num_background * self.num_defect)

    @cached_property
    def aupr(self) -> float:
        """Average precision of all pixels: the sum over thresholds of precision times the gain in recall."""
        r = self._counted()
        gain = r.multiplicity[::-1]
        hits = np.cumsum(gain)
        return float(np.sum(gain * (hits / (hits + (r.above + r.equal)[::-1]))) / self.num_defect)

    @cached_property
    def f1_max(self) -> float:
        """The highest F1 score of all pixels over every threshold."""
        return float(self._f1().max())

    @cached_property
    def best_threshold(self) -> float:
        """The threshold of `f1_max` (score ≥ threshold is anomalous); the highest, if several reach it."""
        f1 = self._f1()
        return float(self._ranks.values[len(f1) - 1 - int(np.argmax(f1[::-1]))])

    def regions(self, threshold: float | None = None, fpr_limit: float = FPR_LIMIT) -> list[Region]:
        """What became of every region, image by image and in raster order.

        Args:
            threshold: of `overlap`; by default `best_threshold`.
            fpr_limit: of `au_pro`.
        """
        r = self._counted()
        threshold = self.best_threshold if threshold is None else threshold
        highest = np.full(self.num_regions, -np.inf)
        np.maximum.at(highest, r.region, r.values[r.at].astype(np.float64))
        hits = np.bincount(r.region, (r.values.astype(np.float64) >= threshold)[r.at], self.num_regions)
        areas = self.region_au_pro(fpr_limit)
        return [
            Region(
                image=int(image),
                row=int(r.firsts[k]) // self._widths[image],
                column=int(r.firsts[k]) % self._widths[image],
                area=int(r.areas[k]),
                highest=float(highest[k]),
                overlap=float(hits[k] / r.areas[k]),
                au_pro=float(areas[k]),
                defect=self._defects[image],
            )
            for k, image in enumerate(r.images)
        ]

    def per_defect(self, fpr_limit: float = FPR_LIMIT) -> dict[str, float]:
        """AU-PRO of the regions of each defect type, against the background of the whole set."""
        areas = self.region_au_pro(fpr_limit)
        types = np.array(self._defects, dtype=object)[self._ranks.images]
        return {name: float(np.mean(areas[types == name])) for name in dict.fromkeys(types.tolist())}

    def bootstrap(
        self, fpr_limit: float = FPR_LIMIT, *, replicates: int = 1000, confidence: float = 0.95, seed: int = 0
    ) -> Interval:
        """A confidence interval of AU-PRO: images are drawn with replacement, nothing is sorted again.

        Reads the maps once more, to count every image by itself. With up to 4096 distinct defect scores the replicates
        are exact; with more, between 4096 of them the curve is taken as straight (see `Interval.resolution`).

        Raises:
            DataError: settings out of range.
        """
        self._apart("the bootstrap")
        check_limit(fpr_limit)
        return bootstrap_au_pro(
            self._ranks, self._images, self._name_of, fpr_limit, replicates=replicates, confidence=confidence, seed=seed
        )

    def au_pro_replicates(
        self,
        fpr_limit: float = FPR_LIMIT,
        *,
        replicates: int = 1000,
        seed: int = 0,
        groups: Sequence[NDArray[np.bool_]] | None = None,
    ) -> list[Float64Array]:
        """The replicates of `bootstrap`, float64 [replicates] for each of `groups` of regions, bool [R]; None: all.

        Metrics of the same images and masks draw the same images with the same seed: their replicates are pairs.
        """
        r = self._apart("the bootstrap")
        check_limit(fpr_limit)
        given = (r, self._images, self._name_of, fpr_limit)
        return au_pro_replicates(*given, replicates=replicates, seed=seed, groups=groups)[0]

    def bands(self, at: Float64Array, *, replicates: int = 200, confidence: float = 0.95, seed: int = 0) -> Bands:
        """Where the PRO, ROC and precision-recall curves lie if images are drawn with replacement, point by point.

        Args:
            at: false-positive rates, and recalls, in [0, 1].
            replicates, confidence, seed: as in `bootstrap`.
        """
        given = (self._apart("the bootstrap"), self._images, self._name_of, at)
        return curve_bands(*given, replicates=replicates, confidence=confidence, seed=seed)

    def threshold_at(self, fpr: float) -> float:
        """The lowest score of a defect pixel with at most this false-positive rate; +inf if there is none."""
        r = self._counted()
        within = np.flatnonzero(r.above + r.equal <= fpr * self.num_background)
        return float(r.values[within[0]]) if len(within) else float("inf")

    def aupimo(self, fpr_bounds: tuple[float, float] = FPR_BOUNDS) -> Float64Array:
        """`stadx.metrics.aupimo` of these images, float64 [N]; reads the maps once more."""
        r = self._apart("AUPIMO")
        check_bounds(fpr_bounds)
        image = r.images[r.region]
        return image_overlap(r.values, r.at, image, self.num_images, self._images, self._name_of, fpr_bounds)

    def shortcuts(self, fpr_limit: float = FPR_LIMIT) -> dict[str, float]:
        """AU-PRO as common shortcuts would have it, by name, to compare; reads the maps three times more."""
        exact = self.region_au_pro(fpr_limit)
        span = score_range(self._images)
        return shortcut_au_pros(self._counted(), exact, self._images, self._name_of, span, fpr_limit)

    @cached_property
    def _highest(self) -> HighestPixels:
        return highest_pixels(self._ranks)

    def _up_to(self, fpr_limit: float) -> Ranks:
        """The ranks, if they are known up to this limit."""
        check_limit(fpr_limit)
        if fpr_limit > self._ranks.fpr_limit:
            raise DataError(f"fpr_limit is {fpr_limit}, but scores were only counted up to {self._ranks.fpr_limit}")
        return self._ranks

    def _apart(self, metric: str) -> Ranks:
        """The ranks, if they are known for every pixel and no pixel lies in two regions."""
        if self._ranks.overlapping:
            raise DataError(f"{metric} is of masks, but regions here overlap; give the masks of whole images")
        return self._counted()

    def __getstate__(self) -> dict[str, Any]:
        names = [self._name_of(i) for i in range(self.num_images)]
        return {**self.__dict__, "_images": _left_behind, "_name_of": names.__getitem__}

    def _counted(self) -> Ranks:
        """The ranks, if they are known for every pixel."""
        if self._ranks.fpr_limit < 1:
            raise DataError(f"scores were only counted up to a false-positive rate of {self._ranks.fpr_limit}; use 1")
        return self._ranks

    def _f1(self) -> Float64Array:
        r = self._counted()
        hits = np.cumsum(r.multiplicity[::-1])[::-1]
        f1: Float64Array = 2 * hits / (self.num_defect + hits + r.above + r.equal)
        return f1


def _left_behind() -> NoReturn:
    raise DataError("the maps were not pickled with their metrics; ask for this before, where the maps are")


def check_limit(fpr_limit: float) -> None:
    """Raise DataError unless the limit lies in (0, 1]."""
    if not 0.0 < fpr_limit <= 1.0:
        raise DataError(f"fpr_limit is {fpr_limit}; it must lie in (0, 1]")


def _exact_dot(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """Σ a b of whole numbers, block by block where int64 might overflow."""
    largest = max(int(a.max(initial=1)), 1) * max(int(b.max(initial=1)), 1)
    size = max(1, 2**62 // largest)
    return sum(int(np.dot(a[i : i + size], b[i : i + size])) for i in range(0, len(a), size))
