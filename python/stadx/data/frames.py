"""Images in memory: NumPy arrays, PIL images and tensors, checked and turned into tensors of RGB pixels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stadx.core.errors import DataError

from .decode import is_wide_grey, to_rgb, upright_picture
from .folders import pages_of
from .pages import as_path
from .samples import Samples, pixels_of
from .tensors import check_images
from .value_range import BYTES, ValueRange, in_range, read_in_range

Channels = Literal["rgb", "bgr"]
"""Order of the colours in arrays and tensors; OpenCV's is "bgr"."""

Frame = str | os.PathLike[str] | NDArray[Any] | Image.Image | Tensor
"""One image: a file, an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], a PIL image, or a tensor [3, H, W]."""

ImageInput = Frame | Iterable[Frame]
"""Images: files, folders of them and patterns; arrays, of batches [N, H, W, C] or [N, H, W] too; PIL images; a tensor
[N, 3, H, W]; or a list or a generator of these."""

_GOOD = "give files, NumPy arrays [H, W, 3] or [H, W], PIL images, or a tensor [B, 3, H, W]"
_COLOURS = (1, 3, 4)  # how many an array's last axis may have: grey, RGB, RGB and opacity


def frames_of(images: Any, channels: Channels = "rgb") -> Iterator[str | os.PathLike[str] | Tensor]:
    """What `images` are, one after the other: names as they are, pixels as tensors [3, H, W], uint8, uint16 or float.

    Those of uint16 are to be brought `in_range`.

    Pixels are those of `images` where that can be, of a generator's frames a copy: a camera may fill one buffer again
    and again. See `ImageInput`; each element of a list may be a batch.

    Raises:
        DataError: naming the element that is no image, and what to give instead.
    """
    check_channels(channels)
    if isinstance(images, str | os.PathLike) or _has_pixels(images):
        yield from _each(images, "images", channels)
        return
    _check_many(images)
    copied = not isinstance(images, list | tuple)
    number = 0
    for item in images:
        for frame in _each(item, f"image {number}", channels):
            yield frame.clone() if copied and isinstance(frame, Tensor) else frame
            number += 1


def one_frame(frame: Any, channels: Channels = "rgb", value_range: ValueRange | None = None) -> Tensor:
    """One image as a tensor [1, 3, H, W], uint8 or float. See `Frame`; a tensor or an array may be a batch of one.

    Raises:
        DataError: saying what it is instead, and what to give.
    """
    if isinstance(frame, str | os.PathLike):
        if (count := len(pages_of(as_path(frame)))) > 1:
            raise DataError(
                f"{os.fspath(frame)}: has {count} pages, each an image of its own; give them one by one, as "
                "stadx.data.folders.pages_of lists them, or use predict"
            )
        return torch.from_numpy(read_in_range(frame, value_range)).permute(2, 0, 1)[None].contiguous()
    if not _has_pixels(frame):
        raise DataError(f"the image is {_described(frame)}; {_GOOD}")
    images = list(_each(frame, "the image", channels))
    if len(images) != 1:
        raise DataError(f"the image is a batch of {len(images)}; give the images one by one")
    (image,) = images
    assert isinstance(image, Tensor)
    return deep_in_range(image, value_range, "the image")[None]


def deep_in_range(image: Tensor, value_range: ValueRange | None, name: str) -> Tensor:
    """One of `frames_of`'s images [3, H, W], uint8 or float: uint16 as shares of the model's range, see `in_range`."""
    if image.dtype != torch.uint16:
        return image
    return torch.from_numpy(in_range(image.permute(1, 2, 0).numpy(), value_range or BYTES, name)).permute(2, 0, 1)


def check_stream(frames: Any) -> None:
    """Raise `DataError` if `frames` is no iterable of images."""
    if isinstance(frames, str | os.PathLike):
        raise DataError(
            f"frames are one name, {os.fspath(frames)}; use predict, or give a list or a generator of names"
        )
    if _has_pixels(frames):
        if getattr(frames, "ndim", 0) != 4:
            raise DataError("frames are one image; use predict, or give a list or a generator of images")
        return
    _check_many(frames)


def rgb_batch(images: Tensor, channels: Channels) -> Tensor:
    """Images [B, 3, H, W] as `check_images` wants them, with colours in the order of RGB.

    Raises:
        DataError: saying what they are instead.
    """
    check_channels(channels)
    images = check_images(images).detach()
    return images.flip(1) if channels == "bgr" else images


def check_channels(channels: str) -> None:
    """Raise `ValueError` for an unknown order of colours."""
    if channels not in get_args(Channels):
        raise ValueError(f"channels is {channels!r}; it must be one of {', '.join(get_args(Channels))}")


def _check_many(images: Any) -> None:
    """Raise `DataError` if `images` are nothing to take images from, one after the other."""
    if isinstance(images, bytes | bytearray | memoryview):
        raise DataError("images are bytes; decode them, as PIL.Image.open(io.BytesIO(data)) does, or name the file")
    if isinstance(images, dict | set | frozenset) or not isinstance(images, Iterable):
        raise DataError(f"images are {_described(images)}; {_GOOD}, or a list or a generator of them")


def _has_pixels(images: Any) -> bool:
    return isinstance(images, Tensor | Image.Image | np.ndarray) or hasattr(images, "__array__")


