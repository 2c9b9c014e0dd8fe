"""Open image files within limits, and say what is wrong with those that cannot be read."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, BinaryIO

from PIL import Image

from stadx.core.errors import DataError

from .pages import go_to_page

DEFAULT_MAX_PIXELS = 2**28
# Raster formats only: some of Pillow's other readers start external programs. No TGA: any bytes may pass for one.
_FORMATS: tuple[str, ...] = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF", "JPEG2000", "DIB")
_FORMATS += ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()  # of Pillow 11.3
_KINDS = (  # by what stands where
    (0, b"\xff\xd8\xff", "a JPEG of a rare kind, such as of 12 bits or lossless, or with a damaged header"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif", "HEIC"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?", "Radiance HDR"),
    (0, b"PF", "PFM"),
    (0, b"P7", "PAM"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF", "HDF5"),
)
_pillow_limit_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _pillow_limit_lock
    _pillow_limit_lock = threading.Lock()  # another thread's, which is not there, may hold the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def open_file(path: Path) -> BinaryIO:
    """Open an image file for reading; `DataError` if it is missing, empty, not a regular file or not permitted."""
    try:
        status = path.stat()
        problem = _unfit(status)
        # Pillow maps files that it opens by name; reading through our own handle survives one that shrinks.
        file = None if problem else path.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the name") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be opened ({reason}); check the name and its permissions") from error
    if file is None:
        raise DataError(f"{path}: {problem}")
    return file


def _unfit(status: os.stat_result) -> str | None:
    if stat.S_ISDIR(status.st_mode):
        return "is a folder; name an image file inside it"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file; copy the image to a file first"
    if status.st_size == 0:
        return "is empty (0 bytes); copy or export the image again, or remove it"
    return None


def open_header(file: IO[bytes], path: Path | None = None) -> Image.Image:
    """`Image.open` without Pillow's own size limit, which is lower than ours and only half an error.

    At the page that `path` names, if it is given.
    """
    with without_pillow_limit():
        image = Image.open(file, formats=_FORMATS)
        if path is not None:
            go_to_page(image, path)
        return image


@contextlib.contextmanager
def without_pillow_limit() -> Iterator[None]:
    """Let Pillow open images of any size, one thread at a time."""
    with _pillow_limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def kind_of(file: IO[bytes]) -> str | None:
    """What a file is that is not read; None: nobody knows."""
    file.seek(0)
    start = file.read(256)
    return next((kind for place, magic, kind in _KINDS if start[place:].startswith(magic)), None)


def damaged(path: Path, reason: object) -> DataError:
    """Return the error that says that an image file is damaged; `reason` is an exception or a few words."""
    text = str(reason) or type(reason).__name__
    return DataError(f"{path}: damaged or cut short ({text}); copy or export it again, or remove it")


def check_pixels(path: Path, width: int, height: int, limit: int) -> None:
    """Raise `DataError` for an image with more pixels than `limit`."""
    if width * height > limit:
        raise DataError(
            f"{path}: {width}x{height} pixels, more than the limit of {limit}; make it smaller, "
            "or raise the limit with the environment variable STADX_MAX_PIXELS"
        )


def pixel_limit(max_pixels: int | None = None) -> int:
    """Return `max_pixels`, or what STADX_MAX_PIXELS says, or the default; `DataError` where that is no number."""
    if max_pixels is not None:
        return max_pixels
    text = os.environ.get("STADX_MAX_PIXELS", "").strip()
    if not text:
        return DEFAULT_MAX_PIXELS
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    if limit < 1:
        raise DataError(f"STADX_MAX_PIXELS={text!r}: set it to a whole number of pixels, such as 268435456")
    return limit
