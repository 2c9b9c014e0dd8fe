"""Wrappers of the operators that count and rank scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def count_above(scores: Sequence[Tensor], thresholds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many scores lie above each threshold and how many are equal to it: one pass, no sort; −0 equals +0.

    Args:
        scores: contiguous, of any shapes, float32 or float64.
        thresholds: [E], E ≥ 1, of the same dtype, strictly ascending, no NaN.

    Returns:
        above and equal [E] int64, and how many NaN each tensor of `scores` has [N] int64; NaN count nowhere else.

    Raises:
        RuntimeError: dtypes differ, scores are not contiguous, thresholds do not ascend.
    """
    above, equal, nans = torch.ops.stadx.count_above(scores, thresholds)
    return above, equal, nans


def distinct_scores(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`torch.unique` with inverse and counts, several times as fast for what fits into memory caches.

    Args:
        scores: [n], float32 or float64, n < 2^31, no NaN; −0 equals +0.

    Returns:
        values [E], ascending; at [n] int32, index into them of every score; counts [E] int64.

    Raises:
        RuntimeError: wrong shape or dtype.
    """
    values, at, counts = torch.ops.stadx.distinct_scores(scores)
    return values, at, counts


def score_cut(scores: Sequence[Tensor], wanted: int) -> Tensor:
    """A score that at least `wanted` of all scores reach: for a GPU, without a sort and without waiting for it.

    Args:
        scores: contiguous, of any shapes, all float32 or all float64; NaN count nowhere.
        wanted: how many scores are to lie at or above the cut.

    Returns:
        The cut, [1] of the same dtype: +inf if none is wanted, -inf if there are fewer. The kernel's is the lowest
        score whose bits begin as those of the wanted-th highest; the reference gives that one itself.

    Raises:
        RuntimeError: there is no image, or dtypes or devices differ.
    """
    cut: Tensor = torch.ops.stadx.score_cut(scores, wanted)
    return cut
