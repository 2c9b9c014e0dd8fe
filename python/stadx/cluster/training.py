"""Trainings on a cluster, each by a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stadx.core.progress import Progress, silent

from .engine import Pool, in_order

T = TypeVar("T")


@dataclass(frozen=True)
class _Run:
    """Calls the tasks that it is given; travels to every worker."""

    def begin(self) -> Callable[[Callable[[Progress], T]], T]:
        return lambda task: task(silent)


def run_tasks_on(pool: Pool, tasks: Sequence[Callable[[Progress], T]], progress: Progress) -> list[T]:
    """Run every task by a worker and return what each returned, in order; as `experiments.parallel.run_tasks` here.

    A task whose worker is lost begins again: it has to go on by itself from what it wrote. All machines must see the
    files.

    Args:
        pool: the workers.
        tasks: each is called with a progress callback; they must be picklable.
        progress: told how many are done.
    """

    def told() -> Iterator[tuple[int, T]]:
        progress("Tasks", 0, len(tasks), {})
        for done, result in enumerate(pool.each(_Run(), tasks), start=1):
            progress("Tasks", done, len(tasks), {})
            yield result

    return list(in_order(told()))
