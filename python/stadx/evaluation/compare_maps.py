"""Two sets of anomaly maps of the same images: how sure their difference is, and which regions only one finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent
from stadx.core.version import versions
from stadx.data.maps import MapSet, image_keys, open_map_set
from stadx.metrics import FPR_LIMIT, PixelMetrics, evaluate_maps

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """AU-PRO of two sets of maps, A and B.

    Attributes:
        a, b: of each.
        difference: A − B.
        low, high: 95 % of paired bootstrap replicates of the difference.
        a_better: share of the replicates in which A is better, ties being half.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    a_better: float


@dataclass(frozen=True)
class ComparedRegion:
    """A region, and the share of its pixels that each set of maps finds at the false-positive rate asked for."""

    map: str
    defect: str
    row: int
    column: int
    area: int
    overlap_a: float
    overlap_b: float


@dataclass(frozen=True)
class Comparison:
    """What two sets of maps make of the same images.

    Attributes:
        fpr_limit: of AU-PRO.
        overall, per_defect: the differences.
        fpr, overlap: a region is found if at least this share of it is, at the threshold of this false-positive rate.
        thresholds: of A and B.
        both, neither: how many regions both find, and none.
        only_a, only_b: those that one finds, the largest first.
    """

    fpr_limit: float
    overall: Difference
    per_defect: dict[str, Difference]
    fpr: float
    overlap: float
    thresholds: tuple[float, float]
    both: int
    neither: int
    only_a: list[ComparedRegion]
    only_b: list[ComparedRegion]

    def to_json(self) -> dict[str, Any]:
        """Everything as values that `json.dumps` takes."""
        return {
            **asdict(self),
            "overall": self.overall._asdict(),
            "per_defect": {name: difference._asdict() for name, difference in self.per_defect.items()},
            "versions": versions(),
        }


def compare_map_files(
    a: Path,
    b: Path,
    masks: Path,
    *,
    fpr_limit: float = FPR_LIMIT,
    fpr: float = 0.05,
    overlap: float = 0.5,
    replicates: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Compare two sets of maps by a paired bootstrap: both are measured on the same drawn images.

    Args:
        a, b, masks: as in `stadx.data.maps.open_map_set`; both of the same images.
        fpr_limit: of AU-PRO.
        fpr, overlap: what counts as found, as in `Comparison`.
        replicates: of the bootstrap.
        seed: of its draws.
        progress: told of every file read.

    Raises:
        DataError: as `evaluate_map_files`, or if the maps are not of the same images.
    """
    first, second = open_map_set(a, masks), open_map_set(b, masks)
    second = _in_order_of(first, second, a, b)
    metrics = [
        evaluate_maps(maps, names=maps.names, progress=_named(name, progress))
        for name, maps in (("A", first), ("B", second))
    ]
    regions = [m.regions(m.threshold_at(fpr), fpr_limit) for m in metrics]
    if [(r.image, r.row, r.column, r.area) for r in regions[0]] != [
        (r.image, r.row, r.column, r.area) for r in regions[1]
    ]:
        raise DataError(f"{a} and {b}: their maps differ in size, so regions do too; give both the same size")
    kinds = np.array([r.defect for r in regions[0]], dtype=object)
    groups = {name: kinds == name for name in dict.fromkeys(kinds.tolist()) if name}
    overall, *others = _differences(
        metrics, fpr_limit, [np.ones(len(kinds), np.bool_), *groups.values()], replicates, seed
    )
    compared = [
        ComparedRegion(first.names[x.image], x.defect, x.row, x.column, x.area, x.overlap, y.overlap)
        for x, y in zip(*regions, strict=True)
    ]
    compared.sort(key=lambda region: -region.area)
    found = [(region.overlap_a >= overlap, region.overlap_b >= overlap) for region in compared]
    return Comparison(
        fpr_limit=fpr_limit,
        overall=overall,
        per_defect=dict(zip(groups, others, strict=True)),
        fpr=fpr,
        overlap=overlap,
        thresholds=(metrics[0].threshold_at(fpr), metrics[1].threshold_at(fpr)),
        both=found.count((True, True)),
        neither=found.count((False, False)),
        only_a=[region for region, by in zip(compared, found, strict=True) if by == (True, False)],
        only_b=[region for region, by in zip(compared, found, strict=True) if by == (False, True)],
    )


def _in_order_of(first: MapSet, second: MapSet, a: Path, b: Path) -> MapSet:
    """The second set in the first one's order."""
    keys, others = image_keys(first, a), image_keys(second, b)
    place = {key: i for i, key in enumerate(others)}
    for these, those, folder, present in ((keys, set(others), b, first), (others, set(keys), a, second)):
        for key, name in zip(these, present.names, strict=True):
            if key not in those:
                raise DataError(f"{name}: has no counterpart in {folder}; give maps of the same images")
    order = [place[key] for key in keys]
    return second.of(order)


def _differences(
    metrics: list[PixelMetrics], limit: float, groups: list[NDArray[np.bool_]], replicates: int, seed: int
) -> list[Difference]:
    areas = [m.region_au_pro(limit) for m in metrics]
    drawn = [m.au_pro_replicates(limit, replicates=replicates, seed=seed, groups=groups) for m in metrics]
    found = []
    for i, group in enumerate(groups):
        a, b = (float(area[group].mean()) for area in areas)
        difference = drawn[0][i] - drawn[1][i]
        low, high = np.quantile(difference, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        better = float(np.mean((difference > 0) + (difference == 0) / 2))
        found.append(Difference(a, b, a - b, float(low), float(high), better))
    return found


def _named(name: str, progress: Progress) -> Progress:
    return lambda stage, done, total, figures: progress(f"{name}: {stage}", done, total, figures)
