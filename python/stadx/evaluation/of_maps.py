"""Evaluate anomaly maps that any tool wrote: the work of `stadx evaluate-maps`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent
from stadx.core.version import versions
from stadx.data.maps import MapSet, open_map_set
from stadx.data.masks import IGNORED
from stadx.metrics import Interval, PixelMetrics, Region, auroc, evaluate_maps


@dataclass(frozen=True)
class MapEvaluation:
    """Exact metrics of a set of maps; a metric is None where it is undefined.

    Attributes:
        counts: images, good images, regions, defect and background pixels.
        au_pro: by false-positive-rate limit.
        interval: bootstrap confidence interval of AU-PRO at the first limit, if asked for.
        shortcuts: AU-PRO at the first limit as common shortcuts would have it, if asked for.
        per_defect: AU-PRO at the first limit of the regions of each folder, against the background of the whole set.
        regions: what became of every region at the best threshold.
        image_names: what the regions' `image` counts.
        notes: what is odd about the masks.
    """

    counts: dict[str, int]
    au_pro: dict[float, float]
    pixel_auroc: float
    pixel_aupr: float
    f1_max: float
    best_threshold: float
    image_auroc: float | None
    aupimo: float | None
    interval: Interval | None
    shortcuts: dict[str, float]
    per_defect: dict[str, float]
    regions: list[Region]
    image_names: list[str]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Everything but the regions as values that `json.dumps` takes."""
        left_out = ("regions", "image_names")
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        values["au_pro"] = {f"{limit:g}": value for limit, value in self.au_pro.items()}
        values["interval"] = None if self.interval is None else self.interval._asdict()
        return {**values, "versions": versions()}

    def regions_csv(self) -> str:
        """A line for every region, with a heading."""
        text = io.StringIO()
        names = ["map", *(f.name for f in fields(Region) if f.name != "image")]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        for region in self.regions:
            row = asdict(region)
            writer.writerow({"map": self.image_names[row.pop("image")], **row})
        return text.getvalue()


class _Extremes:
    """A set of maps that remembers, of the images read, the highest score and whether there is a defect."""

    def __init__(self, maps: MapSet) -> None:
        self._maps = maps
        self.highest = np.zeros(len(maps))
        self.defective = np.zeros(len(maps), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self._maps)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_] | NDArray[np.uint8], str]]:
        for i, (scores, mask, defect) in enumerate(self._maps):
            self.highest[i], self.defective[i] = scores.max(), (mask == 1).any()
            yield scores, mask, defect


def evaluate_map_files(
    maps: Path,
    masks: Path,
    *,
    limits: Sequence[float] = (0.3, 0.05),
    connectivity: int = 8,
    compare: bool = False,
    replicates: int = 0,
    ignore_value: int | None = None,
    progress: Progress = silent,
) -> MapEvaluation:
    """Exact metrics of maps in files; memory holds some images and all defect pixels.

    Args:
        maps, masks: as in `stadx.data.maps.open_map_set`.
        limits: of AU-PRO; the first one also serves for everything that needs one.
        connectivity: 8 or 4, what makes defect pixels one region.
        compare: also compute what common shortcuts report.
        replicates: of a bootstrap over images; 0 for none.
        ignore_value: of pixels of masks that are neither defect nor background; a mask that has no other but 0 is that
            of a good image.
        progress: told of every file read.

    Raises:
        DataError: files do not fit together or cannot be read, a score is NaN, or there is no background.
    """
    found = open_map_set(maps, masks, ignore_value)
    source = _Extremes(found)
    ignored = None if ignore_value is None else IGNORED
    metrics: PixelMetrics = evaluate_maps(
        source, connectivity=connectivity, names=found.names, ignore_value=ignored, progress=progress
    )
    kinds = source.defective.any() and not source.defective.all()
    first = limits[0]
    return MapEvaluation(
        counts={
            "images": metrics.num_images,
            "good images": int((~source.defective).sum()),
            "regions": metrics.num_regions,
            "defect pixels": metrics.num_defect,
            "background pixels": metrics.num_background,
        },
        au_pro={limit: metrics.au_pro(limit) for limit in limits},
        pixel_auroc=metrics.auroc,
        pixel_aupr=metrics.aupr,
        f1_max=metrics.f1_max,
        best_threshold=metrics.best_threshold,
        image_auroc=auroc(source.highest, source.defective) if kinds else None,
        aupimo=float(np.nanmean(metrics.aupimo())) if kinds else None,
        interval=metrics.bootstrap(first, replicates=replicates) if replicates else None,
        shortcuts=metrics.shortcuts(first) if compare else {},
        per_defect=metrics.per_defect(first),
        regions=metrics.regions(fpr_limit=first),
        image_names=list(found.names),
        notes=found.doubts.sentences(),
    )


def read_limits(text: str) -> tuple[float, ...]:
    """Read "0.3,0.05". Raises DataError for anything outside (0, 1]."""
    try:
        limits = tuple(float(part) for part in text.split(","))
    except ValueError:
        limits = ()
    if not limits or not all(0 < limit <= 1 for limit in limits):
        raise DataError(f"limits are {text!r}; give numbers in (0, 1], separated by commas")
    return limits
