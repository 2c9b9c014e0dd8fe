"""What the common shortcuts report as AU-PRO on the same maps. None of them is used by stadx."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .curve import area_up_to
from .ranks import NameOf, Ranks, Rescan, count_all


def shortcut_au_pros(
    ranks: Ranks,
    region_au_pro: NDArray[np.float64],
    images: Rescan,
    name_of: NameOf,
    score_range: tuple[float, float],
    fpr_limit: float,
) -> dict[str, float]:
    """AU-PRO as others compute it.

    Args:
        ranks: of the set, counted in full.
        region_au_pro: exact, per region [R].
        images, name_of: gives the images; what errors call them.
        score_range: lowest and highest score of the set.
        fpr_limit: in (0, 1].

    Returns:
        By shortcut: 200 uniform thresholds; the same, ending at the last point below the limit and divided by its
        rate, as many repositories have it; 1,000 uniform bins; regions averaged within each image first.
    """
    coarse = _uniform(ranks, images, name_of, score_range, 200)
    fine = _uniform(ranks, images, name_of, score_range, 1000)
    below = coarse[0] < fpr_limit
    last = float(coarse[0][below][-1])
    per_image = np.bincount(ranks.images, region_au_pro) / np.maximum(np.bincount(ranks.images), 1)
    return {
        "200 uniform thresholds": area_up_to(*coarse, fpr_limit),
        "200 thresholds, to the last below the limit": area_up_to(coarse[0][below], coarse[1][below], last)
        if last > 0
        else 0.0,
        "1,000 uniform bins": area_up_to(*fine, fpr_limit),
        "regions averaged per image": float(per_image[np.unique(ranks.images)].mean()),
    }


def _uniform(
    ranks: Ranks, images: Rescan, name_of: NameOf, score_range: tuple[float, float], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """FPR and PRO at uniform thresholds over the scores' range, between (0, 0) and (1, 1)."""
    dtype = ranks.values.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (np.clip(x, np.finfo(dtype).min / 4, np.finfo(dtype).max / 4) for x in score_range)
        thresholds = np.unique(np.linspace(low, high, count).astype(dtype))
    above, equal = count_all(images, thresholds, ranks.sizes.tolist(), name_of)
    first = np.searchsorted(ranks.values, thresholds)  # defect scores below each threshold
    defect = np.concatenate([np.cumsum(ranks.multiplicity[::-1])[::-1], [0]])[first]
    weight = np.bincount(ranks.at, 1.0 / ranks.areas[ranks.region], len(ranks.values))
    share = np.concatenate([np.cumsum(weight[::-1])[::-1], [0]])[first] / len(ranks.areas)
    fpr = (above + equal - defect) / ranks.num_background
    return np.concatenate([[0.0], fpr[::-1], [1.0]]), np.concatenate([[0.0], share[::-1], [1.0]])


def score_range(images: Rescan) -> tuple[float, float]:
    """Lowest and highest score of a set."""
    extremes = [torch.aminmax(scores) for scores, _ in images() if scores.numel()]
    return min(float(low) for low, _ in extremes), max(float(high) for _, high in extremes)