def _each(item: Any, name: str, channels: Channels) -> Iterator[str | os.PathLike[str] | Tensor]:
    """The images of one element."""
    if isinstance(item, str | os.PathLike):
        yield item
    elif isinstance(item, Tensor):
        shape = list(item.shape)
        if item.ndim == 3 and shape[0] != 3:
            fix = "permute(2, 0, 1)" if shape[2] == 3 else "expand(3, -1, -1), if it is grey"
            raise DataError(f"{name}: a tensor {shape}; give tensors [3, H, W], with {fix}, or NumPy arrays")
        try:
            yield from rgb_batch(item[None] if item.ndim == 3 else item, channels)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
    elif isinstance(item, Image.Image):
        yield torch.from_numpy(_pil_pixels(item, name)).permute(2, 0, 1)
    elif _has_pixels(item):
        for image in _array_images(item if isinstance(item, np.ndarray) else np.asarray(item), name):
            yield torch.from_numpy(_pixels(image, name, channels)).permute(2, 0, 1)
    else:
        raise DataError(f"{name}: {_described(item)}; {_GOOD}")


def _pil_pixels(image: Image.Image, name: str) -> NDArray[Any]:
    """A PIL image as if it were read from a file: turned upright, transparency on white."""
    if 0 in image.size:
        raise DataError(f"{name}: has {image.size[0]}x{image.size[1]} pixels; give an image with some")
    try:
        image.load()
    except Exception as error:  # as for files: Pillow raises nearly anything
        raise DataError(f"{name}: its file cannot be read any more ({error}); open and load it again") from error
    image = upright_picture(image)
    if image.mode == "F" or is_wide_grey(image):
        values = np.asarray(image)[..., None]
        whole = values.dtype.kind == "i" and values.min() >= 0 and values.max() < 2**16
        return _pixels(values.astype(np.uint16) if whole else values, name, "rgb")
    return to_rgb(image, Path(name))


def _array_images(array: NDArray[Any], name: str) -> Iterator[NDArray[Any]]:
    """The images of an array [H, W], [H, W, C], [N, H, W] or [N, H, W, C]: each [H, W, C]."""
    if isinstance(array, np.ma.MaskedArray):
        raise DataError(f"{name}: a masked array; give array.filled(value), and the mask as a region of interest")
    shape = list(array.shape)
    what = f"{name}: an array {shape} of {array.dtype}"
    if array.dtype.kind in "OUSV":
        raise DataError(f"{what}; give list(array) if it holds images or names of files")
    if array.ndim not in (2, 3, 4):
        raise DataError(f"{what}; give [H, W, 3] or [H, W], or a batch of them")
    if array.ndim == 4 and shape[3] not in _COLOURS:
        fix = "transpose(0, 2, 3, 1)" if shape[1] in _COLOURS else "the colours last"
        raise DataError(f"{what}; give arrays [N, H, W, 3], with {fix}")
    if array.ndim == 3 and shape[2] not in _COLOURS and shape[0] == 3:
        raise DataError(
            f"{what}; give arrays [H, W, 3], with transpose(1, 2, 0), or list(array) if these are three grey images"
        )
    if 0 in shape[:2] or (array.ndim > 2 and 0 in shape[1:]):
        raise DataError(f"{what}, without a pixel; give at least one image with some")
    if array.ndim == 2:
        yield array[:, :, None]
    elif array.ndim == 3 and shape[2] in _COLOURS:
        yield array
    else:
        yield from array if array.ndim == 4 else array[..., None]


def _pixels(array: NDArray[Any], name: str, channels: Channels) -> NDArray[Any]:
    """An array [H, W, C] as RGB [H, W, 3], uint8, uint16 or float32, contiguous; opacity on white as of files."""
    values = _values(array, name)
    if channels == "bgr" and values.shape[2] > 1:
        values = values[..., [2, 1, 0, 3][: values.shape[2]]]
    if values.shape[2] == 1:
        values = np.repeat(values, 3, 2)
    elif values.shape[2] == 4 and values.dtype == np.uint8:
        values = to_rgb(Image.fromarray(np.ascontiguousarray(values)), Path(name))
    elif values.shape[2] == 4 and values.dtype == np.uint16:
        values = pixels_of(Samples(values[..., :3], values[..., 3]), Path(name)).values
    elif values.shape[2] == 4:
        values = values[..., 3:] * values[..., :3] + (1 - values[..., 3:])
    # PyTorch takes neither negative strides nor, without a warning, what cannot be written to
    values = np.ascontiguousarray(values)
    return values if values.flags.writeable else values.copy()


def _values(array: NDArray[Any], name: str) -> NDArray[Any]:
    """The values of an array of any type: uint8, uint16, or float32 in [0, 1]."""
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    what = f"{name}: an array of {array.dtype}"
    if array.dtype.kind == "f":
        # written so that NaN fails too
        if not (array.min() >= 0 and array.max() <= 1):
            raise DataError(
                f"{what} with values from {array.min():g} to {array.max():g}; scale them to 0..1, or give uint8"
            )
        return array.astype(np.float32)
    if array.dtype.kind == "b":
        raise DataError(f"{what}, a mask; give images of uint8, or of floats in [0, 1]")
    raise DataError(
        f"{what}; give uint8, with array.astype(np.uint8) if values are 0..255, uint16, or floats in [0, 1]"
    )


def _described(value: Any) -> str:
    if value is None:
        return "None, which cameras give where there is no image"
    if isinstance(value, tuple):
        return "a tuple, as VideoCapture.read gives; take the image out of it"
    return f"an object of type {type(value).__name__}"
