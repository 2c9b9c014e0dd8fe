"""Arrays in a temporary file, for sets that are larger than the memory that may be used."""

from __future__ import annotations

import os
import tempfile
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import OutputError

ALIGNMENT = 64  # bytes: any dtype may begin there


class Place(NamedTuple):
    """Where an array lies in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Spill:
    """A temporary file without a name: it vanishes with its last user.

    Args:
        folder: where to make it, when it is first needed; by default the system's.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._size = 0

    def append(self, values: NDArray[Any]) -> Place:
        """Write an array. Raises OutputError naming the folder if it cannot be written."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (it stays open)
            offset = -(-self._size // ALIGNMENT) * ALIGNMENT
            self._file.seek(offset)
            self._file.write(np.ascontiguousarray(values).data)
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{self._folder or tempfile.gettempdir()}: cannot hold {values.nbytes} bytes of maps "
                f"({error.strerror or error}); name another folder, or read the maps twice with evaluate_maps"
            ) from error
        self._size = offset + values.nbytes
        return Place(offset, values.shape, values.dtype)

    def mapped(self) -> NDArray[np.uint8]:
        """Everything written so far, mapped into memory; `array_at` finds an array in it."""
        if self._file is None:
            return np.empty(0, np.uint8)
        return np.memmap(self._file, np.uint8, "r+", shape=(self._size,))


def array_at(mapped: NDArray[np.uint8], place: Place) -> NDArray[Any]:
    """An array of a mapped file, without a copy."""
    size = int(np.prod(place.shape)) * place.dtype.itemsize
    return mapped[place.offset : place.offset + size].view(place.dtype).reshape(place.shape)
