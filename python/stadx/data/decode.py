"""Decode image files of every kind that cameras and converters write, within limits and without surprises."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from stadx.core.errors import DataError

from .kept_decoder import load_image
from .opening import DEFAULT_MAX_PIXELS as DEFAULT_MAX_PIXELS
from .opening import damaged as damaged
from .opening import kind_of, open_header
from .opening import open_file as open_file
from .opening import pixel_limit as pixel_limit
from .samples import Samples, bytes_of, floats_to_bytes, is_unfilled, warn_unfilled
from .samples import UInt8Array as UInt8Array
from .tiff import is_tiff, read_tiff

FORMAT_NAMES = "PNG, JPEG, BMP, TIFF, WebP, PPM or PGM"

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


def decode_image(path: Path, max_pixels: int | None = None) -> Image.Image:
    """Decode the first image of a file, or the page that a `Page` names, in its own mode, upright as its EXIF says.

    Raises `DataError` as `stadx.data.images.read_image` does.
    """
    pixel_limit(max_pixels)  # a wrong setting is told before a wrong file
    with open_file(path) as file:
        return decode_opened(file, path, max_pixels)


def decode_opened(file: BinaryIO, path: Path, max_pixels: int | None = None) -> Image.Image:
    """`decode_image` of what is open already; `path` names it in a `DataError`."""
    limit = pixel_limit(max_pixels)
    samples = read_tiff(file, path, limit) if is_tiff(file.read(4)) else None
    if samples is not None:
        return _as_picture(samples, path)
    file.seek(0)
    return upright_picture(_decode(file, path, limit))


def _as_picture(samples: Samples, path: Path) -> Image.Image:
    """Samples as Pillow has pictures: grey of floats or of up to 32 bits as it is, all else in 8 bits."""
    values = samples.values[..., 0]
    if samples.values.shape[2] == 1 and samples.alpha is None and values.dtype != np.uint8:
        if values.dtype.kind == "f":
            return Image.fromarray(values.astype(np.float32))
        if values.dtype == np.uint16:
            return Image.fromarray(np.ascontiguousarray(values))
        if values.min() >= -(2**31) and values.max() < 2**31:
            return Image.fromarray(values.astype(np.int32))
    return Image.fromarray(bytes_of(samples, path))


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
        return _grey_to_rgb(floats_to_bytes(np.asarray(image), path))
    if is_wide_grey(image):
        return _grey_to_rgb(_words_to_bytes(image, path))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB")) or image
    elif image.has_transparency_data:
        rgba = to_rgba(image)
        if is_unfilled(int(np.asarray(rgba.getchannel("A")).max())):
            warn_unfilled(path)
            image = rgba
        else:
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def to_rgba(image: Image.Image) -> Image.Image:
    """Convert a decoded 8-bit image, transparent or not, to mode RGBA."""
    # Pillow has no direct way from premultiplied grey.
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def is_wide_grey(image: Image.Image) -> bool:
    """Whether the image is grey with 16 or 32 bits of whole numbers."""
    return image.mode == "I" or image.mode.startswith("I;16")


def _decode(file: BinaryIO, path: Path, limit: int) -> Image.Image:
    try:
        return load_image(file, path, limit)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        kind = kind_of(file)
        unknown = "not an image that can be read, whatever its name, or its header is damaged"
        what = unknown if kind is None else f"is {kind}, which cannot be read"
        raise DataError(f"{path}: {what}; save it again as {FORMAT_NAMES}, or remove it") from error
    # Damaged files make Pillow raise nearly anything: SyntaxError, struct.error, zlib.error, MemoryError...
    except Exception as error:
        raise damaged(path, error) from error


def upright_picture(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF says."""
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
