"""Regions in the files that other programs read: a table, COCO's annotations, LabelMe's."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from stadx.core.files import write_bytes
from stadx.data.pages import page_of

from .coco_document import LABEL, growing_coco
from .region_shapes import outlines, run_lengths
from .regions import ExportName, Regions, RegionSettings
from .score_tables import csv_row, growing_csv

CSV_FILE = "regions.csv"
LABELME_VERSION = "5.5.0"  # whose form the files have


@dataclass(frozen=True)
class ScoredImage:
    """An image, the name of its outputs, its regions, and whether it is anomalous."""

    path: Path
    name: str
    regions: Regions
    is_anomalous: bool


Add: TypeAlias = Callable[[ScoredImage], None]


@dataclass(frozen=True)
class Place:
    """Where regions are written to.

    Attributes:
        out: the folder.
        anew: whether files that grow begin anew, or go on after what previous runs wrote.
        again: the images to score, each its path and page, in whose stead COCO's document has only what this run finds.
        only_anomalous: whether files of one image are written for anomalous images alone.
    """

    out: Path
    anew: bool = False
    again: Collection[tuple[str, int | None]] = ()
    only_anomalous: bool = False


@contextlib.contextmanager
def csv_export(place: Place, settings: RegionSettings) -> Iterator[Add]:
    """Write regions.csv: a line for each region, image by image."""
    areas = ["area"] if settings.pixel_size is None else ["area", "area_mm2"]
    header = csv_row("path", "page", "region", "x", "y", "width", "height", *areas, "peak", "mean")
    with growing_csv(place.out / CSV_FILE, header, place.anew) as write:

        def add(image: ScoredImage) -> None:
            lines, page = [], page_of(image.path)
            for number, region in enumerate(image.regions.found, start=1):
                told = settings.line(region)
                lines.append(csv_row(image.path.__fspath__(), page, number, *told.pop("box"), *told.values()))
            write(b"".join(lines))

        yield add


@contextlib.contextmanager
def labelme_export(place: Place, settings: RegionSettings) -> Iterator[Add]:
    """Write NAME.json for each image NAME: a polygon for each region, its outer outline."""

    def add(image: ScoredImage) -> None:
        if place.only_anomalous and not image.is_anomalous:
            return
        shapes: list[dict[str, Any]] = []
        for region, points in zip(image.regions.found, outlines(image.regions), strict=True):
            told = ", ".join(f"{key} {value:.6g}" for key, value in settings.line(region).items() if key != "box")
            shapes.append(
                {
                    "label": LABEL,
                    "points": points,
                    "group_id": None,
                    "description": told,
                    "shape_type": "polygon",
                    "flags": {},
                }
            )
        content: dict[str, Any] = {
            "version": LABELME_VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": Path(os.path.relpath(image.path.resolve(), place.out.resolve())).as_posix(),
            "imageData": None,
            "imageHeight": image.regions.height,
            "imageWidth": image.regions.width,
        }
        file = place.out / f"{image.name}.json"
        write_bytes(file, (json.dumps(content) + "\n").encode("ascii"), durable=False)  # once per image

    yield add


@contextlib.contextmanager
def coco_export(place: Place, settings: RegionSettings) -> Iterator[Add]:
    """Write regions.coco.json: images, and an annotation for each region. See `growing_coco`."""
    with growing_coco(place.out, place.anew, place.again) as write:

        def add(image: ScoredImage) -> None:
            regions, annotations = image.regions, []
            for region, counts in zip(regions.found, run_lengths(regions), strict=True):
                annotation = {
                    "category_id": 1,
                    "bbox": region.box,
                    "area": region.area,
                    "segmentation": {"size": [regions.height, regions.width], "counts": counts},
                    "iscrowd": 0,
                    "score": region.peak,
                }
                annotations.append(annotation)
            write(image.path, regions.width, regions.height, annotations)

        yield add


EXPORTS: dict[ExportName, Callable[[Place, RegionSettings], AbstractContextManager[Add]]] = {
    "csv": csv_export,
    "coco": coco_export,
    "labelme": labelme_export,
}
