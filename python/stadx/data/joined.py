"""Images of several sources as one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from torch import Tensor

from .source import ImageSource
from .value_range import ValueRange


class JoinedSource(ImageSource):
    """Some images of several sources, in the order given.

    Args:
        picked: a source and the number of an image in it, at least one.
        value_range: that all sources were read in.
    """

    def __init__(self, picked: Sequence[tuple[ImageSource, int]], value_range: ValueRange) -> None:
        self._picked = list(picked)
        self.value_range = value_range
        self.size = picked[0][0].size
        self.roi = next((source.roi for source, _ in picked if source.roi is not None), None)
        self.name = " and ".join(dict.fromkeys(source.name for source, _ in picked))

    def __len__(self) -> int:
        return len(self._picked)

    def __getitem__(self, index: int) -> Tensor:
        source, number = self._picked[index]
        return source[number]

    def inside(self, index: int) -> Tensor | None:
        """As of its source."""
        source, number = self._picked[index]
        return source.inside(number)

    def hash_of(self, index: int) -> str:
        """As of its source."""
        source, number = self._picked[index]
        return source.hash_of(number)

    def name_of(self, index: int) -> str:
        """As of its source."""
        source, number = self._picked[index]
        return source.name_of(number)

    def fingerprint(self) -> str:
        """Of the pixels."""
        return hashlib.sha256("".join(self.hash_of(index) for index in range(len(self))).encode()).hexdigest()
