"""Images that were read and resized, for the next time that they are asked for: in memory, then in a temporary file."""

from __future__ import annotations

import math
import tempfile
from typing import IO, NamedTuple

import numpy as np
import torch
from torch import Tensor

MEMORY_BYTES, FILE_BYTES = 512 << 20, 4 << 30


class _Place(NamedTuple):
    """Where a tensor lies in the file."""

    start: int
    shape: torch.Size
    dtype: torch.dtype


class KeptImages:
    """Images, and masks of where they are looked at, by number; the first ones that fit.

    Args:
        memory_bytes: room in memory.
        file_bytes: and then in a file without a name in the system's temporary folder, which goes with the process.
            What the disk has no room for is not kept.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES, file_bytes: int = FILE_BYTES) -> None:
        self._room = memory_bytes
        self._file_room = file_bytes
        self._kept: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._places: dict[int, tuple[_Place, _Place | None]] = {}
        self._file: IO[bytes] | None = None
        self._end = 0

    def get(self, index: int) -> tuple[Tensor, Tensor | None] | None:
        """An image and its mask; None: it is not kept."""
        if index in self._kept:
            return self._kept[index]
        if index not in self._places:
            return None
        image, mask = self._places[index]
        return self._read(image), None if mask is None else self._read(mask)

    def put(self, index: int, image: Tensor, mask: Tensor | None, nbytes: int) -> bool:
        """Keep an image if there is room for so many bytes; returns whether there is."""
        if nbytes <= self._room:
            self._room -= nbytes
            self._kept[index] = image, mask
            return True
        if nbytes > self._file_room:
            return False
        try:
            place = self._write(image), None if mask is None else self._write(mask)
        except OSError:  # the disk is full, or nothing may be written: they are read again instead
            self._file_room = 0
            return False
        self._file_room -= nbytes
        self._places[index] = place
        return True

    def _write(self, values: Tensor) -> _Place:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        place = _Place(self._end, values.shape, values.dtype)
        self._file.seek(self._end)
        values.contiguous().flatten().view(torch.uint8).numpy().tofile(self._file)
        self._end += values.nbytes
        return place

    def _read(self, place: _Place) -> Tensor:
        assert self._file is not None
        self._file.seek(place.start)
        values = np.fromfile(self._file, np.uint8, math.prod(place.shape) * place.dtype.itemsize)
        return torch.from_numpy(values).view(place.dtype).view(place.shape)
