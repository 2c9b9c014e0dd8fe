"""Arrays in .npy files: mapped into memory, checked, made planes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from stadx.core.errors import DataError

from .decode import open_file

REAL, WHOLE = "fiub", "iub"  # kinds of dtype of maps and of masks

Array: TypeAlias = npt.NDArray[Any]


def open_array(path: Path, kinds: str) -> Array:
    """Map the array of a .npy file into memory; `DataError` unless its dtype is of one of these kinds."""
    with open_file(path):  # raises: says why it cannot be opened
        try:
            # What np.load does with a memory map, without its detours to archives and pickles.
            values: Array = np.lib.format.open_memmap(path, mode="r")
        # Damaged headers make it raise nearly anything: ValueError, SyntaxError, TokenError...
        except Exception as error:
            raise DataError(
                f"{path}: cannot be read as an array ({error}); write numbers, not objects, with numpy.save"
            ) from error
    return checked(values, path, kinds)


def checked(values: Array, path: Path, kinds: str) -> Array:
    """`values`, if their dtype is of one of these kinds; else `DataError`."""
    if values.dtype.kind not in REAL:
        raise DataError(f"{path}: holds {values.dtype}, not real numbers; save it as float32")
    if values.dtype.kind not in kinds:
        raise DataError(f"{path}: holds {values.dtype}, but masks are bool or integer; name them after the maps")
    return values


def plane_of(values: Array, path: Path) -> Array:
    """`values` as [H, W], without channels or batches of one."""
    plane = values
    while plane.ndim > 2 and 1 in (plane.shape[0], plane.shape[-1]):
        plane = plane[0] if plane.shape[0] == 1 else plane[..., 0]
    if plane.ndim != 2 or plane.size == 0:
        raise DataError(f"{path}: has shape {list(values.shape)}; save one array [H, W] a file")
    return plane


def copy_of(plane: Array) -> Array:
    """A copy in memory, in native byte order; bool as uint8."""
    return np.array(plane, np.uint8 if plane.dtype.kind == "b" else plane.dtype.newbyteorder("="), order="C")
