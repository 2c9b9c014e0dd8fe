"""What the outputs of each image are called."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from stadx.core.errors import OutputError

Picture: TypeAlias = Literal["overlay", "map", "mask"]
PICTURES: tuple[Picture, ...] = ("overlay", "map", "mask")
_LONGEST_ENDING = len("_overlay.png")
_BYTES_OF_NAMES = 255  # of most file systems
_FOR_NUMBER = 12  # bytes
_DIGITS = 8  # of the digest in a shortened name
_RESERVED = frozenset({"regions.coco"})  # with LabelMe's ending it would be another file of ours


def file_names(name: str, pictures: Iterable[Picture] = PICTURES, *, huge: bool = False) -> dict[str, str]:
    """The files of the image `name` by kind; of a `huge` one the mask is a TIFF, as PNG cannot be written by strips."""
    names = {"overlay": f"{name}_overlay.png", "map": f"{name}_map.tiff", "mask": f"{name}_mask.png"}
    if huge:
        names["mask"] = f"{name}_mask.tiff"
    return {kind: names[kind] for kind in pictures}


def name_of(file: str) -> str:
    """The image's name of one of its files."""
    return file.rpartition("_")[0]


def name_key(name: str) -> str:
    """The same for names that some file system takes for one: case and normal form do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def longest_name(folder: Path) -> int:
    """Bytes of the longest name whose files fit into an existing folder."""
    try:
        whole = os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):
        whole = _BYTES_OF_NAMES
    return min(whole, _BYTES_OF_NAMES) - _LONGEST_ENDING


def output_names(
    paths: Sequence[Path],
    owners: Mapping[str, str] = MappingProxyType({}),
    longest: int = _BYTES_OF_NAMES - _LONGEST_ENDING,
) -> list[str]:
    """Give each image a name for its outputs that no other has, case and Unicode's normal form not counting.

    The name is the file's own without its ending; where several share it, or an image of a previous run has it, the
    folder's name goes before it, and where that is not enough a number after it. A name that is too long is cut, and
    ends in a digest of the whole. An image of a previous run keeps its name, whatever others there are now.

    Args:
        paths: of the images.
        owners: by `name_key`, the path of the image that has the name from a previous run.
        longest: bytes of a name.
    """
    stems = [_shortened(path.stem, longest) for path in paths]
    keys = [name_key(stem) for stem in stems]
    shared = Counter(keys)

    def is_free(key: str, path: Path) -> bool:
        return key not in _RESERVED and owners.get(key) in (None, os.fspath(path))

    bases = [
        _shortened(f"{p.resolve().parent.name}_{s}", longest - _FOR_NUMBER) for p, s in zip(paths, stems, strict=True)
    ]
    kept = _kept_names(paths, stems, bases, owners)
    held = {name_key(name) for name in kept if name is not None}
    given = [
        name or (stem if shared[key] == 1 and key not in held and is_free(key, path) else None)
        for path, stem, key, name in zip(paths, stems, keys, kept, strict=True)
    ]
    taken = {name_key(name) for name in given if name is not None}
    last: dict[str, int] = {}  # number given to a name: counting anew each time would take ever longer
    names: list[str] = []
    for path, base, name in zip(paths, bases, given, strict=True):
        if name is None:
            name = base
            number = last.get(name_key(base), 1)
            if number > 1:
                name = f"{base}_{number}"
            while (key := name_key(name)) in taken or not is_free(key, path):
                number += 1
                name = f"{base}_{number}"
            last[name_key(base)] = number
            taken.add(key)
        names.append(name)
    return names


def _kept_names(
    paths: Sequence[Path], stems: Sequence[str], bases: Sequence[str], owners: Mapping[str, str]
) -> list[str | None]:
    """The names of a previous run, or None: an image's stem, or its base with or without a number."""
    keys: dict[str, set[str]] = {}
    for key, owner in owners.items():
        keys.setdefault(owner, set()).add(key)
    kept: list[str | None] = []
    for path, stem, base in zip(paths, stems, bases, strict=True):
        own, start = keys.get(os.fspath(path), set()), name_key(base)
        numbers = (key.removeprefix(f"{start}_") for key in own if key.startswith(f"{start}_"))
        number = min((int(text) for text in numbers if text.isascii() and text.isdecimal()), default=None)
        if name_key(stem) in own - _RESERVED:
            kept.append(stem)
        elif start in own:
            kept.append(base)
        else:
            kept.append(None if number is None else f"{base}_{number}")
    return kept


def check_no_image_is_replaced(
    named: Sequence[tuple[Path, str]], out: Path, pictures: Sequence[Picture], *, huge: bool
) -> None:
    """Raise `OutputError` if a file in `out`, or one that a link there leads to, is an image and would be an output.

    `named` has the images with their names; of `huge` ones the mask has another ending.
    """
    inputs = {os.path.realpath(path) for path, _ in named}
    folder = os.path.realpath(out)
    with os.scandir(out) as entries:
        images = {
            entry.name
            for entry in entries
            if (os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(folder, entry.name)) in inputs
        }
    if not images:
        return
    for _, name in named:
        for file in {*file_names(name, pictures).values(), *file_names(name, pictures, huge=huge).values()}:
            if file in images:
                raise OutputError(f"{out / file}: is an image to score; choose another folder for the output")


def _shortened(name: str, longest: int) -> str:
    """The name if it has at most `longest` bytes, else its beginning and a digest."""
    content = name.encode("utf-8", "surrogatepass")
    if len(content) <= longest:
        return name
    kept = content[: longest - _DIGITS - 1].decode("utf-8", "ignore")  # without bytes that are no Unicode
    return f"{kept}_{hashlib.sha256(content).hexdigest()[:_DIGITS]}"
