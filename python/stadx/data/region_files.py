"""Defects marked region by region: a folder of an image has a PNG for each, and a config says when each is found.

So MVTec LOCO AD does it: `ground_truth/TYPE/NAME/000.png`, …, and `defects_config.json`, an entry of which has
`defect_name`, `pixel_value` (of the region in its PNG), `saturation_threshold` and `relative_saturation`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from stadx.core.errors import DataError

from .arrays import Array
from .decode import decode_image, open_file
from .map_reading import read_scores
from .maps import MapSet
from .masks import BoolArray, check_size, region_files
from .roi import nearest

CONFIG = "defects_config.json"


@dataclass(frozen=True)
class Saturation:
    """When a region counts as found.

    Attributes:
        defect: the kind of defect.
        threshold: in pixels, or as a share of the region's area.
        relative: whether it is a share.
    """

    defect: str
    threshold: float
    relative: bool

    def area(self, pixels: int, scale: float = 1.0) -> float:
        """Of a region of so many pixels, as the set's authors have it: whole pixels, 1 at least, at most all.

        A share is of the pixels that are given. Pixels of the config become `scale` times as many, which need not be
        whole: how many of the measured size one of the masks' size is.
        """
        wanted = math.floor(self.threshold * pixels) if self.relative else self.threshold * scale
        return float(min(max(wanted, 1), pixels))


class RegionsOfImage(NamedTuple):
    """The regions of one image.

    Attributes:
        masks: bool [H, W] each, or [1, n] of the pixels that count.
        saturation: the area with which each counts as found, in pixels.
        defects: the kind of each.
        clipped: how many have a saturation threshold above their area.
        gone: how many more there are of which no pixel is left at the measured size, or counts.
    """

    masks: list[BoolArray]
    saturation: list[float]
    defects: list[str]
    clipped: int
    gone: int = 0


Config = Mapping[int, Saturation]
"""By the value of a region's pixels."""


def read_config(path: Path) -> Config:
    """Read a `defects_config.json`. Raises `DataError` naming the entry that is wrong."""
    with open_file(path) as file:
        try:
            entries = json.loads(file.read())
        except ValueError as error:
            raise DataError(f"{path}: cannot be read as JSON ({error}); copy it again") from error
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: holds no list of defects; copy the set's {CONFIG}")
    found: dict[int, Saturation] = {}
    for number, entry in enumerate(entries):
        value, saturation = _entry(entry, f"{path}: entry {number}")
        if value in found:
            raise DataError(f"{path}: entry {number} has the pixel_value {value} of another one; make each differ")
        found[value] = saturation
    return found


def _entry(entry: Any, where: str) -> tuple[int, Saturation]:
    keys = ("defect_name", "pixel_value", "saturation_threshold", "relative_saturation")
    if missing := [key for key in keys if not isinstance(entry, dict) or key not in entry]:
        raise DataError(f"{where} has no {', '.join(missing)}; an entry has {', '.join(keys)}")
    name, value, threshold, relative = (entry[key] for key in keys)
    if type(value) is not int or not 1 <= value <= 65535:
        raise DataError(f"{where} has the pixel_value {value!r}; give a whole number from 1 on")
    numeric = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not numeric or not math.isfinite(threshold) or threshold <= 0 or (relative and threshold > 1):
        most = "a share above 0, at most 1" if relative else "pixels, above 0"
        raise DataError(f"{where} has the saturation_threshold {threshold!r}; give {most}")
    return value, Saturation(str(name), float(threshold), bool(relative))


def read_regions(
    folder: Path,
    shape_hw: tuple[int, int],
    image_path: Path,
    config: Config,
    config_path: Path,
    *,
    size: tuple[int, int] | None = None,
    counts: BoolArray | None = None,
) -> RegionsOfImage:
    """The regions in a folder of PNG files, in natural order.

    Args:
        folder: the files, each of one region.
        shape_hw: height and width of the image.
        image_path: what errors call it.
        config, config_path: when regions count as found.
        size: height and width to resize the regions to, by nearest neighbour; None: as they are.
        counts: which pixels of that size count, bool [H, W]: those of a region, in one row; None: all.

    Raises:
        DataError: naming a file of another size than `shape_hw`, the image's; with no pixel, with several values, or
            with one that the config does not have.
    """
    found = RegionsOfImage([], [], [], 0)
    clipped = gone = 0
    scale = 1.0 if size is None else math.prod(size) / math.prod(shape_hw)
    for path in region_files(folder):
        values = np.asarray(decode_image(path))
        if values.ndim != 2:
            raise DataError(f"{path}: is a colour picture; give a grey one whose value is that of {config_path.name}")
        mask: BoolArray = values != 0
        check_size(mask, path, shape_hw, image_path)
        if not mask.any():
            raise DataError(f"{path}: marks no pixel of {image_path}; mark the region, or remove the file")
        kinds = np.unique(values[mask]).astype(int).tolist()
        if len(kinds) > 1:
            raise DataError(f"{path}: has the values {kinds}; a file is one region with one value: split it")
        if kinds[0] not in config:
            raise DataError(f"{path}: has the value {kinds[0]}, which no entry of {config_path} has; add one")
        if size is not None:
            mask = nearest(torch.from_numpy(mask), size).numpy()
        mask = mask if counts is None else mask[counts][None]
        saturation, area = config[kinds[0]], int(np.count_nonzero(mask))
        if not area:
            gone += 1
            continue
        found.masks.append(mask)
        found.saturation.append(saturation.area(area, scale))
        found.defects.append(saturation.defect)
        clipped += not saturation.relative and saturation.threshold * scale > area
    return found._replace(clipped=clipped, gone=gone)


@dataclass(frozen=True)
class RegionMaps:
    """Maps with the regions of their images, read one by one each time it is iterated over.

    Iterating yields (scores [H, W] as stored, `RegionsOfImage`, name of the maps' folder).

    Attributes:
        maps: made by `open_map_set` with `regions`.
        config_path: the file of `config`.
        config: when each region is found.
    """

    maps: MapSet
    config_path: Path
    config: Config

    def __len__(self) -> int:
        return len(self.maps)

    def of(self, defects: frozenset[str]) -> RegionMaps:
        """Those of some folders."""
        kept = [i for i, item in enumerate(self.maps.items) if item.defect in defects]
        return RegionMaps(self.maps.of(kept), self.config_path, self.config)

    def __iter__(self) -> Iterator[tuple[Array, RegionsOfImage, str]]:
        for item in self.maps.items:
            scores = read_scores(item.path)
            if item.mask is None:
                regions = RegionsOfImage([], [], [], 0)
            else:
                regions = read_regions(item.mask, scores.shape, item.path, self.config, self.config_path)
            yield scores, regions, item.defect
