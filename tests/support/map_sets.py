"""A small set of anomaly maps and masks that several tests use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stadx.metrics import PixelMetrics, ProEvaluator, au_pro, aupr, auroc, f1_max, pro_curve

Arrays = list[NDArray[Any]]
TYPES = ["", "crack", "cut", "hole", "crack", "cut", "crack", "hole", "cut"]


def images() -> tuple[Arrays, Arrays]:
    """Nine images, the first without a defect. Their sizes make the sampling step depend on which comes first."""
    rng = np.random.default_rng(0)
    shapes = [(20, 31), (33, 17), (96, 64), (1, 40), (24, 24), (64, 64), (64, 130), (24, 24), (40, 70)]
    masks = [ndimage.gaussian_filter(rng.standard_normal(shape), 2) > 0.15 for shape in shapes]
    masks[0][:] = False
    maps = [np.round(rng.standard_normal(m.shape) + 1.5 * m, 1) for m in masks]  # ties within and between images
    dtypes = [np.float32, np.float64, np.float64, np.float32]
    return [m.astype(dtypes[i % 4]) for i, m in enumerate(maps)], masks


MAPS, MASKS = images()


def part(start: int, stop: int, **options: Any) -> ProEvaluator:
    """An evaluator of some of the images."""
    return ProEvaluator(**options).update(MAPS[start:stop], MASKS[start:stop], TYPES[start:stop])


def figures(metrics: PixelMetrics) -> list[Any]:
    """All metrics of a set, the curve last."""
    curve = [x.tolist() for x in metrics.pro_curve()]
    of_pixels = [metrics.auroc, metrics.aupr, metrics.f1_max, metrics.best_threshold]
    return [metrics.au_pro(), metrics.au_pro(0.05), metrics.au_pro(1.0), *of_pixels, curve]


def figures_of(maps: Arrays, masks: Arrays, connectivity: int = 8) -> list[Any]:
    """The same from the functions that take a whole set."""
    curve = [x.tolist() for x in pro_curve(maps, masks, connectivity=connectivity)]
    areas = [au_pro(maps, masks, fpr_limit=limit, connectivity=connectivity) for limit in (0.3, 0.05, 1.0)]
    return [*areas, auroc(maps, masks), aupr(maps, masks), *f1_max(maps, masks), curve]
