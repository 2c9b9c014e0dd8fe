"""Images, their defects and anomaly maps side by side, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stadx.core.files import write_bytes
from stadx.data.images import read_image
from stadx.evaluation.of_detector import Evaluation, TestScore
from stadx.evaluation.report.overlay import TRUTH, outline, overlay, resize_map, resize_mask, resize_to, scale_for
from stadx.evaluation.report.plots import to_png

_SIDE = 192  # pixels
_RED = np.array([214, 30, 30], np.float32)
_EXTREMES = 3  # defects found worst, and as many found best


class Panel(NamedTuple):
    """A picture uint8 [h, w, 3] and what stands above it."""

    pixels: NDArray[np.uint8]
    title: str = ""


def image_panel(image: TestScore, title: str = "") -> Panel:
    """The test image alone."""
    return Panel(resize_to(read_image(image.path), _SIDE), title)


def outlined_panel(image: TestScore, title: str = "") -> Panel:
    """The test image, its defect outlined."""
    pixels = resize_to(read_image(image.path), _SIDE)
    return Panel(outline(pixels, resize_mask(image.mask, pixels.shape[:2]), TRUTH), title)


def truth_panel(image: TestScore, title: str = "") -> Panel:
    """The test image, its defect in red."""
    pixels = resize_to(read_image(image.path), _SIDE).copy()
    defect = resize_mask(image.mask, pixels.shape[:2])
    pixels[defect] = (0.35 * pixels[defect] + 0.65 * _RED).astype(np.uint8)
    return Panel(pixels, title)


def map_panel(image: TestScore, evaluation: Evaluation, title: str = "") -> Panel:
    """The anomaly map over the test image, in colours that all maps of the evaluation share."""
    pixels = resize_to(read_image(image.path), _SIDE)
    return Panel(overlay(pixels, resize_map(image.map, pixels.shape[:2]), scale_for(evaluation.threshold)), title)


def write_panels(path: Path, grid: Sequence[Sequence[Panel | None]]) -> None:
    """Write rows of panels, which may differ in length and have gaps, as PNG.

    Raises:
        OutputError: if it cannot be written.
    """
    across = max(len(row) for row in grid)
    titled = any(panel is not None and panel.title for row in grid for panel in row)
    figure = Figure(figsize=(1.6 * across, (1.75 if titled else 1.6) * len(grid)), layout="constrained")
    axes = figure.subplots(len(grid), across, squeeze=False)
    for row, places in zip(grid, axes, strict=True):
        for panel, place in zip(row, places, strict=False):
            if panel is not None:
                place.imshow(panel.pixels)
                place.set_title(panel.title, fontsize=8)
    for place in axes.flat:
        place.axis("off")
    write_bytes(path, to_png(figure))


def write_extremes(path: Path, evaluation: Evaluation) -> None:
    """The defects that are found worst and best, by AUROC within the image, above their maps; nothing without any."""
    found = sorted((i for i in evaluation.images if i.pixel_auroc is not None), key=lambda i: i.pixel_auroc or 0.0)
    if not found:
        return
    chosen = found if len(found) <= 2 * _EXTREMES else found[:_EXTREMES] + found[-_EXTREMES:]
    above = [outlined_panel(i, f"{i.defect} {i.path.stem}") for i in chosen]
    write_panels(path, [above, [map_panel(i, evaluation, f"{i.pixel_auroc:.3f}") for i in chosen]])
