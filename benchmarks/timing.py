"""Medians of competitors that take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Competitor:
    """One way of doing a piece of work.

    Attributes:
        name: what the table calls it.
        run: does the work once.
        kind: "stadx", a "peer" that does the same work, or a "bound" that does less than any of them must.
        scale: multiplies the time, where `run` does only a part of the work.
        work: what it does in units of 1e9: floating-point operations, or bytes; 0 leaves out the rate.
        note: what else to know about it.
        skip: why it cannot run; None if it can.
    """

    name: str
    run: Callable[[], object]
    kind: Literal["stadx", "peer", "bound"] = "peer"
    scale: float = 1.0
    work: float = 0.0
    note: str = ""
    skip: str | None = None


@dataclass
class Result:
    """Times of a competitor in seconds, scaled; none if it was skipped, for the reason in `skip`."""

    competitor: Competitor
    seconds: list[float] = field(default_factory=list)
    skip: str | None = None

    @property
    def median(self) -> float | None:
        """Seconds; None if it was skipped."""
        return statistics.median(self.seconds) if self.seconds else None


def interleaved(
    competitors: Sequence[Competitor],
    rounds: int,
    tick: Callable[[str], None] = lambda name: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Result]:
    """Run every competitor once to warm up, then all of them once a round.

    One that fails in its warm-up is skipped, with its error as the reason: what this PyTorch or this machine cannot do
    is no reason to lose the other figures.
    """
    results = [Result(competitor, skip=competitor.skip) for competitor in competitors]
    for result in results:
        if result.skip is None:
            try:
                result.competitor.run()
            except Exception as error:
                result.skip = reason(error)
        tick(result.competitor.name)
    for _ in range(rounds):
        for result in results:
            if result.skip is None:
                start = clock()
                result.competitor.run()
                result.seconds.append((clock() - start) * result.competitor.scale)
            tick(result.competitor.name)
    return results


def reason(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 100 else text[:99] + "…"


def best_seconds(run: Callable[[], object], rounds: int) -> float:
    """The shortest of a few runs after a warm-up: for the peak of a machine."""
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
