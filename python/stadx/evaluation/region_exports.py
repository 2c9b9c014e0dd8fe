"""Regions in the files that other programs read: a table, COCO's annotations, LabelMe's."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from stadx.core.files import check_writable, growing, write_bytes
from stadx.core.version import package_version
from stadx.data.pages import entry_of

from .region_shapes import outlines, run_lengths
from .regions import ExportName, Regions, RegionSettings

CSV_FILE = "regions.csv"
COCO_FILE = "regions.coco.json"
LABEL = "anomaly"
LABELME_VERSION = "5.5.0"  # whose form the files have


@dataclass(frozen=True)
class ScoredImage:
    """An image, the name of its outputs, and its regions."""

    path: Path
    name: str
    regions: Regions


Add: TypeAlias = Callable[[ScoredImage], None]


@contextlib.contextmanager
def csv_export(out: Path, settings: RegionSettings) -> Iterator[Add]:
    """Write regions.csv: a line for each region, image by image."""
    with growing(out / CSV_FILE) as write:

        def row(*cells: object) -> bytes:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerow(cells)
            return text.getvalue().encode("utf-8", "surrogateescape")  # names of files may be no Unicode

        def add(image: ScoredImage) -> None:
            lines = []
            for number, region in enumerate(image.regions.found, start=1):
                told = settings.line(region)
                lines.append(row(str(image.path), number, *told.pop("box"), *told.values()))
            write(b"".join(lines))

        areas = ["area"] if settings.pixel_size is None else ["area", "area_mm2"]
        write(row("path", "region", "x", "y", "width", "height", *areas, "peak", "mean"))
        yield add


@contextlib.contextmanager
def coco_export(out: Path, settings: RegionSettings) -> Iterator[Add]:
    """Write regions.coco.json at the end, also when interrupted: images, and an annotation for each region."""
    check_writable(out / COCO_FILE)
    images: list[str] = []
    annotations: list[str] = []  # as text, which is the smallest form

    def add(image: ScoredImage) -> None:
        regions = image.regions
        size = {"width": regions.width, "height": regions.height}
        named = entry_of(image.path)
        images.append(json.dumps({"id": len(images) + 1, "file_name": named.pop("path"), **named, **size}))
        for region, counts in zip(regions.found, run_lengths(regions), strict=True):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": len(images),
                "category_id": 1,
                "bbox": region.box,
                "area": region.area,
                "segmentation": {"size": [regions.height, regions.width], "counts": counts},
                "iscrowd": 0,
                "score": region.peak,
            }
            annotations.append(json.dumps(annotation))

    try:
        yield add
    finally:
        info = json.dumps({"description": "stadx predict", "version": package_version()})
        categories = json.dumps([{"id": 1, "name": LABEL, "supercategory": LABEL}])
        lists = (f'"images": {_listed(images)}', f'"annotations": {_listed(annotations)}')
        parts = (f'"info": {info}', '"licenses": []', f'"categories": {categories}', *lists)
        write_bytes(out / COCO_FILE, ("{" + ",\n".join(parts) + "}\n").encode("ascii"))


@contextlib.contextmanager
def labelme_export(out: Path, settings: RegionSettings) -> Iterator[Add]:
    """Write NAME.json for each image NAME: a polygon for each region, its outer outline."""

    def add(image: ScoredImage) -> None:
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
            "imagePath": Path(os.path.relpath(image.path.resolve(), out.resolve())).as_posix(),
            "imageData": None,
            "imageHeight": image.regions.height,
            "imageWidth": image.regions.width,
        }
        write_bytes(out / f"{image.name}.json", (json.dumps(content) + "\n").encode("ascii"))

    yield add


EXPORTS: dict[ExportName, Callable[[Path, RegionSettings], AbstractContextManager[Add]]] = {
    "csv": csv_export,
    "coco": coco_export,
    "labelme": labelme_export,
}


def _listed(entries: list[str]) -> str:
    return "[\n" + ",\n".join(entries) + "\n]"
