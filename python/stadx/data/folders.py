"""What folders hold: the images in them, how many each file has, and what is left out."""

from __future__ import annotations

import difflib
import os
import re
import struct
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from tifffile import TiffFile

from stadx.core.errors import DataError, DataWarning

from .decode import FORMAT_NAMES
from .opening import open_header
from .pages import Page, is_lesser, page_kind, page_of
from .tiff import is_tiff

IMAGE_SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"}
    | ({".avif"} if find_spec("PIL.AvifImagePlugin") else set())
)
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif"})
RESULTS = "scores.jsonl"  # marks a folder that `stadx predict` wrote

MASKS = "ground_truth"  # a folder with masks of the images beside it

# Of servers, cameras and systems, besides hidden files; as they are in small letters.
_LEFTOVERS: tuple[str, ...] = (
    "__macosx",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "@eadir",
    "@recycle",
    "#recycle",
    "#snapshot",
)
_LEFTOVERS += ("@recently-snapshot", "$recycle.bin", "system volume information", "lost+found")
_TEXTS = frozenset({".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".log", ".ini", ".html"})
_FRAMES = (b"GIF8", b"RIFF", b"\x89PNG")
_BROKEN = "broken link"


class LeftOut(DataWarning):
    """Files that are passed over because no image is expected in them.

    Attributes:
        counts: by folder or pattern, how many files of each ending, such as ".heic".
    """

    def __init__(self, counts: dict[str, Counter[str]]) -> None:
        super().__init__(counts)
        self.counts = counts

    def __str__(self) -> str:
        total = sum(self.counts.values(), Counter[str]())
        endings = ", ".join(f"{count} {ending}" for ending, count in total.most_common())
        places = list(self.counts)
        where = places[0] + (f" and {len(places) - 1} more" if len(places) > 1 else "")
        count = total.total()
        return (
            f"{where}: {count} {'file is' if count == 1 else 'files are'} left out, which stadx does not take for "
            f"images ({endings}); to use them, save them as {FORMAT_NAMES}"
        )


def left_out_in_one(caught: Iterable[warnings.WarningMessage]) -> list[str]:
    """What warnings say that were caught while files were listed: one line for all `LeftOut`, and the others before."""
    messages = [one.message for one in caught]
    counts = {place: counter for one in messages if isinstance(one, LeftOut) for place, counter in one.counts.items()}
    lines = [str(message) for message in messages if not isinstance(message, LeftOut)]
    return list(dict.fromkeys(lines + ([str(LeftOut(counts))] if counts else [])))


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts img2 before img10, ignoring case; the exact name breaks ties."""
    # ASCII digits only: int() refuses some of the characters that count as digits in Unicode.
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
    return [(0, int(p), "") if "0" <= p[0] <= "9" else (1, 0, p) for p in parts], path.name


def subfolders(folder: Path) -> list[Path]:
    """Sub-folders of `folder` in natural order; `DataError` if it cannot be listed."""
    return sorted((p for p in visible(folder) if os.path.isdir(p)), key=natural_key)


def child(folder: Path, name: str) -> Path:
    """The sub-folder of that name, upper and lower case being the same; the exact one before others."""
    if os.path.isdir(folder / name) or not os.path.isdir(folder):
        return folder / name
    return next((p for p in subfolders(folder) if p.name.casefold() == name.casefold()), folder / name)


def visible(folder: Path) -> list[Path]:
    """What `folder` holds but for leftovers, see `is_leftover`; `DataError` if it cannot be listed."""
    try:
        return [p for p in folder.iterdir() if not is_leftover(p.name)]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def is_leftover(name: str) -> bool:
    """Whether a file or folder is hidden, or one that servers, systems and archives leave behind."""
    return name.startswith(".") or name.casefold().startswith(_LEFTOVERS)


def list_images(
    folder: str | os.PathLike[str], *, recursive: bool = False, without: Collection[Path] = ()
) -> list[Path]:
    """Images directly inside `folder` in natural order (img2 before img10), hidden ones left out.

    A file with several pages stands for as many images, see `Page`. Warns `LeftOut` of files that are no images.

    Args:
        folder: where they are.
        recursive: also those in its sub-folders, after its own; not in those with results of `stadx predict` or masks.
        without: sub-folders that are passed over.

    Raises:
        DataError: for a path that is missing, is a file, cannot be listed, or holds no image.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise DataError(_not_a_folder(folder))
    found: list[Path] = []
    counts: dict[str, Counter[str]] = {}
    passed = {path.resolve() for path in without} - {folder.resolve()}
    for place in _below(folder, passed) if recursive else [folder]:
        inside = visible(place)
        found += sorted((p for p in inside if is_image(p)), key=natural_key)
        if others := _endings(inside):
            counts[os.fspath(place)] = others
    if not found:
        raise DataError(f"{folder}: no images in this folder; {_where_images_may_be(folder, counts)}")
    if counts:
        warnings.warn(LeftOut(counts), stacklevel=2)
    return with_pages(found)


def is_image(path: Path) -> bool:
    """Whether this is a file with an ending of images."""
    return path.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(path)


def warn_left_out(place: str, paths: Iterable[Path]) -> None:
    """Warn `LeftOut` of those of the paths that are files, but no images."""
    if counts := _endings(paths):
        warnings.warn(LeftOut({place: counts}), stacklevel=3)


def with_pages(paths: Iterable[Path]) -> list[Path]:
    """The images of several files, in their order."""
    return [page for path in paths for page in pages_of(path)]


def pages_of(path: Path) -> list[Path]:
    """The images of a file: itself, or its pages where it has several. What cannot be read counts as one.

    Thumbnails and other pages of reduced resolution, and transparency masks, are no images of their own. A file of
    several that is cut short has a last page that cannot be read.
    """
    if page_of(path) is not None:
        return [path]
    try:
        with path.open("rb") as file:
            numbers = _full_pages(file)
    except Exception:  # reading says what is wrong
        return [path]
    return [Page(path, number) for number in numbers] if len(numbers) > 1 else [path]


def _full_pages(file: BinaryIO) -> list[int]:
    start = file.read(12)
    file.seek(0)
    if is_tiff(start):
        tiff: Any = TiffFile(file)
        kinds = [page_kind(page) for page in tiff.pages] if len(tiff.pages) > 1 else []
        numbers = [number for number, kind in enumerate(kinds, 1) if not is_lesser(*kind)]
        return numbers + ([len(kinds) + 1] if numbers and _goes_on(tiff) else [])
    if start[:4] in _FRAMES or start[4:8] == b"ftyp":
        image: Any = open_header(file)
        try:
            count = getattr(image, "n_frames", 1)
        except Exception:  # cut short
            return list(range(1, _whole_frames(image) + 2))
        file.seek(-min(16, file.seek(0, os.SEEK_END)), os.SEEK_END)
        is_cut = start[:4] == b"GIF8" and file.read().rstrip(b"\0")[-1:] != b";"  # which it ends with
        return list(range(1, count + is_cut + 1))
    return []


def _whole_frames(image: Any) -> int:
    count = 1
    try:
        while True:
            image.seek(count)
            image.load()
            count += 1
    except Exception:
        return count


def _goes_on(tiff: Any) -> bool:
    """Whether the last page that can be found names another behind it: the file is cut short."""
    form, file = tiff.tiff, tiff.filehandle
    file.seek(tiff.pages[-1].offset)
    (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(tags * form.tagsize, os.SEEK_CUR)
    (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    return bool(following)


def _endings(paths: Iterable[Path]) -> Counter[str]:
    """How many files of each ending are left out."""
    found: Counter[str] = Counter()
    for path in paths:
        ending = path.suffix.lower()
        if ending in IMAGE_SUFFIXES:
            found[_BROKEN] += os.path.islink(path) and not os.path.exists(path)
        elif ending not in _TEXTS and os.path.isfile(path):
            found[ending or "without ending"] += 1
    return +found


def _below(folder: Path, passed: set[Path]) -> Iterator[Path]:
    """A folder and all below it that have not been passed: links may lead in a circle."""
    if (real := folder.resolve()) in passed:
        return
    passed.add(real)
    yield folder
    for inside in subfolders(folder):
        if os.path.isfile(inside / RESULTS):
            kind = "results of stadx predict"
        elif inside.name.casefold() == MASKS:
            kind = "masks"
        else:
            yield from _below(inside, passed)
            continue
        if inside.resolve() not in passed:
            warnings.warn(DataWarning(f"{inside}: is passed over, it holds {kind}; name it to use it"), stacklevel=3)


def _not_a_folder(path: Path) -> str:
    if os.path.exists(path):
        return f"{path}: is a file; give the folder that holds the images"
    try:
        names = [p.name for p in path.parent.iterdir()]
    except (OSError, ValueError):
        names = []
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    hint = f"did you mean {path.parent / close[0]}?" if close else "check the path"
    return f"{path}: no such folder; {hint}"


def _where_images_may_be(folder: Path, counts: dict[str, Counter[str]]) -> str:
    if counts:
        return f"{str(LeftOut(counts)).partition(': ')[2]}"
    inside = subfolders(folder)
    if not inside:
        return f"put {FORMAT_NAMES} files into it, or name another folder"
    listed = ", ".join(p.name for p in inside[:8]) + (", ..." if len(inside) > 8 else "")
    guesses = [folder / "train" / "good", folder / "good", *(p / "train" / "good" for p in inside)]
    guess = next((g for g in guesses if os.path.isdir(g)), None)
    return f"it has sub-folders {listed}: " + (f"did you mean {guess}?" if guess else "name one of them")
