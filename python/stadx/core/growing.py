"""Files that grow line by line over hours or days."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .destinations import destination, make_folder, sync_file, sync_folder, writing_to

_SECONDS_BETWEEN_SYNCS = 5.0
_BLOCK = 2**16


@contextlib.contextmanager
def growing(
    path: str | os.PathLike[str], *, anew: bool = True, is_whole: Callable[[bytes], bool] = lambda line: False
) -> Iterator[Callable[[bytes], None]]:
    """Yield what appends whole lines to a file: whatever ends the program later, they stay.

    Each call is one write, which several processes may do at a time. The disk has it after some seconds and at the end.

    Args:
        path: the file; missing folders are made.
        anew: begin with an empty file; else with the lines that it has. A last line without an end, which a crash may
            leave, is dropped, unless it `is_whole`.

    Raises:
        OutputError: naming `path`, if it cannot be written, here or by what is yielded.
    """
    with writing_to(path):
        make_folder(Path(path).parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (os.O_TRUNC if anew else 0)
        handle = os.open(path, flags, 0o666)
        synced = time.monotonic()

    def append(content: bytes) -> None:
        nonlocal synced
        with writing_to(path):
            left = memoryview(content)
            while left:  # one write, unless the disk is full
                left = left[os.write(handle, left) :]
            if time.monotonic() - synced > _SECONDS_BETWEEN_SYNCS:
                sync_file(handle)
                synced = time.monotonic()

    try:
        with writing_to(path):
            if not anew:
                _end_last_line(path, handle, is_whole)
        yield append
    finally:
        with writing_to(path):
            try:
                sync_file(handle)
                if place := destination(path):
                    sync_folder(place.parent)
            finally:
                os.close(handle)


def _end_last_line(path: str | os.PathLike[str], handle: int, is_whole: Callable[[bytes], bool]) -> None:
    """Give the last line of a regular file its end, or cut the file before it."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        return
    with open(path, "rb") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        file.seek(end)
        whole = end < size and is_whole(file.read(size - end))
    if whole:
        os.write(handle, b"\n")
    elif end < size:
        os.ftruncate(handle, end)
