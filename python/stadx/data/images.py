"""List, read, resize and write images and anomaly maps."""

from __future__ import annotations

import difflib
import io
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from stadx.core.errors import DataError
from stadx.core.files import write_bytes

from .decode import (
    DEFAULT_MAX_PIXELS,
    FORMAT_NAMES,
    UInt8Array,
    damaged,
    decode_image,
    is_turned,
    open_file,
    to_rgb,
)

Float32Array = npt.NDArray[np.float32]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "IMAGE_SUFFIXES",
    "image_size",
    "list_images",
    "natural_key",
    "read_image",
    "read_map",
    "subfolders",
    "visible",
    "write_image",
    "write_map",
]


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts img2 before img10, ignoring case; the exact name breaks ties."""
    # ASCII digits only: int() refuses some of the characters that count as digits in Unicode.
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
    return [(0, int(p), "") if "0" <= p[0] <= "9" else (1, 0, p) for p in parts], path.name


def subfolders(folder: Path) -> list[Path]:
    """Sub-folders of `folder` in natural order; `DataError` if it cannot be listed."""
    return sorted((p for p in visible(folder) if os.path.isdir(p)), key=natural_key)


def visible(folder: Path) -> list[Path]:
    """What `folder` holds, without hidden files and archive leftovers; `DataError` if it cannot be listed."""
    try:
        return [p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Image files directly inside `folder` in natural order (img2 before img10), hidden ones left out.

    Raises `DataError` for a path that is missing, is a file, cannot be listed, or holds no image.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise DataError(_not_a_folder(folder))
    images = [p for p in visible(folder) if p.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(p)]
    if images:
        return sorted(images, key=natural_key)
    raise DataError(f"{folder}: no images in this folder; {_where_images_may_be(folder)}")


def read_image(path: str | os.PathLike[str], max_pixels: int | None = None) -> UInt8Array:
    """Read one image as a person would see it: uint8 [H, W, 3] RGB, contiguous.

    EXIF rotation is applied, transparency is laid on white, 16-bit values are scaled to 8 bits, floating-
    point values must lie in [0, 1]; of a file with several frames the first is read. `max_pixels` limits
    H·W before anything is decoded (default: environment variable STADX_MAX_PIXELS, else 2**28).

    Raises `DataError` for a file that is missing, unreadable, empty, damaged, not an image, or too large.
    """
    path = Path(path)
    return to_rgb(decode_image(path, max_pixels), path)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of what `read_image` gives, from the file's header; `DataError` if that cannot be read."""
    with open_file(path) as file:
        try:
            width, height = Image.open(file).size
        except Exception as error:  # damaged files make Pillow raise nearly anything
            raise damaged(path, error) from error
    return (width, height) if is_turned(path) else (height, width)


def write_image(path: str | os.PathLike[str], image: UInt8Array, *, durable: bool = True) -> None:
    """Write uint8 [H, W] (grey) or [H, W, 3] (RGB) as PNG, making missing folders.

    `durable`: wait until it is on the disk.

    Raises `OutputError` naming `path` if it cannot be written; then nothing half-written is left.
    """
    _save(path, Image.fromarray(np.ascontiguousarray(image, dtype=np.uint8)), "PNG", durable)


def write_map(path: str | os.PathLike[str], scores: Float32Array, *, durable: bool = True) -> None:
    """Write float32 [H, W] as a 32-bit floating-point TIFF, making missing folders.

    `durable`, and what it raises, as of `write_image`.
    """
    _save(path, Image.fromarray(np.ascontiguousarray(scores, dtype=np.float32)), "TIFF", durable)


def read_map(path: str | os.PathLike[str], max_pixels: int | None = None) -> Float32Array:
    """Read a map that `write_map` wrote: float32 [H, W]. Raises `DataError` for any other file."""
    path = Path(path)
    image = decode_image(path, max_pixels)
    if image.mode != "F":
        raise DataError(f"{path}: not an anomaly map but an image; give a 32-bit floating-point TIFF")
    return np.array(image, dtype=np.float32)


def _save(path: str | os.PathLike[str], image: Image.Image, kind: str, durable: bool) -> None:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    write_bytes(path, buffer.getvalue(), durable=durable)


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


def _where_images_may_be(folder: Path) -> str:
    inside = subfolders(folder)
    if not inside:
        return f"put {FORMAT_NAMES} files into it, or name another folder"
    listed = ", ".join(p.name for p in inside[:8]) + (", ..." if len(inside) > 8 else "")
    guesses = [folder / "train" / "good", folder / "good", *(p / "train" / "good" for p in inside)]
    guess = next((g for g in guesses if os.path.isdir(g)), None)
    return f"it has sub-folders {listed}: " + (f"did you mean {guess}?" if guess else "name one of them")
