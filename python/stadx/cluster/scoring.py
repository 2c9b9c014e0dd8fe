"""Score the partitions of a run: what a worker does."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stadx.core.errors import DataWarning
from stadx.data.pages import page_of
from stadx.data.roi import Roi
from stadx.detectors.base import Calibrated
from stadx.evaluation.output_names import name_of
from stadx.evaluation.output_settings import OutputSettings
from stadx.evaluation.prediction import SCORES_FILE, predict_files
from stadx.evaluation.regions import RegionSettings
from stadx.evaluation.score_lines import read_lines

from .fetching import Fetched, fetched
from .models import SentModel
from .plan import MapFormat, Partition, part_file, part_name
from .rows import Counts, as_parquet, counts_of
from .storage import Folder
from .zarr_maps import put_group

_OF_STAMP = ("bytes", "modified_ns")  # of a copy they say nothing


@dataclass(frozen=True)
class Scoring:
    """How partitions are scored; travels to every worker.

    Attributes:
        model: the detector.
        out: where results go.
        stride, regions, roi, model_hash: as `predict_files` takes them.
        maps: the format of the maps; "none".
        environment: variables that reading images depends on.
    """

    model: SentModel
    out: Folder
    stride: int
    regions: RegionSettings
    roi: Roi | None
    model_hash: str
    maps: MapFormat = "none"
    environment: Mapping[str, str] = field(default_factory=dict)

    def begin(self) -> Scorer:
        """In a worker, once."""
        os.environ.update(self.environment)
        return Scorer(self, self.model.opened())


@dataclass(frozen=True)
class Scorer:
    """Scores partition after partition with a detector that is loaded once."""

    how: Scoring
    detector: Calibrated

    def __call__(self, partition: Partition) -> Counts:
        """Score a partition and write its results: the maps, and after them the rows, with which it is done.

        One that is done already, by a worker that was killed before it could say so, is left as it is.
        """
        out, file = self.how.out, part_file(partition.number)
        if (before := out.read(file)) is not None:
            return counts_of(before)
        with tempfile.TemporaryDirectory(prefix="stadx-") as folder, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            images = fetched(partition.items, Path(folder, "images"))
            rows = list(self._rows(images, Path(folder, "found"), part_name(partition.number)))
        for one in caught:
            if issubclass(one.category, DataWarning):
                warnings.warn(DataWarning(_with_uris(str(one.message), images)), stacklevel=2)
        out.write(file, as_parquet(rows))
        return Counts.of(rows)

    def _rows(self, images: Sequence[Fetched], found: Path, name: str) -> Iterator[dict[str, Any]]:
        """A row for each image, in their order; maps are copied to where results go."""
        how, paths = self.how, [image.path for image in images if image.path is not None]
        outputs = OutputSettings(pictures=("map",) if how.maps != "none" else (), model=how.model_hash)
        given: dict[str, Any] = {"stride": how.stride, "regions": how.regions, "roi": how.roi}
        group, arrays = f"maps/{name}.zarr", dict[str, Path]()
        lines: Iterator[dict[str, Any]] = iter(())
        if paths:
            predict_files(self.detector, paths, found, **given, outputs=outputs)
            lines = read_lines(found / SCORES_FILE)
        for image in images:
            if image.path is None:
                yield {"uri": image.uri, "error": image.error}
                continue
            line = next(lines)
            row = {"uri": image.uri, **{key: value for key, value in line.items() if key not in ("path", *_OF_STAMP)}}
            if (page := page_of(image.path)) is not None:
                row["page"] = page
            if "error" in row:
                row["error"] = _with_uris(row["error"], [image])
            if "map" in row:
                file = found / line["map"]
                if how.maps == "zarr":
                    key = f"map_{name_of(file.name)}"  # a name may not begin with __
                    row["map"], arrays[key] = f"{group}/{key}", file
                else:
                    row["map"] = f"maps/{name}/{file.name}"
                    how.out.put(row["map"], file)
            yield row
        if arrays:
            put_group(how.out, group, arrays, found / "zarr")


def _with_uris(text: str, images: Sequence[Fetched]) -> str:
    """A sentence in which images are called as in the results."""
    for image in images:
        if image.path is not None and (place := os.fspath(image.path)) in text:
            text = text.replace(place, image.uri)
    return text
