"""Decode image files of every kind that cameras and converters write, within limits and without surprises."""

from __future__ import annotations

import os
import stat
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from stadx.core.errors import DataError

from .pages import go_to_page

UInt8Array = npt.NDArray[np.uint8]

DEFAULT_MAX_PIXELS = 2**28
FORMAT_NAMES = "PNG, JPEG, BMP, TIFF, WebP, PPM or PGM"

# Raster formats only: some of Pillow's other readers start external programs. No TGA: any bytes may pass for one.
_FORMATS: tuple[str, ...] = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF", "JPEG2000", "DIB")
_FORMATS += ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()  # of Pillow 11.3
_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTERS = (5, 6, 7, 8)  # orientations that swap width and height
_pillow_limit_lock = threading.Lock()


def decode_image(path: Path, max_pixels: int | None = None) -> Image.Image:
    """Decode the first image of a file, or the page that a `Page` names, in its own mode, upright as its EXIF says.

    Raises `DataError` as `stadx.data.images.read_image` does.
    """
    pixel_limit(max_pixels)  # a wrong setting is told before a wrong file
    with open_file(path) as file:
        return decode_opened(file, path, max_pixels)


def decode_opened(file: BinaryIO, path: Path, max_pixels: int | None = None) -> Image.Image:
    """`decode_image` of what is open already; `path` names it in a `DataError`."""
    return _upright(_decode(file, path, pixel_limit(max_pixels)))


def is_turned(path: Path) -> bool:
    """Whether an image's EXIF has it turned by a quarter; no for what cannot be read."""
    try:
        with open_file(path) as file:
            return open_header(file, path).getexif().get(_ORIENTATION_TAG) in _QUARTERS
    except Exception:  # damaged files make Pillow raise nearly anything
        return False


def to_rgb(image: Image.Image, path: Path) -> UInt8Array:
    """Convert a decoded image of any mode to uint8 [H, W, 3]; `path` names it in a `DataError`."""
    if image.mode == "F":
        return _grey_to_rgb(_floats_to_bytes(np.asarray(image), path))
    if is_wide_grey(image):
        return _grey_to_rgb(_words_to_bytes(image, path))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB")) or image
    elif image.has_transparency_data:
        rgba = to_rgba(image)
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def to_rgba(image: Image.Image) -> Image.Image:
    """Convert a decoded 8-bit image, transparent or not, to mode RGBA."""
    # Pillow has no direct way from premultiplied grey.
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def is_wide_grey(image: Image.Image) -> bool:
    """Whether the image is grey with 16 or 32 bits of whole numbers."""
    return image.mode == "I" or image.mode.startswith("I;16")


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


def _decode(file: BinaryIO, path: Path, limit: int) -> Image.Image:
    try:
        image = open_header(file, path)
        width, height = image.size
        if width * height <= limit:
            image.load()
            return image
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: not an image that can be read, whatever its name, or its header is damaged; "
            f"save it again as {FORMAT_NAMES}, or remove it"
        ) from error
    # Damaged files make Pillow raise nearly anything: SyntaxError, struct.error, zlib.error, MemoryError...
    except Exception as error:
        raise damaged(path, error) from error
    raise DataError(
        f"{path}: {width}x{height} pixels, more than the limit of {limit}; make it smaller, "
        "or raise the limit with the environment variable STADX_MAX_PIXELS"
    )


def damaged(path: Path, reason: object) -> DataError:
    """Return the error that says that an image file is damaged; `reason` is an exception or a few words."""
    text = str(reason) or type(reason).__name__
    return DataError(f"{path}: damaged or cut short ({text}); copy or export it again, or remove it")


def open_header(file: BinaryIO, path: Path | None = None) -> Image.Image:
    """`Image.open` without Pillow's own size limit, which is lower than ours and only half an error.

    At the page that `path` names, if it is given.
    """
    with _pillow_limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file, formats=_FORMATS)
            if path is not None:
                go_to_page(image, path)
            return image
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation: Any = image.getexif().get(_ORIENTATION_TAG)
        method = _ORIENTATIONS.get(orientation)
    # Damaged metadata does not make the picture less readable: viewers show it as stored.
    except Exception:
        return image
    return image if method is None else image.transpose(method)


def _grey_to_rgb(grey: UInt8Array) -> UInt8Array:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _words_to_bytes(image: Image.Image, path: Path) -> UInt8Array:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"{path}: values from {values.min()} to {values.max()} do not fit 16 bits; "
            "scale them to 0..65535 and save it as 16-bit grey"
        )
    grey = ((values + 128) // 257).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return grey


def _floats_to_bytes(values: npt.NDArray[Any], path: Path) -> UInt8Array:
    # Written so that NaN fails too.
    if not (values.min() >= 0 and values.max() <= 1):
        raise DataError(
            f"{path}: floating-point values from {values.min():g} to {values.max():g}; "
            "scale them to 0..1, or save it with 8 or 16 bits"
        )
    return np.asarray(np.rint(values * 255), dtype=np.uint8)


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
