"""Which good images students learn from, and which judge."""

from __future__ import annotations

from typing import NamedTuple

from ..thresholds import folds, split
from .settings import DetectorSettings


class Division(NamedTuple):
    """Which training images students learn from, by number, and which judge.

    Attributes:
        learned: those that students learn from.
        held_out: those that none learns from.
        folds: instead of these, of each student those of `learned` that it leaves out.
        judges: of these two at most so many judge; None: as many as memory has room for.
    """

    learned: list[int]
    held_out: list[int]
    folds: list[list[int]]
    judges: int | None = None

    @staticmethod
    def of(settings: DetectorSettings, images: int) -> Division:
        """Of so many images. Raises `DataError` if there is but one."""
        learned, held_out = split(images, settings.held_out, settings.seed, settings.image_fpr)
        if settings.cross and settings.students > 1:
            parts = folds(images, settings.students, settings.seed)
            return Division(sorted(learned + held_out), [], parts, settings.judges)
        return Division(learned, held_out, [], settings.judges)
