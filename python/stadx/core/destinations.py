"""Where an output really goes: behind links, and into pipes and devices, which are written and never replaced."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import OutputError

_MOST_LINKS = 40  # as Linux follows
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM})


def destination(path: str | os.PathLike[str]) -> Path | None:
    """The regular file that `path` is or will be, all links followed; None for one that can only be written through.

    Those are pipes, devices and sockets, and all names of open descriptors such as /dev/stdout.

    Raises:
        OSError: if links lead in a circle or nowhere can be looked.
    """
    place = Path(path)
    for _ in range(_MOST_LINKS):
        place = Path(os.path.realpath(place.parent), place.name)
        if place.is_relative_to("/proc"):  # a link there is no name of what it opens
            return None
        try:
            mode = os.lstat(place).st_mode
        except FileNotFoundError:
            return place
        if not stat.S_ISLNK(mode):
            return place if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else None
        place = place.parent / os.readlink(place)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def open_through(path: str | os.PathLike[str]) -> BinaryIO:
    """Open what is no regular file to write into it; a pipe waits for its reader."""
    place = Path(path)
    while os.path.islink(place) and not _is_descriptor(place):
        place = Path(os.path.realpath(place.parent), os.readlink(place))
    if _is_descriptor(place):  # opened anew, a file behind it would be written from its start
        sys.stdout.flush()
        return os.fdopen(os.dup(int(place.name)), "wb")
    return os.fdopen(os.open(place, os.O_WRONLY), "wb")


def _is_descriptor(place: Path) -> bool:
    """Whether this is the name of an open descriptor of this process."""
    parts = Path(os.path.realpath(place.parent)).parts
    return parts[1:3] == ("proc", str(os.getpid())) and parts[-1] == "fd" and place.name.isdecimal()


def make_folder(folder: Path) -> None:
    """Make a folder and those above that are missing, so that they outlast a loss of power; links are followed."""
    if os.path.isdir(folder):
        return
    folder = Path(os.path.realpath(folder))
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system knows of that."""
    with _ignoring_what_cannot_be_synced():
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_file(handle: int) -> None:
    """Wait until what was written is on the disk; of a pipe or a device nothing is waited for."""
    with _ignoring_what_cannot_be_synced():
        os.fsync(handle)


@contextlib.contextmanager
def _ignoring_what_cannot_be_synced() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def keep_owner_and_mode(place: Path, new: Path) -> None:
    """Give the file `new` owner and permissions of the one at `place` that it is about to replace, if there is one."""
    try:
        old = os.stat(place)
    except FileNotFoundError:
        return
    made = os.stat(new)
    with contextlib.suppress(PermissionError):  # then it stays a new file of this user, with a new file's permissions
        if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
            os.chown(new, old.st_uid, old.st_gid)
        os.chmod(new, stat.S_IMODE(old.st_mode) & 0o777)


@contextlib.contextmanager
def writing_to(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` of the block into an `OutputError` that names `path`."""
    try:
        yield
    except OutputError:  # it names a file already
        raise
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place or free this one"
        ) from error
