"""The maps of a partition as a Zarr group: an array for each image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import tifffile

from .extra import needed
from .storage import Folder

_CHUNK = 1024  # pixels a side


def put_group(out: Folder, name: str, maps: Mapping[str, Path], scratch: Path) -> None:
    """Write maps, float32 [H, W], into the group `name` of a folder.

    Args:
        out: the folder.
        name: of the group within it.
        maps: the arrays' names, and the TIFFs that hold them, uncompressed; they are copied band by band.
        scratch: a folder of this machine for the group, before it is copied.
    """
    zarr = needed("zarr")
    group = zarr.open_group(os.fspath(scratch), mode="w")
    for key, file in maps.items():
        scores = tifffile.memmap(file, mode="r")
        chunks = tuple(min(side, _CHUNK) for side in scores.shape)
        array = group.create_array(name=key, shape=scores.shape, chunks=chunks, dtype="float32")
        for start in range(0, len(scores), _CHUNK):
            array[start : start + _CHUNK] = scores[start : start + _CHUNK]
    for path in sorted(scratch.rglob("*")):
        if path.is_file():
            out.put(f"{name}/{path.relative_to(scratch).as_posix()}", path)
