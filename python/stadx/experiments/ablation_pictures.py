"""Pictures of a study: bars of AU-PRO, and the maps of a few images, row by row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..data.images import read_image
from ..evaluation import Evaluation, TestScore
from ..files import write_bytes
from ..report.overlay import TRUTH, outline, overlay, resize_map, resize_mask, resize_to, scale_for

_SHOWN = 6  # images in a picture of maps
_SIDE = 192  # pixels


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
    _save(figure, path)


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
    figure = Figure(figsize=(1.6 * (len(names) + 1), 1.7 * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), len(names) + 1, squeeze=False)
    for across, index in zip(grid, chosen, strict=True):
        image = first.images[index]
        pixels = resize_to(read_image(image.path), _SIDE)
        across[0].imshow(outline(pixels, resize_mask(image.mask, pixels.shape[:2]), TRUTH))
        across[0].set_title(f"{image.defect} {image.path.stem}", fontsize=8)
        for axes, name, evaluation in zip(across[1:], names, evaluations, strict=True):
            axes.imshow(_map(evaluation.images[index], evaluation))
            axes.set_title(f"{name}: {evaluation.images[index].pixel_auroc:.3f}", fontsize=8)
    for axes in grid.flat:
        axes.axis("off")
    _save(figure, path)


def _map(image: TestScore, evaluation: Evaluation) -> np.ndarray:
    pixels = resize_to(read_image(image.path), _SIDE)
    return overlay(pixels, resize_map(image.map, pixels.shape[:2]), scale_for(evaluation.threshold))


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    write_bytes(path, buffer.getvalue())
