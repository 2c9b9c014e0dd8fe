"""The pictures of an image: overlay, map and mask."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stadx.data.images import write_image, write_map

from .output_names import PICTURES, Picture, file_names
from .report.overlay import Box, Scale, overlay


def write_pictures(
    out: Path,
    name: str,
    pixels: NDArray[np.uint8],
    scores: NDArray[np.float32],
    mask: NDArray[np.bool_],
    scale: Scale,
    boxes: Iterable[Box] = (),
    inside: NDArray[np.bool_] | None = None,
    pictures: Iterable[Picture] = PICTURES,
) -> dict[str, str]:
    """Write overlay, map and mask of one image (all [H, W]) into `out`; return their file names by kind.

    The disk may have them some seconds later: to wait for each would take longer than to score a small image.
    """
    files = file_names(name, pictures)
    if "overlay" in files:
        picture = overlay(pixels, scores, scale, predicted=mask, boxes=boxes, inside=inside)
        write_image(out / files["overlay"], picture, durable=False)
    if "map" in files:
        write_map(out / files["map"], scores, durable=False)
    if "mask" in files:
        write_image(out / files["mask"], mask.astype(np.uint8) * 255, durable=False)
    return files
