"""The decoder of the last file with several frames, kept so that frames which are read in order are each decoded once.

A frame of a GIF or WebP is made from those before it: opened anew for each, a file of N would have N² / 2 decoded.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections import deque
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from .opening import check_pixels, open_header, without_pillow_limit
from .pages import go_to_page, page_of

_MOST_PIXELS = 2**24  # of a decoder that is kept, which has a frame or two in memory


class _Decoder(NamedTuple):
    process: int  # a forked child would move the position in the file that its parent reads
    identity: tuple[int, ...]
    file: BinaryIO
    image: Image.Image


_kept: deque[_Decoder] = deque()  # one; whoever takes it has it alone


def load_image(file: BinaryIO, path: Path, limit: int) -> Image.Image:
    """Decode the image of an opened file, or the page that `path` names, in its own mode.

    Raises:
        DataError: for more than `limit` pixels.
        Exception: of nearly any kind, if the file is damaged.
    """
    if (number := page_of(path)) is None or not _can_go_on(file):
        return _loaded(open_header(file, path), path, limit)
    decoder = _taken(file, number) or _opened(path)
    try:
        with without_pillow_limit():
            go_to_page(decoder.image, path)
        picture = _loaded(decoder.image, path, limit).copy()
    except BaseException:
        decoder.file.close()
        raise
    if picture.width * picture.height > _MOST_PIXELS:
        decoder.file.close()
    else:
        _kept.append(decoder)
        _close_but(1)  # another thread may have kept its own meanwhile
    return picture


def _close_but(count: int) -> None:
    while len(_kept) > count:
        with contextlib.suppress(IndexError):  # taken by another thread
            _kept.popleft().file.close()


atexit.register(_close_but, 0)


def _loaded(image: Image.Image, path: Path, limit: int) -> Image.Image:
    check_pixels(path, *image.size, limit)
    image.load()
    return image


def _can_go_on(file: BinaryIO) -> bool:
    """Whether it is a GIF, WebP or AVIF.

    A TIFF's pages are found without decoding others; of an APNG Pillow makes other frames where it loaded those before.
    """
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    return start[:4] in (b"GIF8", b"RIFF") or start[4:] == b"ftyp"


def _taken(file: BinaryIO, number: int) -> _Decoder | None:
    """What was kept, if it is of this file and has not passed the page."""
    try:
        decoder = _kept.pop()
    except IndexError:
        return None
    same = (decoder.process, decoder.identity) == (os.getpid(), _identity(file))
    if same and decoder.image.tell() < number:
        return decoder
    decoder.file.close()
    return None


def _opened(path: Path) -> _Decoder:
    file = path.open("rb")
    try:
        return _Decoder(os.getpid(), _identity(file), file, open_header(file))
    except BaseException:
        file.close()
        raise


def _identity(file: BinaryIO) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
