"""Which images URIs name: files, folders, patterns, and shards of WebDataset."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from stadx.core.errors import DataError
from stadx.data.folders import IMAGE_SUFFIXES, MASKS, RESULTS, LeftOut, is_leftover
from stadx.data.globbing import is_pattern

from .storage import is_local, local_path, opened, reading

SHARD = ".tar"
_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime")
_TEXTS = frozenset({".txt", ".md", ".csv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".log", ".html"})


class Item(NamedTuple):
    """A file to read: an image, or a shard with many.

    Attributes:
        uri: with its scheme.
        size: bytes.
        stamp: tells it from another that has its URI later.
        error: why it cannot be read; "": nothing is known of that.
    """

    uri: str
    size: int
    stamp: str
    error: str = ""

    @property
    def is_shard(self) -> bool:
        return self.uri.lower().endswith(SHARD)


def list_items(uris: Iterable[str], *, recursive: bool = True, without: str = "") -> list[Item]:
    """The images and shards that `uris` name, sorted by URI, none twice.

    Hidden files, leftovers, folders of masks and of results of `stadx predict` are passed over. Warns `LeftOut` of
    files that are neither.

    Args:
        uris: files, folders and patterns, local paths too.
        recursive: also those in sub-folders.
        without: a folder that is passed over, with its scheme.

    Raises:
        DataError: if one names nothing, or a place cannot be read.
    """
    found: dict[str, Item] = {}
    for uri in uris:
        items, left_out = _listed(uri, recursive, without)
        if left_out:
            warnings.warn(LeftOut({uri: left_out}), stacklevel=2)
        if not items:
            kinds = f" ({', '.join(left_out)} alone)" if left_out else ""
            raise DataError(f"{uri}: holds no images and no {SHARD} shards{kinds}; check the name")
        found.update({item.uri: item for item in items})
    return sorted(found.values())


def _listed(uri: str, recursive: bool, without: str) -> tuple[list[Item], Counter[str]]:
    fs, place = opened(uri)
    with reading(uri):
        if fs.isdir(place):
            find = _local_files if is_local(fs) else partial(_files, fs)
            files: Mapping[str, Mapping[str, Any]] = find(place, recursive)
        elif is_pattern(uri) and not fs.exists(place):
            files = {name: info for name, info in fs.glob(place, detail=True).items() if info["type"] == "file"}
            place = ""
        else:
            return [_item(fs, place, fs.info(place))], Counter()
    place = place.rstrip("/")
    results = {name.rpartition("/")[0] for name in files if name.endswith(f"/{RESULTS}")} - {place}
    items, left_out = [], Counter[str]()
    for name, info in files.items():
        inside = PurePosixPath(name.removeprefix(place).lstrip("/"))
        folders = inside.parent.parts if place else ()
        if any(map(is_leftover, (*folders, inside.name))) or any(part.casefold() == MASKS for part in folders):
            continue
        item = _item(fs, name, info)
        if any(name.startswith(f"{folder}/") for folder in results):
            continue
        if without and item.uri.startswith(f"{without}/"):
            continue
        suffix = inside.suffix.lower()
        if suffix in IMAGE_SUFFIXES or suffix == SHARD:
            items.append(item)
        elif suffix not in _TEXTS:
            left_out[suffix or "without ending"] += 1
    return items, left_out


def _files(fs: Any, place: str, recursive: bool) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = fs.find(place, maxdepth=None if recursive else 1, detail=True)
    return found


def _local_files(place: str, recursive: bool) -> Mapping[str, Mapping[str, Any]]:
    """The same of a local folder; unlike fsspec it follows links to folders, none twice."""
    found: dict[str, Mapping[str, Any]] = {}
    passed: set[str] = set()
    for folder, inside, names in os.walk(place, followlinks=True):
        if (real := os.path.realpath(folder)) in passed:
            inside.clear()
            continue
        passed.add(real)
        inside[:] = sorted(inside) if recursive else []
        files = (os.path.join(folder, name) for name in names)
        found |= {file: {"size": os.path.getsize(file)} for file in files if os.path.isfile(file)}
    return found


def as_unicode(name: str) -> str:
    """A name with bytes that are no UTF-8 as escapes, which Parquet takes."""
    return name.encode("utf-8", "backslashreplace").decode()


def no_unicode(shown: str) -> str:
    """The error of an image with such a name."""
    return f"{shown}: its name is no Unicode, which results in Parquet must be; rename it"


def _item(fs: Any, name: str, info: Mapping[str, Any]) -> Item:
    uri = str(fs.unstrip_protocol(name))
    if (shown := as_unicode(uri)) != uri:
        return Item(shown, int(info.get("size") or 0), "", no_unicode(shown))
    stamp = next((str(info[key]) for key in _STAMPS if info.get(key)), "")
    if (path := local_path(uri)) is not None:
        stamp = str(os.stat(path).st_mtime_ns) if path.exists() else ""
    return Item(uri, int(info.get("size") or 0), stamp)
