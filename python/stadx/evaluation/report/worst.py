"""A picture of the defects that a detector finds worst."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from stadx.core.errors import DataError
from stadx.core.files import write_bytes
from stadx.data.value_range import read_shown

from ..of_detector import Evaluation
from ..scored_images import pixel_metrics
from .overlay import TRUTH, outline, overlay, scale_for
from .plots import to_png

_SIDE = 96  # pixels around a region that are shown, at least


def write_worst(path: str | os.PathLike[str], evaluation: Evaluation, count: int = 12) -> list[str]:
    """Draw the regions with the lowest AU-PRO of their own: the surroundings, the truth in green, and the heat map.

    Args:
        path: the PNG file to write.
        evaluation: of a category with defects.
        count: regions to show.

    Returns:
        Each region's caption, worst first.

    Raises:
        DataError: if there are no regions.
        OutputError: if the file cannot be written.
    """
    if not any(image.mask.any() for image in evaluation.images):
        raise DataError(f"{evaluation.name}: has no defect to show; put images and masks into test and ground_truth")
    regions = pixel_metrics(evaluation.images).regions()
    worst = sorted(regions, key=lambda region: region.au_pro)[:count]
    scale = scale_for(evaluation.threshold)
    figure = Figure(figsize=(12, 1.9 * -(-len(worst) // 3)), layout="constrained")
    grid = figure.subplots(-(-len(worst) // 3), 6, squeeze=False)
    captions = []
    for place, region in enumerate(worst):
        image = evaluation.images[region.image]
        pixels = _at_size(read_shown(image.path, evaluation.value_range), image.mask.shape)
        around = _around(region.row, region.column, image.mask.shape, max(_SIDE, int(2 * region.area**0.5)))
        captions.append(f"{image.defect} {Path(image.path).stem}, {region.area} pixels: {region.au_pro:.2f}")
        left, right = grid[place // 3, place % 3 * 2 : place % 3 * 2 + 2]
        left.imshow(_crop(outline(pixels, image.mask, TRUTH, width=1), around))
        right.imshow(_crop(overlay(pixels, image.map, scale), around))
        left.set_title(captions[-1], fontsize=8, loc="left")
    for axes in grid.flat:
        axes.axis("off")
    write_bytes(path, to_png(figure))
    return captions


def _at_size(pixels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An image uint8 [h, w, 3] at the size [H, W] that it was evaluated at."""
    if pixels.shape[:2] == shape:
        return pixels
    resized: NDArray[np.uint8] = np.asarray(Image.fromarray(pixels).resize((shape[1], shape[0])))
    return resized


def _around(row: int, column: int, shape: tuple[int, ...], side: int) -> tuple[slice, slice]:
    """A square of the image around a pixel."""
    starts = [max(0, min(at - side // 2, length - side)) for at, length in zip((row, column), shape, strict=True)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def _crop(pixels: NDArray[np.uint8], around: tuple[slice, slice]) -> NDArray[np.uint8]:
    return pixels[around]
