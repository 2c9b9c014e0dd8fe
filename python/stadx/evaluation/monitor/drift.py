"""A sequential test of image scores against those of the images that judged, with a false-alarm rate over all time."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.metrics.intervals import independent_number

from .bets import LEVELS, Bets, highs, levels

Verdict: TypeAlias = Literal["none", "level", "high"]
FEWEST = 10  # values to compare with
_TAIL = 0.1  # share of the reference that is not among the ordinary images
_TOLD_APART = 20.0  # capital at which a change that is certain is one of the level: wrong in 1 of 20 at most


@dataclass(frozen=True)
class DriftState:
    """What is known after some images.

    Attributes:
        images: how many there were; numbers of images begin with 1.
        verdict: "none"; "level": ordinary images score otherwise than those that judged; "high": more images than
            before score high, while ordinary ones are as they were.
        rises: whether the level is a higher one; None unless that is the verdict.
        said_at: the image at which it was said; None if it was not.
        since: the image from which on scores differ, an estimate; None likewise.
        log10_level, log10_high: how strong the evidence is now: log10 of the two martingales.
    """

    images: int
    verdict: Verdict
    rises: bool | None
    said_at: int | None
    since: int | None
    log10_level: float
    log10_high: float


@dataclass(frozen=True)
class _Said:
    """A verdict: at which value, from 0, since which, and whether values have risen."""

    at: int
    since: int
    rises: bool


class Drift:
    """Whether image scores that come one after the other still are like those of the images that judged.

    May be asked after every image: without a change it ever says one with probability `alpha` at most, over all time.
    That holds if, without a change, any order of all images, those that judged and the new ones, is as likely as any
    other. Once said, a verdict stays, but "high" becomes "level" when ordinary images say so, or most score high.

    Two conformal test martingales have half of `alpha` each (Vovk, Gammerman and Shafer 2022, chapter 8; Vovk et al.
    2021). One sees all images and bets that they score higher, or more of them high. The other sees ordinary images
    alone, those below nine tenths of the reference, which a few defects do not move, and bets on another level. A rank
    is that among the reference and all images before, equal scores in random order: these ranks are uniform and
    independent, however few images judged. Bets begin at every image (Shin, Ramdas and Rinaldo 2024), against shifts of
    0.5, 1 and 2 standard deviations; those of less than a quarter are not looked for.

    Args:
        reference: image scores [n] of good images, in their order: `detector.judged_scores()`.
        alpha: the false-alarm rate, in (0, 1).
        group: so many images that follow each other, as those of one part, count as one; None: as many as
            `group_size` finds in the reference.
        defect_rate: share of defective images that is no change, in [0, 0.5).
        seed: of the order of equal scores.

    Raises:
        DataError: if the reference has fewer than ten values, or one that is not finite.
        ValueError: for another argument that cannot be.
    """

    def __init__(
        self,
        reference: Iterable[float] | NDArray[np.floating],
        *,
        alpha: float = 0.01,
        group: int | None = None,
        defect_rate: float = 0.01,
        seed: int = 0,
    ) -> None:
        scores = np.asarray(reference if isinstance(reference, np.ndarray) else list(reference), np.float64)
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha!r}; it must lie within (0, 1)")
        if not 0 <= defect_rate < 0.5:
            raise ValueError(f"defect_rate is {defect_rate!r}; it must lie between 0 and 0.5")
        if group is not None and group < 1:
            raise ValueError(f"group is {group!r}; it must be 1 or more")
        if scores.ndim != 1 or not np.isfinite(scores).all():
            raise DataError("the reference must be finite image scores [n]")
        self.alpha, self.group = alpha, group_size(scores) if group is None else group
        whole = scores[: len(scores) // self.group * self.group].reshape(-1, self.group)
        if len(whole) < FEWEST:
            of = " images" if self.group == 1 else f" groups of {self.group} images that follow each other"
            raise DataError(f"{len(whole)}{of} are too few to compare with; {FEWEST} are needed")
        middle = np.sort(np.median(whole, axis=1))
        self._rng = np.random.default_rng([seed, 7])
        self._highest: list[float] = np.sort(whole.max(axis=1)).tolist()
        # A score of the reference: of the values below it, old and new ones are of one kind, whatever it is.
        self._bound = float(middle[-max(1, round(_TAIL * (len(middle) + 1)))])
        self._ordinary: list[float] = middle[middle < self._bound].tolist()
        self._level = Bets(levels)
        self._high = Bets(highs(1 - (1 - defect_rate) ** self.group))
        self._pending: list[float] = []
        self._images = 0
        self._places: list[int] = []  # of ordinary values among all
        self._above = [0]  # how many values were not ordinary, after each
        self._level_said: _Said | None = None
        self._high_said: _Said | None = None

    def update(self, score: float) -> DriftState:
        """Take the score of the next image.

        Raises:
            DataError: if it is not finite.
        """
        if not math.isfinite(score):
            raise DataError(f"image {self._images + 1} has the score {score}; scores must be finite")
        self._images += 1
        self._pending.append(float(score))
        if len(self._pending) == self.group:
            self._add(median(self._pending), max(self._pending))
            self._pending.clear()
        return self.state

    @property
    def state(self) -> DriftState:
        """As after the last `update`."""
        said = self._level_said or self._high_said
        return DriftState(
            self._images,
            "level" if self._level_said else "high" if self._high_said else "none",
            self._level_said.rises if self._level_said else None,
            (said.at + 1) * self.group if said else None,
            said.since * self.group + 1 if said else None,
            self._level.log_capital / math.log(10),
            self._high.log_capital / math.log(10),
        )

    @property
    def log10_limit(self) -> float:
        """What `log10_level` or `log10_high` must reach for a verdict."""
        return math.log10(2 / self.alpha)

    def _add(self, middle: float, highest: float) -> None:
        place = len(self._above) - 1
        self._high.add(self._rank(highest, self._highest))
        is_ordinary = middle < self._bound
        self._above.append(self._above[-1] + (not is_ordinary))
        if is_ordinary:
            self._places.append(place)
            self._level.add(self._rank(middle, self._ordinary))
        self._say(place)

    def _say(self, place: int) -> None:
        """Keep a verdict that the value at this place brought."""
        limit, level = math.log(2 / self.alpha), self._level.log_capital
        if self._high_said is None and self._high.log_capital >= limit:
            self._high_said = _Said(place, self._high.best[1], True)
        if self._level_said is not None:
            return
        high = self._high_said
        if level >= limit or (high and level >= math.log(_TOLD_APART)):
            density, since = self._level.best
            begin = high.since if high else self._places[since]
            self._level_said = _Said(high.at if high else place, begin, bool(LEVELS[density] > 0))
        elif high and self._are_most_high(high.since):
            self._level_said = high

    def _are_most_high(self, since: int) -> bool:
        """Whether more than half of the values since a place are above the ordinary ones, and not by chance (2 σ)."""
        values = len(self._above) - 1 - since
        return 2 * (self._above[-1] - self._above[since]) - values > 2 * math.sqrt(values)

    def _rank(self, value: float, others: list[float]) -> float:
        """Of a value among others from below, in [0, 1], equal ones in random order; it joins them."""
        first, last = bisect_left(others, value), bisect_right(others, value)
        rank = (first + self._rng.uniform() * (last - first + 1)) / (len(others) + 1)
        insort(others, value)
        return rank


def group_size(scores: NDArray[np.floating]) -> int:
    """How many images that follow each other are to count as one: 1, or where they score alike twice as many as say as
    much as one, see `independent_number`; of few images, so many that ten groups are left."""
    independent = independent_number(scores)
    if independent >= len(scores):
        return 1
    return max(1, min(math.ceil(2 * len(scores) / independent), len(scores) // FEWEST))
