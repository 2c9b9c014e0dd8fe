"""Anomaly maps that any tool wrote, each with its ground-truth mask: two folders of files, or two .npy stacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from stadx.core.errors import DataError

from .arrays import REAL, WHOLE, Array, copy_of, open_array
from .folders import IMAGE_SUFFIXES, LOSSY_SUFFIXES, natural_key, pages_of, subfolders, visible
from .layouts import is_good_folder, mask_folder
from .layouts.category import GOOD
from .map_reading import read_mask_array, read_scores
from .masks import Doubts, is_black_page, read_truth, truth_of
from .pages import Page, page_of

MAP_SUFFIXES = frozenset({".tif", ".tiff", ".npy", ".png"})
MASK_SUFFIXES = IMAGE_SUFFIXES | {".npy"}

_MAP_ENDINGS = ("_anomaly_map", "_map", "_scores")  # "_map" after the one that it ends
_MASK_ENDINGS = ("_mask", "_gt")
_PREDICTED = "_map.tiff"  # how `stadx predict` names its maps, beside overlays and masks of the same image

Pair: TypeAlias = "tuple[Array, npt.NDArray[np.bool_] | npt.NDArray[np.uint8], str]"


@dataclass(frozen=True)
class MapItem:
    """One map: its file, the file of its mask, and the name of the folder that holds it, "" at the top.

    `mask` is None for a good image. In a stack every `path` is the same file, and `defect` is "".
    """

    path: Path
    mask: Path | None
    defect: str


@dataclass(frozen=True, eq=False)
class MapSet:
    """Maps with their masks, read one by one each time it is iterated over. Made by `open_map_set`.

    Iterating yields (scores, mask, defect): the scores [H, W] as stored, of any real dtype (float, or integer as
    of a grey PNG; bool becomes uint8) in native byte order; the mask bool [H, W], all False for a good image; and
    the item's `defect`. It raises `DataError` naming the file that is missing, damaged, empty, no plane of real
    numbers, or whose mask has another size or marks nothing. NaN is not looked for.

    Attributes:
        items: the maps, in the order of iteration.
        names: what to call each in a message: its path, and in a stack its number, counted from 0.
        doubts: of the masks that were read.
    """

    items: list[MapItem]
    names: list[str]
    doubts: Doubts
    _read: Callable[[list[MapItem]], Iterator[Pair]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Pair]:
        return self._read(self.items)

    def of(self, which: Sequence[int]) -> MapSet:
        """Some of the maps of folders, in that order."""
        return replace(self, items=[self.items[i] for i in which], names=[self.names[i] for i in which])


def open_map_set(
    maps: str | os.PathLike[str],
    masks: str | os.PathLike[str],
    ignore_value: int | None = None,
    *,
    regions: bool = False,
) -> MapSet:
    """Find the maps in `maps` and their masks in `masks`: two folders, or two .npy files [N, H, W] (or [H, W]).

    In folders, a map (.tif, .tiff, .npy, .png) and its mask have the same relative folder and the same name, where
    a last "_map", "_anomaly_map" or "_scores" of the map's name and "_mask" or "_gt" of the mask's do not count.
    Maps of good images lie in folders named good (ok for BTAD, Normal for VisA); masks there are ignored. Where files
    end in _map.tiff, as `stadx predict` writes them, others in the same folder are no maps. `masks` may be a category:
    then the folder of its masks is meant. In stacks, a mask without a non-zero value stands for a good image.
    With `regions` the mask of an image is a folder of its name, with a file for each region.
    With an `ignore_value` masks are uint8, `IGNORED` where they have it, 1 at other defect pixels, else 0.

    Raises:
        DataError: a path is missing or of another kind; a map lacks its mask, or a mask its map; two belong to one
            image; there is no map, or no mask of a defect; stacks have unequal shapes or cannot be read.
    """
    maps, masks = Path(maps), Path(masks)
    for path in (maps, masks):
        if not os.path.exists(path):
            raise DataError(f"{path}: no such file or folder; check the name")
        if not os.path.isdir(path) and path.suffix.lower() != ".npy":
            raise DataError(f"{path}: is neither a folder nor a .npy file; give a folder, or an array [N, H, W]")
    if os.path.isdir(maps) != os.path.isdir(masks):
        raise DataError(f"{maps} and {masks}: one is a folder, the other a file; give two folders or two .npy files")
    # Where both are what `stadx predict` wrote, its own masks would pass for the truth.
    if os.path.samefile(maps, masks):
        raise DataError(f"{maps}: given both as maps and as masks; give the ground truth as masks")
    if os.path.isdir(maps):
        return _open_folders(maps, masks, ignore_value, regions)
    if regions:
        raise DataError(f"{masks}: regions are read from folders, a file for each; give folders of maps and of masks")
    return _open_stacks(maps, masks, ignore_value)


def _open_folders(maps: Path, masks: Path, ignore_value: int | None, regions: bool) -> MapSet:
    masks = mask_folder(masks)
    map_files = list(_files_below(maps, MAP_SUFFIXES))
    if not map_files:
        raise DataError(f"{maps}: no maps in this folder or below; name one with .tif, .tiff, .npy or .png files")
    mask_of = (_regions_by_image if regions else _masks_by_image)(masks)
    map_of: dict[tuple[Path, str], Path] = {}
    items: list[MapItem] = []
    for path in map_files:
        folder, short = path.parent.relative_to(maps), _without(path.stem, _MAP_ENDINGS)
        # The whole name too: an image may be called x_map itself.
        image = next((key for key in ((folder, short), (folder, path.stem)) if key in mask_of), (folder, short))
        if image in map_of:
            raise DataError(f"{path}: is a second map of the same image, beside {map_of[image]}; remove one of them")
        if image not in mask_of and not is_good_folder(folder.name):
            nested = f"; did you mean the maps in {maps / 'test'}?" if folder.parts[:1] == ("test",) else ""
            if not regions and os.path.isdir(masks / folder / short):
                nested = f"; {masks / folder / short} has a file for each region: --spro measures those"
            expected = masks / folder / (f"{short}/000.png" if regions else f"{short}_mask.png")
            raise DataError(
                f"{path}: has no mask; expected {expected} "
                f"(the map of a good image belongs in a folder named {GOOD}){nested}"
            )
        map_of[image] = path
        items.append(MapItem(path, mask_of.get(image), folder.name))
    # Those with loss may be the images themselves.
    masks_alone = {image: mask for image, mask in mask_of.items() if mask.suffix.lower() not in LOSSY_SUFFIXES}
    unused = [str(mask) for image, mask in masks_alone.items() if image not in map_of]
    if unused:
        listed = ", ".join(unused[:3]) + (", ..." if len(unused) > 3 else "")
        count = f"{len(unused)} of {len(mask_of)} masks"
        raise DataError(f"{listed}: {count} have no map below {maps}; add the maps, or remove the masks")
    doubts = Doubts()
    read = partial(_read_folders, ignore_value=ignore_value, doubts=doubts)
    return MapSet(items, [str(item.path) for item in items], doubts, read)


def _files_below(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """Files below `folder` in natural order, those of a folder before those of its sub-folders."""
    files = [p for p in visible(folder) if p.suffix.lower() in suffixes and os.path.isfile(p)]
    if suffixes is MAP_SUFFIXES:
        files = [p for p in files if p.name.lower().endswith(_PREDICTED)] or files
    yield from sorted(files, key=natural_key)
    for inside in subfolders(folder):
        yield from _files_below(inside, suffixes)


def _masks_by_image(masks: Path) -> dict[tuple[Path, str], Path]:
    """The masks of defects by relative folder and name of the image."""
    found: dict[tuple[Path, str], Path] = {}
    # Pictures with loss last: beside a mask without, they may be the image itself.
    for path in sorted(_files_below(masks, MASK_SUFFIXES), key=lambda path: path.suffix.lower() in LOSSY_SUFFIXES):
        folder = path.parent.relative_to(masks)
        # Some converted sets keep all-black masks of good images: they say nothing new.
        if is_good_folder(folder.name):
            continue
        for mask in pages_of(path):
            number = page_of(mask)
            short = _without(path.stem, _MASK_ENDINGS)
            image = folder, short if number is None else Page(Path(short), number).stem
            if image in found and path.suffix.lower() in LOSSY_SUFFIXES:
                continue
            if image in found:
                raise DataError(f"{mask}: is a second mask of the same image, beside {found[image]}; remove one")
            found[image] = mask
    if not found:
        raise DataError(f"{masks}: no masks of defects in this folder or below; name one with DEFECT/NAME_mask.png")
    return found


def _regions_by_image(masks: Path) -> dict[tuple[Path, str], Path]:
    """The folders of regions by relative folder and name of the image."""
    folders = dict.fromkeys(path.parent for path in _files_below(masks, MASK_SUFFIXES))
    found = {
        (p.parent.relative_to(masks), p.name): p for p in folders if p != masks and not is_good_folder(p.parent.name)
    }
    if not found or masks in folders:
        raise DataError(f"{masks}: has no folders of regions; give that which has TYPE/NAME/000.png")
    return found


def image_keys(found: MapSet, maps: Path) -> list[tuple[str, str]]:
    """What tells the images of a set apart, whatever its maps' endings are; for a stack, their numbers."""
    if not os.path.isdir(maps):
        return [("", str(i)) for i in range(len(found))]
    keys = [(str(x.path.parent.relative_to(maps)), _without(x.path.stem, _MAP_ENDINGS)) for x in found.items]
    return [("", str(x.mask)) if x.mask is not None else key for key, x in zip(keys, found.items, strict=True)]


