"""Files of maps and masks for the tests of `stadx.data.map_files`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from stadx.core.errors import DataError
from stadx.data.maps import MapSet, open_map_set

SCORES = np.random.default_rng(5).standard_normal((6, 9)).astype(np.float32)
SPOT = np.zeros((6, 9), np.bool_)
SPOT[2:4, 3:7] = True


def save_map(path: Path, scores: np.ndarray = SCORES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".npy":
        with path.open("wb") as file:  # by name, numpy.save would append its own suffix to .NPY
            np.save(file, scores)
    elif path.suffix.lower() == ".png":
        Image.fromarray(scores.astype(np.uint16) if scores.dtype.kind == "f" else scores).save(path)
    else:
        tifffile.imwrite(path, scores)
    return path


def save_mask(path: Path, mask: np.ndarray = SPOT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, mask)
    else:
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return path


def write_maps(folder: Path) -> Path:
    """Maps in the layout of MVTec AD, of as many values as there are files."""
    for i, name in enumerate(["good/0", "cut/2", "cut/10", "bent/0"]):
        save_map(folder / "maps" / f"{name}.tiff", SCORES + np.float32(i))
    return folder / "maps"


def write_masks(folder: Path) -> Path:
    """Their masks."""
    for i, name in enumerate(["cut/2", "cut/10", "bent/0"]):
        save_mask(folder / "truth" / f"{name}_mask.png", np.roll(SPOT, i, axis=0))
    return folder / "truth"


def one(folder: Path, name: str, scores: np.ndarray | None = None, mask: str = "0_mask.png") -> MapSet:
    """A set of one map, maps/cut/NAME, and its mask; the map's file is there already where no scores are given."""
    if scores is not None:
        save_map(folder / "maps/cut" / name, scores)
    if not (folder / "truth/cut" / mask).exists():
        save_mask(folder / "truth/cut" / mask)
    return open_map_set(folder / "maps", folder / "truth")


def check_refused(maps: Path, masks: Path, *words: str | Path, read: bool = False) -> None:
    """Opening, or else only reading, raises an error with `words`, a fix after the colon or semicolon."""
    if read:
        opened = open_map_set(maps, masks)
        with pytest.raises(DataError, match=re.escape(str(words[0]))) as caught:
            list(opened)
    else:
        with pytest.raises(DataError, match=re.escape(str(words[0]))) as caught:
            open_map_set(maps, masks)
    for word in (*words, "; "):
        assert str(word) in str(caught.value)


def same(left: MapSet, right: MapSet) -> bool:
    return all(
        np.array_equal(a, x) and a.dtype == x.dtype and np.array_equal(b, y) and c == z
        for (a, b, c), (x, y, z) in zip(left, right, strict=True)
    )
