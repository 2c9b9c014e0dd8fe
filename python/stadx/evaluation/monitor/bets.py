"""A test martingale: bets against ranks that are uniform as long as nothing changes, begun at any time."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_NORMAL = NormalDist()
_EDGE = 1e-9  # ranks lie within it of 0 and 1 at most
_CAPPED_AT = 0.99  # rank from which a bet that strangers must not win grows no more
_LARGE = 1e100  # capital whose logarithm is kept apart
_LATER = 10.0  # how slowly the stake of later bets is spent
LEVELS = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
"""The shifts that bets on a level are best against, in standard deviations."""
_HIGHER = LEVELS[LEVELS > 0]
_PLACES = np.repeat([0.9, 0.98], 3)  # ranks above which more may lie than should
_POWERS = np.tile([0.7, 0.4, 0.1], 2)  # how many more: the usual share to this power

Densities: TypeAlias = Callable[[float], NDArray[np.float64]]
"""From a rank within (0, 1) to the logarithms [k] of k densities, whose means over uniform ranks are at most 1."""


class Bets:
    """Capital of many bets, 1 at first: each takes a density and a time to begin, and the rest waits.

    Under uniform ranks, each independent of those before, capital is a martingale or shrinks on average: that it ever
    reaches c has probability 1 / c at most (Ville's inequality).

    Attributes:
        log_capital: the natural logarithm of all capital, that which waits too.
    """

    def __init__(self, densities: Densities) -> None:
        self._densities = densities
        number = len(densities(0.5))
        self._prior = -math.log(number)
        self._bets = np.zeros(number)  # what bets that have begun are worth, by density, in units of exp(_unit)
        self._unit = 0.0
        self._sums = np.zeros(number)  # log likelihood ratio since the best time to begin, by density
        self._since = np.zeros(number, np.int64)
        self._count = 0
        self.log_capital = 0.0

    def add(self, rank: float) -> None:
        """Bet on one more rank in [0, 1]."""
        gains = self._densities(min(max(rank, _EDGE), 1 - _EDGE))
        waiting = _waiting(self._count + 1)
        begun = math.exp(math.log(_waiting(self._count) - waiting) + self._prior - self._unit)
        self._bets = (self._bets + begun) * np.exp(gains)
        anew = self._sums <= 0
        self._since[anew] = self._count
        self._sums = np.where(anew, 0.0, self._sums) + gains
        self._count += 1
        worth = float(self._bets.sum())
        if worth > _LARGE:  # before it overflows; what lies below by more is nothing
            self._bets, self._unit, worth = self._bets / worth, self._unit + math.log(worth), 1.0
        elif self._unit and worth < 1 / _LARGE:
            self._bets, self._unit, worth = self._bets * math.exp(self._unit), 0.0, worth * math.exp(self._unit)
        self.log_capital = self._unit + math.log(worth + waiting * math.exp(-self._unit))

    @property
    def best(self) -> tuple[int, int]:
        """The density that has won most, and the rank, from 0, since which it wins."""
        density = int(np.argmax(self._bets))
        return density, int(self._since[density])


def _waiting(count: int) -> float:
    """Share of the stake that has not begun after so many ranks: half begins at once, the rest over all time."""
    return 1.0 if count == 0 else 0.5 * math.log(_LATER) / math.log(_LATER + count - 1)


def levels(rank: float) -> NDArray[np.float64]:
    """Bets that values lie higher or lower by `LEVELS`: best against shifted ranks of normal values."""
    return LEVELS * _NORMAL.inv_cdf(rank) - LEVELS**2 / 2


def highs(strangers: float) -> Densities:
    """Bets that all values lie higher, or more of them above nearly all others; they do not win by few strangers.

    Args:
        strangers: share of values that may lie as high as they like.
    """
    top = np.inf if strangers == 0 else _HIGHER * _NORMAL.inv_cdf(_CAPPED_AT) - _HIGHER**2 / 2
    dues = 0.0 if strangers == 0 else np.log1p(strangers * np.expm1(top))
    possible = 1 - _PLACES + strangers < 1
    places = _PLACES[possible]
    usual = 1 - places + strangers
    more = usual ** _POWERS[possible]
    won, lost = np.log(more / usual), np.log((1 - more) / (1 - usual))

    def densities(rank: float) -> NDArray[np.float64]:
        shifted = np.minimum(_HIGHER * _NORMAL.inv_cdf(rank) - _HIGHER**2 / 2, top) - dues
        return np.concatenate([shifted, np.where(rank > places, won, lost)])

    return densities