def _without(stem: str, endings: tuple[str, ...]) -> str:
    ending = next((e for e in endings if stem.lower().endswith(e) and len(stem) > len(e)), "")
    return stem[: len(stem) - len(ending)]


def _read_folders(items: list[MapItem], ignore_value: int | None, doubts: Doubts) -> Iterator[Pair]:
    for item in items:
        scores = read_scores(item.path)
        shape: tuple[int, int] = scores.shape
        if item.mask is None or is_black_page(item.mask):
            truth = np.zeros(shape, np.uint8)
        elif item.mask.suffix.lower() == ".npy":
            truth = read_mask_array(item.mask, shape, item.path, ignore_value, doubts)
        else:
            truth = read_truth(item.mask, shape, item.path, ignore_value, doubts)
        yield scores, truth.astype(np.bool_) if ignore_value is None else truth, item.defect


def _open_stacks(maps: Path, masks: Path, ignore_value: int | None) -> MapSet:
    _, truth = _stacks(maps, masks)
    items = [MapItem(maps, masks if np.any(mask) else None, "") for mask in truth]
    if all(item.mask is None for item in items):
        raise DataError(f"{masks}: no mask marks a defect; give masks that are non-zero where there is one")

    doubts = Doubts()

    def read(items: list[MapItem]) -> Iterator[Pair]:
        # Opened anew each time, so that what was read does not stay mapped.
        for item, scores, mask in zip(items, *_stacks(maps, masks), strict=True):
            truth = truth_of(np.asarray(mask), mask, ignore_value, masks, doubts)
            yield copy_of(scores), truth.astype(np.bool_) if ignore_value is None else truth, item.defect

    return MapSet(items, [f"{maps}[{i}]" for i in range(len(items))], doubts, read)


def _stacks(maps: Path, masks: Path) -> tuple[Array, Array]:
    """Maps and masks, each [N, H, W] and mapped into memory."""
    scores, truth = _open_stack(maps, REAL), _open_stack(masks, WHOLE)
    if scores.shape != truth.shape:
        shapes = f"the masks are {list(truth.shape)} but the maps {maps} are {list(scores.shape)}"
        raise DataError(f"{masks}: {shapes}; give both the same shape")
    return scores, truth


def _open_stack(path: Path, kinds: str) -> Array:
    values = open_array(path, kinds)
    if values.ndim == 2:
        values = values[None]
    elif values.ndim == 4 and 1 in (values.shape[1], values.shape[3]):
        values = values[:, 0] if values.shape[1] == 1 else values[..., 0]
    if values.ndim != 3 or values.size == 0:
        raise DataError(f"{path}: has shape {list(values.shape)}; give an array [N, H, W]")
    return values
