"""The images of a partition as local files, read from wherever they are."""

from __future__ import annotations

import os
import shutil
import socket
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from stadx.core.errors import DataError
from stadx.data.folders import IMAGE_SUFFIXES, is_leftover, pages_of

from .listing import Item, as_unicode, no_unicode
from .storage import local_path, opened, reading

_AT_ONCE = 8  # files that are being read: an object store answers late


class Fetched(NamedTuple):
    """An image on this machine; `uri` names it wherever results are read.

    Attributes:
        path: of the file, or of one of its pages; None where there is none.
        error: why not.
    """

    uri: str
    path: Path | None
    error: str = ""


def fetched(items: Sequence[Item], folder: Path) -> list[Fetched]:
    """Bring the images of `items` into `folder`, in their order; local ones stay where they are.

    A file that was removed since it was listed, and a shard that is cut short, is told as the error of an image.

    Raises:
        DataError: if a place cannot be read at all, as a local folder of another machine.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        groups = pool.map(lambda pair: _fetch(pair[1], folder / str(pair[0])), enumerate(items))
        return [one for group in groups for one in group]


def _fetch(item: Item, place: Path) -> list[Fetched]:
    if item.error:
        return [Fetched(item.uri, None, item.error)]
    if item.is_shard:
        return list(_of_shard(item, place))
    path = local_path(item.uri)
    if path is not None:
        _check_is_shared(path, item.uri)
    else:
        fs, name = opened(item.uri)
        path = _named(place, PurePosixPath(name))
        try:
            with reading(item.uri):
                fs.get_file(name, os.fspath(path))
        except DataError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return [Fetched(item.uri, None, str(error))]
            raise
    return [Fetched(item.uri, page) for page in pages_of(path)]


def _check_is_shared(path: Path, uri: str) -> None:
    if not path.parent.is_dir():
        raise DataError(
            f"{uri}: its folder is not on the machine {socket.gethostname()}; all machines of the cluster must see it, "
            "under the same name, or put the images into an object store (s3://…)"
        )


def _of_shard(item: Item, place: Path) -> Iterator[Fetched]:
    """The images of a tar file, which is read once from beginning to end."""
    fs, name = opened(item.uri)
    if (path := local_path(item.uri)) is not None:
        _check_is_shared(path, item.uri)
    try:
        with reading(item.uri), fs.open(name, "rb") as file, tarfile.open(fileobj=file, mode="r|") as shard:
            for number, member in enumerate(shard):
                inside = PurePosixPath(member.name)
                is_image = member.isreg() and inside.suffix.lower() in IMAGE_SUFFIXES
                content = shard.extractfile(member) if is_image and not is_leftover(inside.name) else None
                if content is None:
                    continue
                uri = f"tar://{member.name}::{item.uri}"
                if (shown := as_unicode(uri)) != uri:
                    yield Fetched(shown, None, no_unicode(shown))
                else:
                    path = _named(place / str(number), inside)
                    with path.open("wb") as copy:
                        shutil.copyfileobj(content, copy)
                    yield from (Fetched(uri, page) for page in pages_of(path))
    except DataError as error:
        if not isinstance(error.__cause__, tarfile.TarError | FileNotFoundError):
            raise
        yield Fetched(item.uri, None, str(error))


def _named(place: Path, name: PurePosixPath) -> Path:
    """A new file in `place`, called as `name`, in a folder called as its folder: outputs and masks go by these."""
    parent = name.parent.name
    folder = place / (parent if parent not in ("", ".", "..") else "images")
    folder.mkdir(parents=True)
    return folder / name.name
