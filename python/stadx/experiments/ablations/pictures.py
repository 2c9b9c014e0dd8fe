"""Pictures of a study: bars of AU-PRO, and the maps of a few images, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from stadx.core.files import write_bytes
from stadx.evaluation.of_detector import Evaluation
from stadx.evaluation.report.plots import to_png

from ..panels import map_panel, outlined_panel, write_panels

_SHOWN = 6  # images in a picture of maps


def write_scores(path: Path, names: Sequence[str], au_pro: Sequence[float | None]) -> None:
    """Bars of AU-PRO@0.3, as PNG; the axis starts where differences can be seen, and says so."""
    figure = Figure(figsize=(6, 0.6 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    values = [value or 0.0 for value in au_pro]
    axes.barh(range(len(names)), values, color="#4c78dd")
    axes.set_yticks(range(len(names)), list(names))
    axes.invert_yaxis()
    axes.set_xlim(max(0.0, np.floor(20 * min(values)) / 20 - 0.05), 1.0)
    axes.set_xlabel("AU-PRO@0.3 (the axis does not start at 0)")
    for position, value in enumerate(values):
        axes.text(value, position, f" {value:.3f}", va="center")
    write_bytes(path, to_png(figure))


def write_maps(path: Path, names: Sequence[str], evaluations: Sequence[Evaluation]) -> None:
    """The images whose maps differ most between the rows, each with its defect outlined and its map in every row."""
    first = evaluations[0]
    spread = {
        i: np.ptp([e.images[i].pixel_auroc for e in evaluations])
        for i, image in enumerate(first.images)
        if image.pixel_auroc is not None
    }
    chosen = sorted(sorted(spread, key=lambda i: -spread[i])[:_SHOWN])
    if not chosen:
        return
    grid = []
    for index in chosen:
        row = [outlined_panel(first.images[index], f"{first.images[index].defect} {first.images[index].path.stem}")]
        for name, evaluation in zip(names, evaluations, strict=True):
            image = evaluation.images[index]
            row.append(map_panel(image, evaluation, f"{name}: {image.pixel_auroc:.3f}"))
        grid.append(row)
    write_panels(path, grid)
