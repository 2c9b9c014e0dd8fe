"""How far rounding may carry a float32 result from float64: limits of sums and transforms, not of one machine."""

from __future__ import annotations

from stadx.networks.engine import MAX_LIMIT
from stadx.ops.reference import winograd_matrices

UNIT = 2.0**-24  # float32's unit round-off


def rounded(roundings: int, gain: float = 1.0) -> float:
    """Relative error of a value that so many roundings lie behind, in any order.

    Independent roundings add up as the square root of their number; 4 stands for chance and for the value being
    smaller than the terms that it is summed from. `gain` multiplies each of them on its way to the result.
    """
    return float(4 * roundings**0.5 * gain * UNIT)


def winograd_gain(tile: int, kernel: int) -> float:
    """By how much Winograd's transforms in two dimensions enlarge the roundings of white data and weights.

    The root mean square, the same for outputs and both gradients: √(Σ_k |Aᵀ_k|² |Bᵀ_k|² |G_k|² / (m r)) along each
    dimension, as winograd.h of csrc counts it.
    """
    bt, g, at = winograd_matrices(tile, kernel)
    points = at.square().sum(0) * bt.square().sum(1) * g.square().sum(1)
    return float(points.sum()) / (at.shape[0] * kernel)


def scored(descriptors: int = 8, least_std: float = 0.5) -> float:
    """What the engine's error limit lets e and v differ from PyTorch's by, relative and absolute.

    Every descriptor to `MAX_LIMIT`, and the teacher's divided by σ: ‖ε‖ ≤ √d (1 + 1/σ) `MAX_LIMIT`, and
    |Δe| ≤ 2 √e ‖ε‖ ≤ (1 + e) ‖ε‖.
    """
    return float(descriptors**0.5 * (1 + 1 / least_std) * MAX_LIMIT)
