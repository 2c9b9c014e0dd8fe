"""`stadx predict` on a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stadx.core.errors import StadxError
from stadx.core.progress import Progress, silent
from stadx.data.roi import Roi
from stadx.detectors.base import Calibrated
from stadx.evaluation.looked_at import region_for
from stadx.evaluation.measured_detector import stride_of
from stadx.evaluation.prediction import ALL_REGIONS, run_of
from stadx.evaluation.regions import RegionSettings

from .engine import Pool
from .extra import needed
from .listing import list_items
from .models import SentModel
from .plan import SCORES, Manifest, MapFormat, Partition, forget, part_file, part_name, planned
from .rows import Counts
from .scoring import Scoring
from .storage import Folder, is_uri

_ENVIRONMENT = ("STADX_MAX_PIXELS",)
PARTITION = 64


@dataclass(frozen=True)
class Scored:
    """What a run on a cluster did.

    Attributes:
        counts: of the images that were scored now.
        partitions: of the whole set.
        skipped: those that a previous run had done.
        seconds: how long it took.
    """

    counts: Counts
    partitions: int
    skipped: int
    seconds: float


def predict_uris(
    detector: Calibrated,
    uris: Sequence[str],
    out: str,
    *,
    model: str,
    pool: Pool,
    stride: int | None = None,
    regions: RegionSettings = ALL_REGIONS,
    roi: Roi | None = None,
    maps: MapFormat = "none",
    partition: int = PARTITION,
    recursive: bool = True,
    overwrite: bool = False,
    device: str = "cpu",
    progress: Progress = silent,
) -> Scored:
    """Score the images that `uris` name on the cluster that is connected, and write into the folder `out`:

    scores/part-NNNNNN.parquet, a row for each image as `predict_files` has a line for it, and with `maps` its map. A
    partition is done once its file is there, and never done twice: a run that was stopped goes on where it was.

    Args:
        detector: what scores, with the thresholds and the region of interest of this run.
        uris: files, folders, patterns and WebDataset shards; local, or of any scheme that fsspec opens.
        out: a local folder or a URI.
        model: SHA-256 of the model's file.
        pool: the workers.
        stride, regions, roi: as in `predict_files`.
        maps: their format.
        partition: images in one.
        recursive: also the images in sub-folders.
        overwrite: remove the results of previous runs first.
        device: of the workers.
        progress: told how many partitions are done, and of images a second.

    Raises:
        DataError: if there are no images, or they cannot be read.
        OutputError: if `out` cannot be written, or holds results of another model or settings.
    """
    stride = stride_of(detector, stride)
    folder = Folder(out if is_uri(out) else os.path.abspath(out))
    region = region_for(detector, roi)
    manifest = Manifest(
        model, run_of(detector, stride, regions, region, model), _settings(detector, stride, regions), maps
    )
    if maps == "zarr":
        needed("zarr")
    progress("Listing", 0, 0, {})
    items = list_items(uris, recursive=recursive, without=folder.root)
    if overwrite:
        forget(folder)
    partitions = planned(folder, manifest, items, partition)
    left = _missing(folder, partitions)
    skipped = len(partitions) - len(left)
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    sent = SentModel.of(detector, device)
    scoring = Scoring(sent, folder, stride, regions, roi, model, maps, environment)
    counts, begin = Counts(), time.perf_counter()
    progress("Partitions", skipped, len(partitions), {})
    for done, (_, result) in enumerate(pool.each(scoring, left), start=skipped + 1):
        counts += result
        rate = (counts.scored + counts.failed) / (time.perf_counter() - begin)
        progress("Partitions", done, len(partitions), {"images/s": rate})
    if lost := _missing(folder, partitions):
        raise StadxError(f"{out}: {part_file(lost[0].number)} is missing; was it removed? Run the same command again")
    return Scored(counts, len(partitions), skipped, time.perf_counter() - begin)


def _missing(folder: Folder, partitions: Sequence[Partition]) -> list[Partition]:
    there = folder.names(SCORES)
    return [one for one in partitions if f"{part_name(one.number)}.parquet" not in there]


def _settings(detector: Calibrated, stride: int, regions: RegionSettings) -> Mapping[str, Any]:
    return {
        "stride": stride,
        "pixel threshold": float(detector.threshold_),
        "image threshold": float(detector.image_threshold(stride)),
        "min_area": regions.min_area,
        "pixel_size": regions.pixel_size,
    }
