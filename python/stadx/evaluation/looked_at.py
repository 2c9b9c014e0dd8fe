"""Which pixels of an image are looked at, and which of its ground truth count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stadx.data.layouts.category import TestImage
from stadx.data.masks import IGNORED, BoolArray, Doubts, read_truth
from stadx.data.roi import Roi


def region_for(detector: object, roi: Roi | None) -> Roi | None:
    """`roi`, or else the one that the detector keeps; None: all pixels are looked at."""
    own = getattr(detector, "roi_", None)
    return roi if roi is not None or own is None else Roi(own)


def roi_argument(mask: BoolArray | None) -> dict[str, Any]:
    """How a detector is told: detectors that know no region of interest are not told of none."""
    return {} if mask is None else {"roi": mask}


def truth_of_image(
    item: TestImage,
    size: tuple[int, int],
    inside: BoolArray | None,
    ignore_value: int | None,
    doubts: Doubts | None = None,
) -> NDArray[np.uint8]:
    """Of a test image uint8 [H, W]: 1 at a defect, `IGNORED` outside and at `ignore_value`, else 0."""
    truth = np.zeros(size, np.uint8)
    if item.mask is not None:
        truth = read_truth(item.mask, size, item.path, ignore_value, doubts)
    if inside is not None:
        truth[~inside] = IGNORED
    return truth


def notes_of(roi: Roi | None, left_out: Sequence[Path], defective: int) -> list[str]:
    """Say in a sentence each what an evaluation leaves out."""
    notes = []
    if roi is not None:
        share = "" if roi.share is None else f" ({100 * roi.share:.3g} % of the image are inside)"
        notes.append(f"Pixels outside {roi.name}{share} are neither defect nor background.")
    if left_out:
        listed = ", ".join(map(str, left_out[:3])) + (", …" if len(left_out) > 3 else "")
        counts = f"{len(left_out)} of {defective}"
        notes.append(f"Defect images whose defect is ignored or outside are left out, {counts}: {listed}.")
    return notes
