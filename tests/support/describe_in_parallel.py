"""The teacher's pass over a few images by several processes; run by test_sharing_teacher.py, also as a program."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small import good_images, make_narrow, random_teacher

from stadx import DataError
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.sharing import shares
from stadx.detectors.student_teacher.targets import TeacherTargets
from stadx.teachers.distributed import process_group

SIZE = (20, 24)
ROOM = 3 * 2 * 8 * SIZE[0] * SIZE[1]  # for the maps of three images


class Images(ImageSource):
    """Images of which one becomes unreadable, and a record of those that were described."""

    def __init__(self, bad: int) -> None:
        super().__init__(good_images(7, SIZE), None)
        self.bad = bad
        self.described: list[int] = []

    def inside(self, index: int) -> None:
        self.described.append(index)
        if index == self.bad:
            raise DataError(f"image {index} cannot be read")


def describe(scales: int, students: int, bad: int = -1) -> dict[str, Any]:
    """µ, σ, the kept maps, and how this process came to them, of each scale that it has, or its error."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with process_group():
        for scale, share in enumerate(shares(scales, students)):
            if not share.is_mine:
                continue
            source, told = Images(bad), []
            targets = TeacherTargets(random_teacher((17, 33)[scale]), source, [0, 2, 3, 4, 5, 6, 1], ROOM)
            try:
                mean, std = targets.statistics(lambda stage, *counts: told.append(counts[:2]), share)  # noqa: B023
            except DataError as error:
                found[f"error{scale}"] = str(error)
                continue
            maps = torch.stack([targets._maps[index] for index in targets._places])
            found |= {f"values{scale}": (mean, std, maps), f"told{scale}": told}
            found[f"described{scale}"] = sorted(source.described)
    return found


if __name__ == "__main__":
    make_narrow(pytest.MonkeyPatch())
    torch.save(describe(*map(int, sys.argv[2:])), Path(sys.argv[1]) / f"{os.environ['RANK']}.pt")
