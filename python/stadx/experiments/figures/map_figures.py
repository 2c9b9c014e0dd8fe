"""Figures 1, 5 and 6: defects, their ground truth and the anomaly maps, for images that the masks choose."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stadx.core.errors import DataError
from stadx.core.progress import Progress
from stadx.data.images import read_image
from stadx.data.layouts import open_category, training_images
from stadx.data.layouts.category import TestImage, read_mask
from stadx.evaluation.of_detector import evaluate

from ..panels import Panel, image_panel, map_panel, truth_panel, write_panels
from ..parallel import run_tasks
from ..request import Request, pick
from ..result_store import attempt
from ..tables.categories import SCALES, all_categories, settings_of, train_detector

_ACROSS = 8  # images in a row
Sized = tuple[int, TestImage]  # pixels of the defect, and its image


def _typical(images: Sequence[Sized]) -> list[Sized]:
    return [sorted(images, key=lambda sized: sized[0])[len(images) // 2]]


def _extremes(images: Sequence[Sized]) -> list[Sized]:
    ordered = sorted(images, key=lambda sized: sized[0])
    return [ordered[0], ordered[-1]] if len(ordered) > 1 else ordered


def _typical_of_each(images: Sequence[Sized]) -> list[Sized]:
    by_defect = groupby(images, key=lambda sized: sized[1].defect)  # categories list them by defect
    return [chosen for _, group in by_defect for chosen in _typical(list(group))]


@dataclass(frozen=True)
class MapFigure:
    """A figure of anomaly maps.

    Attributes:
        title, caption: what it is, and which images it shows.
        systems: columns of Table 3, a map of each.
        choose: from the defects of a category with their sizes to those shown.
        blocks: "image": a row for each image; "category": images side by side, a block of rows for each category;
            "all": images side by side.
    """

    title: str
    caption: str
    systems: tuple[str, ...]
    choose: Callable[[Sequence[Sized]], list[Sized]]
    blocks: str


MAP_FIGURES = {
    "figure1": MapFigure(
        "Figure 1: qualitative results",
        "From top to bottom: test image, its defect in red, anomaly map of three scales. Of each category the image "
        "whose defect is of median size among all its defects; no score had a part in the choice.",
        ("Multiscale",),
        _typical,
        "all",
    ),
    "figure5": MapFigure(
        "Figure 5: anomaly detection at multiple scales",
        "From left to right: test image, its defect in red, anomaly maps with receptive fields of 17, 33 and 65 pixels "
        "and of all three. Of each category the smallest defect and the largest; no score had a part in the choice.",
        ("p = 17", "p = 33", "p = 65", "Multiscale"),
        _extremes,
        "image",
    ),
    "figure6": MapFigure(
        "Figure 6: qualitative results by defect",
        "A block for each category, from top to bottom: test image, its defect in red, anomaly map of three scales. Of "
        "each type of defect the image with the one of median size; no score had a part in the choice.",
        ("Multiscale",),
        _typical_of_each,
        "category",
    ),
}


class Shot(NamedTuple):
    """A test image with its maps, ready to draw, and what is written of it."""

    facts: dict[str, Any]
    panels: list[Panel]


def shots_of(
    figure: MapFigure, request: Request, places: Mapping[str, Path], progress: Progress
) -> tuple[list[Shot], dict[str, dict[str, Any]]]:
    """Train what is missing and score the images of a figure, category by category.

    Returns:
        What is shown, and of categories that failed what `attempt` says of it.

    Raises:
        OutputError: if nothing can be written.
    """
    tasks = [partial(_tried, figure.systems, figure.choose, request, row, f) for row, f in places.items()]
    done = dict(zip(places, run_tasks(tasks, request.jobs, progress), strict=True))
    shots = [shot for tried in done.values() for shot in tried.get("figure", ())]
    return shots, {row: tried for row, tried in done.items() if "failed" in tried}


def places_of(request: Request) -> dict[str, Path]:
    """The categories that are asked for."""
    found = all_categories(request.data)
    return {row: found[row] for row in pick(request.rows, found, "row")}


def draw_shots(figure: MapFigure, shots: Sequence[Shot], path: Path) -> None:
    """Write the picture."""
    if figure.blocks == "image":
        write_panels(path, [shot.panels for shot in shots])
        return
    grid: list[Sequence[Panel | None]] = []
    for _, group in groupby(shots, key=lambda s: s.facts["category"] if figure.blocks == "category" else ""):
        block = list(group)
        for start in range(0, len(block), _ACROSS):
            grid += zip(*(shot.panels for shot in block[start : start + _ACROSS]), strict=True)
    write_panels(path, grid)


def settings(figure: MapFigure, request: Request) -> dict[str, Any]:
    """All settings of the detectors; their scales differ."""
    return {**settings_of("Multiscale", request), "maps": list(figure.systems)}


def _tried(*arguments: Any) -> dict[str, Any]:
    return attempt(partial(_of_category, *arguments))


def _of_category(
    systems: Sequence[str],
    choose: Callable[[Sequence[Sized]], list[Sized]],
    request: Request,
    row: str,
    folder: Path,
    progress: Progress,
) -> list[Shot]:
    category = open_category(folder)
    sized: list[Sized] = []
    for image in category.test:
        if image.mask is not None:
            shape = read_image(image.path).shape
            sized.append((int(np.count_nonzero(read_mask(image.mask, shape[:2], image.path))), image))
            progress(f"{row}: masks", len(sized), len(category.test), {})
    if not sized:
        raise DataError(f"{folder}: has no defects to show")
    chosen = choose(sized)
    shown = replace(category, test=[image for _, image in chosen], validation=(), defects_config=None)
    shots: list[Shot] = []
    for system in systems:

        def told(stage: str, done: int, total: int, figures: Mapping[str, float], system: str = system) -> None:
            progress(f"{row}, {system}: {stage}", done, total, figures)

        detector = train_detector(SCALES[system], training_images(folder), request, 0, row, told)
        evaluation = evaluate(detector, shown, stride=request.budget.stride, at=request.compared_at, progress=told)
        for i, scored in enumerate(evaluation.images):
            if len(shots) == i:
                name = f"{scored.defect} {scored.path.stem}"
                file = Path(os.path.relpath(scored.path, folder)).as_posix()
                facts = {"category": row, "file": file, "defect": scored.defect, "pixels": chosen[i][0], "maps": {}}
                shots.append(Shot(facts, [image_panel(scored, f"{row}\n{name}"), truth_panel(scored)]))
            figures = {"pixel_auroc": scored.pixel_auroc, "highest": scored.score, "threshold": evaluation.threshold}
            shots[i].facts["maps"][system] = figures
            within = "" if scored.pixel_auroc is None else f"{scored.pixel_auroc:.3f}"
            shots[i].panels.append(map_panel(scored, evaluation, f"{system}: {within}" if len(systems) > 1 else within))
    return shots
