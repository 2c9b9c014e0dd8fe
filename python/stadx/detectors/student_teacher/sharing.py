"""Students that several processes train together, as torchrun starts them: whose are which, and what they tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stadx.core.errors import StadxError
from stadx.teachers.distributed import LIMIT, world_size

Key = TypeVar("Key")
Value = TypeVar("Value")


class Share:
    """What this process does of the students of one scale.

    Args:
        students: how many the scale has.
        ranks: the processes that train them, at most as many; none: this one alone.

    Attributes:
        own: the students that this process trains.
        is_first: whether it is the one that writes checkpoints.
    """

    def __init__(self, students: int, ranks: list[int] | None = None) -> None:
        self._ranks = ranks or [0]
        self._students = students
        self._group: dist.ProcessGroup | None = None
        self._place = place = 0
        if ranks is not None:
            # every process makes every group, also those that it is not in
            self._group = dist.new_group(ranks, timeout=LIMIT)
            self._place = place = ranks.index(dist.get_rank()) if dist.get_rank() in ranks else len(ranks)
        self.is_mine = place < len(self._ranks)
        self.is_first = place == 0
        self.own = list(range(students))[place :: len(self._ranks)] if self.is_mine else []

    def total(self, losses: Tensor) -> Tensor:
        """The sum over all students, in their order, of what each own one has: [own, ...] to [...].

        The order makes the bits those of one process.
        """
        size = len(self._ranks)
        if size == 1:
            parts = [losses]
        else:
            slots = -(-self._students // size)
            mine = torch.zeros(slots, *losses.shape[1:])
            mine[: len(losses)] = losses.cpu()
            parts = [torch.empty_like(mine) for _ in range(size)]
            dist.all_gather(parts, mine, group=self._group)
        total = torch.zeros_like(parts[0][0])
        for student in range(self._students):
            total += parts[student % size][student // size]
        return total.to(losses.device)

    def each(self, count: int, work: Callable[[int], Value], told: Callable[[int], None]) -> dict[int, Value]:
        """What `work` makes of each of 0 … count − 1, which the scale's processes take in turn.

        Args:
            told: called with how many are done, as if the others were as far as this one.

        Raises:
            StadxError: that of `work`, in all processes: the others would say only that this one is gone.
        """
        made: dict[int, Value] = {}
        errors: dict[int, StadxError] = {}
        own = range(self._place, count, len(self._ranks))
        try:
            for number, place in enumerate(own, 1):
                made[place] = work(place)
                told(count * number // len(own))
        except StadxError as error:
            errors[self._place] = error
        errors = self.joined(errors)
        if errors:
            raise errors[min(errors)]
        return self.joined(made)

    def send(self, values: Tensor, place: int) -> None:
        """Overwrite values, on the CPU, by those of the process that had this place in `each`."""
        if len(self._ranks) > 1:
            dist.broadcast(values, self._ranks[place % len(self._ranks)], group=self._group)

    def joined(self, own: Mapping[Key, Value]) -> dict[Key, Value]:
        """What all processes of the scale have by key."""
        return _joined(own, len(self._ranks), self._group)

    def agreed(self, value: bool) -> bool:
        """What the first one says."""
        if len(self._ranks) == 1:
            return value
        said = torch.tensor([float(value)])
        dist.broadcast(said, self._ranks[0], group=self._group)
        return bool(said)


def shares(scales: int, students: int) -> list[Share]:
    """Of every scale, what this process does: students are shared out, and with more processes than those, scales too.

    Every process must call it.
    """
    if world_size() == 1:
        return [Share(students) for _ in range(scales)]
    made = [Share(students, ranks) for ranks in _groups(scales, students)]
    return [made[scale % len(made)] for scale in range(scales)]


def together(scales: int, students: int) -> int:
    """How many processes train the first scale, and share its teacher's pass."""
    return len(_groups(scales, students)[0])


def _groups(scales: int, students: int) -> list[list[int]]:
    """The processes of each of the groups that scales are shared out to."""
    world = world_size()
    groups = max(1, min(scales, world // students))
    return [list(range(world))[group::groups][:students] for group in range(groups)]


def joined(own: Mapping[Key, Value]) -> dict[Key, Value]:
    """What all processes have by key."""
    return _joined(own, world_size(), None)


def own_places(count: int) -> range:
    """Of 0 … count − 1, those that this process does."""
    world = world_size()
    return range(dist.get_rank() if world > 1 else 0, count, world)


def _joined(own: Mapping[Key, Value], size: int, group: Any) -> dict[Key, Value]:
    if size == 1:
        return dict(own)
    parts: list[Any] = [None] * size
    dist.all_gather_object(parts, dict(own), group=group)
    return {key: value for part in parts for key, value in part.items()}
