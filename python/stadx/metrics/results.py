"""What metrics give back: curves and regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


class ProCurve(NamedTuple):
    """The corners of a PRO curve, float64, from (0, 0) to (1, 1): straight lines between them are the exact curve.

    Attributes:
        fpr: share of all background pixels with a score ≥ threshold.
        pro: mean over all ground-truth regions of the region's share with a score ≥ threshold.
        thresholds: falling; +inf at the first point stands for "no pixel", −inf at the last for "every pixel".
    """

    fpr: Float64Array
    pro: Float64Array
    thresholds: Float64Array


@dataclass(frozen=True)
class Region:
    """One ground-truth region.

    Attributes:
        image: index of its image.
        row, column: its first pixel in raster order.
        area: pixels.
        highest: its highest score.
        overlap: share of its pixels with a score ≥ the threshold asked for.
        au_pro: its own area under the overlap curve, divided by the limit; the mean over regions is AU-PRO.
        defect: type of the defect, as given with the image.
    """

    image: int
    row: int
    column: int
    area: int
    highest: float
    overlap: float
    au_pro: float
    defect: str
