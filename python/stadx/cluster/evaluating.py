"""`stadx evaluate` on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from stadx.evaluation.scored_tests import Each, Item, Result

from .engine import Pool, in_order
from .models import SentModel


@dataclass(frozen=True)
class WithDetector:
    """Does something with a detector and each item; travels to every worker."""

    model: SentModel
    do: Callable[[Any, Any], Any]

    def begin(self) -> Callable[[Any], Any]:
        """In a worker, once."""
        return partial(self.do, self.model.opened())


def each_on(pool: Pool, model: SentModel) -> Each:
    """Shares items out to the workers of a cluster, each of which has the detector; all must see the files."""

    def each(do: Callable[[Any, Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        return in_order(pool.each(WithDetector(model, do), items))

    return each
