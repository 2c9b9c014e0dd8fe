"""Patterns of files: what exists is meant literally, the rest is matched part by part."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path

from .folders import is_leftover, natural_key, subfolders

_MAGIC = re.compile(r"[*?]|\[[^\]]+\]")
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def is_pattern(text: str) -> bool:
    """Whether this is no path but a pattern: behind its longest part that exists it has one of * ? [ or {a,b}."""
    rest = "/".join(_split(text)[1])
    return bool(_MAGIC.search(rest) or _BRACES.search(rest))


def literal(text: str | os.PathLike[str]) -> Path:
    """The path that a text names: as it is, or with ~ for the home folder."""
    path = text if isinstance(text, Path) else Path(text)
    first = path.parts[0] if path.parts else ""
    return path.expanduser() if first.startswith("~") and not _exists(Path(first)) else path


def matches(pattern: str) -> list[Path]:
    """Files and folders that a pattern matches, in natural order folder by folder.

    Its longest part that exists is meant literally, and so is each name behind it that exists where it stands. Else *
    stands for any part of a name, ? for one character, [ab] for one of several, {a,b} for each, ** for any folders.
    Hidden files match only names that begin with a dot.
    """
    prefix, rest = _split(pattern)
    found = (path for parts in _alternatives("/".join(rest)) for path in _below(prefix, parts.split("/")))
    unique = dict.fromkeys(path for path in found if path != prefix or not rest)
    return sorted(unique, key=lambda path: [natural_key(Path(part)) for part in path.parts])


def _split(text: str) -> tuple[Path, list[str]]:
    """The longest beginning that exists, and the names behind it."""
    path = literal(text)
    if os.sep == "/" and "\\" in text and not os.path.lexists(path.parts[0]):  # as Windows writes paths
        path = literal(text.replace("\\", "/"))
    parts = path.parts
    known = len(parts)
    while known and not _exists(Path(*parts[:known])):
        known -= 1
    return Path(*parts[:known]), list(parts[known:])


def _exists(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a null byte
        return False


def _alternatives(text: str) -> list[str]:
    """The text with each of the choices of its braces."""
    if (braces := _BRACES.search(text)) is None:
        return [text]
    before, behind = text[: braces.start()], text[braces.end() :]
    return [whole for choice in braces[1].split(",") for whole in _alternatives(before + choice + behind)]


def _below(folder: Path, parts: list[str]) -> Iterator[Path]:
    if not parts or parts == [""]:
        yield folder
        return
    name, rest = parts[0], parts[1:]
    if name == "**":
        for place in _all_folders(folder, set()):
            yield from _below(place, rest or ["*"])
    elif _exists(folder / name):
        yield from _below(folder / name, rest)
    elif _MAGIC.search(name) and os.path.isdir(folder):
        for inside in _names(folder):
            wanted = not is_leftover(inside) or (inside.startswith(".") and name.startswith("."))
            if wanted and fnmatch.fnmatch(inside, name):
                yield from _below(folder / inside, rest)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # as a shell does it
        return []


def _all_folders(folder: Path, passed: set[Path]) -> Iterator[Path]:
    """A folder and all below it; links may lead in a circle."""
    if not os.path.isdir(folder) or (real := folder.resolve()) in passed:
        return
    passed.add(real)
    yield folder
    if os.access(folder, os.R_OK | os.X_OK):
        for inside in subfolders(folder):
            yield from _all_folders(inside, passed)
