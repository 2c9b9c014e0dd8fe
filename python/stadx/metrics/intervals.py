"""Confidence intervals of a share that was counted, and of how many images that are not independent."""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError

_HALVINGS = 64  # of [0, 1]: finer than a float64
_FEWEST = 20  # values whose correlation can be told from chance at all
_SIGNIFICANT = 1.645  # standard deviations, of ρ_1 times the root of n
_TINY = 1e-300  # instead of 0 in a denominator of the continued fraction


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact (Clopper–Pearson) interval of a share of which k of n were counted.

    Args:
        k: how many were counted, from 0 to n.
        n: of how many, at least 1.
        confidence: in (0, 1), two-sided: each side is missed with at most half of what is left. That the true share is
            below the upper limit alone holds with (1 + confidence) / 2.

    Returns:
        Lower and upper limit, exact to 1e-9; 0 for k = 0, 1 for k = n.

    Raises:
        DataError: for numbers that cannot be.
    """
    if not isinstance(k, Integral) or not isinstance(n, Integral) or not 0 <= k <= n or n < 1:
        raise DataError(f"{k!r} of {n!r} is no share; give whole numbers, k from 0 to n, n at least 1")
    if not 0 < confidence < 1:
        raise DataError(f"confidence is {confidence!r}; it must lie within (0, 1)")
    return _limits(int(k), int(n), (1 - confidence) / 2)


def korn_graubard(k: int, n: int, independent: float, confidence: float = 0.95) -> tuple[float, float]:
    """`clopper_pearson` of k of n that say no more than so many independent ones (Korn and Graubard 1998).

    Args:
        k, n, confidence: as there.
        independent: from 1 to n, see `independent_number`.
    """
    exact = clopper_pearson(k, n, confidence)
    return exact if independent >= n else _limits(k * independent / n, independent, (1 - confidence) / 2)


def independent_number(values: NDArray[np.floating]) -> float:
    """How many independent values say as much about a share as these n, which follow each other in time or by name.

    n / (1 + 2 Σ ρ_k), ρ_k the correlation of ranks k places apart, summed by pairs (Geyer 1992) up to the first that
    chance explains (one-sided, 5 % of a ρ). It is n where neighbours are not more alike than that, or n < 20.
    """
    n = len(values)
    if n < _FEWEST:
        return float(n)
    order = np.argsort(values, kind="stable")
    _, first, inverse, counts = np.unique(values[order], return_index=True, return_inverse=True, return_counts=True)
    ranks = np.empty(n)
    ranks[order] = (first + (counts - 1) / 2)[inverse]  # equal values share the mean of their ranks
    ranks -= ranks.mean()
    if not (square := float(ranks @ ranks)):
        return float(n)

    # all products of ranks k places apart at once: one by one, those of a line that drifts take n² operations
    spectrum = np.fft.rfft(ranks, 1 << (2 * n - 1).bit_length())
    correlations = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[:n] / square

    chance = _SIGNIFICANT / math.sqrt(n)
    if correlations[1] <= chance:
        return float(n)
    total, apart = 0.0, 1
    while apart < n - 1 and (pair := float(correlations[apart] + correlations[apart + 1])) > chance:
        total, apart = total + pair, apart + 2
    return max(1.0, n / (1 + 2 * total))


def percent(share: float, digits: int = 2) -> str:
    """A share in words, with so many significant digits: "13 %"."""
    return f"{float(f'{100 * share:.{digits}g}'):g} %"  # that of 1 is "100 %", not "1e+02 %"


def _limits(k: float, n: float, tail: float) -> tuple[float, float]:
    low = 0.0 if k == 0 else _beta_quantile(tail, k, n - k + 1)
    high = 1.0 if k == n else 1 - _beta_quantile(tail, n - k, k + 1)
    return low, high


def _beta_quantile(share: float, a: float, b: float) -> float:
    """Where the regularised incomplete beta function I_x(a, b) is `share`, by bisection: it rises with x."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _incomplete_beta(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b) for x within (0, 1)."""
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - _incomplete_beta(1 - x, b, a)
    log_factor = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_factor) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction 1 + d1 / (1 + d2 / (1 + …)) of I_x(a, b), DLMF 8.17.22, by Lentz's method."""
    value, above, below = 1.0, 1.0, 0.0
    term = 0
    while True:
        term += 1
        m = term // 2
        if term % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1 / ((1 + d * below) or _TINY)
        above = (1 + d / above) or _TINY
        value *= above * below
        if abs(above * below - 1) < 1e-15:
            return value
