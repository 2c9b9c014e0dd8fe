"""Images for training, from files or from memory, at the size that the detector works at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stadx.core.errors import DataError

from .depths import range_of_files, range_of_tensors
from .frames import Channels, deep_in_range, frames_of, rgb_batch
from .frames import ImageInput as ImageInput
from .image_hash import image_hash
from .kept_images import MEMORY_BYTES, KeptImages
from .layouts import training_images
from .layouts.patterns import named_images
from .pages import page_of
from .roi import Roi, nearest
from .tensors import ImageSize, resize
from .value_range import ValueRange, read_in_range

_Item = tuple[Tensor, Tensor | None]  # an image and where it is looked at


class ImageSource:
    """Training images as uint8 or floating [3, H, W], read when first asked for and then kept, see `KeptImages`.

    Args:
        data: what `training_images` takes, image files, or images in memory, see `ImageInput`.
        size: what they are resized to; then their own sizes may differ.
        cache_bytes: memory for images; beyond it they are kept in a temporary file, up to 4 GiB, or, with 0, not at
            all: then they are read again each time.
        roi: where they are looked at; None: everywhere.
        channels: order of the colours in arrays and tensors.
        value_range: the values that are black and white, or the range of a detector; None: found in the images.

    Attributes:
        name: what messages call them: the folder, or the first file and how many more.
        roi: as given.
        value_range: as found or given.

    Raises:
        DataError: if there is nothing to read, or something is no image.
    """

    def __init__(
        self,
        data: ImageInput,
        size: ImageSize,
        cache_bytes: int = MEMORY_BYTES,
        roi: Roi | None = None,
        channels: Channels = "rgb",
        value_range: Sequence[float] | ValueRange | None = None,
    ) -> None:
        self.size = size
        self.roi = roi
        self._kept = KeptImages(cache_bytes) if cache_bytes else KeptImages(0, 0)
        self._last: tuple[int, _Item] | None = None
        self._tensor: Tensor | None = None
        self._items: list[Path | Tensor] = []
        self._sizes: dict[int, tuple[int, int]] = {}  # of those that are resized already
        self._hashes: dict[int, str] = {}
        self.name = "images in memory"
        if isinstance(data, Tensor):
            self._tensor = rgb_batch(data, channels).cpu()
            self._items = list(self._tensor)
        elif isinstance(data, str | os.PathLike):
            self._items = list(training_images(data))
            self.name = os.fspath(data)
        else:
            self._gather(data, channels)
            if all(isinstance(item, Path) for item in self._items):
                self.name = f"{self._items[0]} and {len(self) - 1} more" if self._items else "no files"
        if len(self) == 0:
            raise DataError("there are no training images; give at least two good ones")
        paths = [item for item in self._items if isinstance(item, Path)]
        pixels = [item for item in self._items if isinstance(item, Tensor)]
        deep = [image for image in pixels if image.dtype == torch.uint16]
        if isinstance(value_range, ValueRange):
            self.value_range = value_range
        elif paths or deep:
            self.value_range = range_of_files(paths, value_range, deep)
        else:
            self.value_range = range_of_tensors(pixels, value_range)

    def _gather(self, data: ImageInput, channels: Channels) -> None:
        passing = not isinstance(data, list | tuple)  # a generator's images are nowhere else: only their pixels here
        for item in frames_of(data, channels):
            if isinstance(item, Tensor):
                if passing and item.dtype != torch.uint16:  # those only when the range of all is known
                    self._sizes[len(self)] = item.shape[1], item.shape[2]
                    self._hashes[len(self)] = image_hash(item)
                    item = resize(item[None], self.size)[0]
                self._items.append(item.cpu())
            elif os.path.isdir(item):
                self._items += training_images(item)
            else:
                self._items += named_images([item])

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Tensor:
        return self._item(index)[0]

    def inside(self, index: int) -> Tensor | None:
        """Where an image is looked at, bool [H, W] at its size here; None: everywhere.

        Raises:
            DataError: naming a mask that cannot be used.
        """
        return None if self.roi is None else self._item(index)[1]

    def hash_of(self, index: int) -> str:
        """SHA-256 of an image's pixels before they are resized: the same for a file, its copies and an array of it."""
        if index not in self._hashes:
            self._item(index)
        return self._hashes[index]

    def name_of(self, index: int) -> str:
        """What messages call one image."""
        item = self._items[index]
        return f"image {index}" if isinstance(item, Tensor) else str(item)

    def _item(self, index: int) -> _Item:
        item = self._kept.get(index)
        if item is None and self._last is not None and self._last[0] == index:
            item = self._last[1]
        if item is None:
            image = self._items[index]
            if isinstance(image, Tensor):
                image = deep_in_range(image, self.value_range, self.name_of(index))
            else:
                image = _read(image, self.value_range)
            size = self._sizes.get(index, (image.shape[1], image.shape[2]))
            if index not in self._hashes:
                self._hashes[index] = image_hash(image)
            image = resize(image[None], self.size)[0]
            item = image, self._inside(index, size, (image.shape[1], image.shape[2]))
            # of those in memory already at that size nothing is kept twice
            used = 0 if image.data_ptr() == self._pointer(index) else image.nbytes
            used += 0 if item[1] is None else item[1].nbytes
            if (
                not self._kept.put(index, *item, used) and self.roi is not None
            ):  # image and mask are asked for one after the other
                self._last = index, item
        return item

    def _pointer(self, index: int) -> int | None:
        """Where an image that was given in memory has its pixels."""
        image = self._items[index]
        return image.data_ptr() if isinstance(image, Tensor) else None

    def _inside(self, index: int, size: tuple[int, int], resized: tuple[int, int]) -> Tensor | None:
        if self.roi is None:
            return None
        item = self._items[index]
        mask = nearest(torch.from_numpy(self.roi.of(index if isinstance(item, Tensor) else item, size)), resized)
        if not mask.any():
            raise DataError(
                f"{self.name_of(index)}: nothing of its region of interest is left at {resized[1]}x{resized[0]}; make "
                "it wider, or the image size larger"
            )
        return None if mask.all() else mask

    def roi_fingerprint(self) -> str | None:
        """Tells where these images are looked at from elsewhere, by their pixels; None: everywhere."""
        if self.roi is None:
            return None
        digest, every = hashlib.sha256(), True
        for index in range(len(self)):
            inside = self.inside(index)
            every = every and inside is None
            digest.update(b"all" if inside is None else np.packbits(inside.numpy()).tobytes())
        return None if every else digest.hexdigest()

    def fingerprint(self) -> str:
        """Tells this set of images from another: a hash of names, sizes and times, or of the pixels."""
        if self._tensor is not None:
            return _pixels_hash(self._tensor, self.size)
        values = "" if self.value_range.is_plain else f" {self.value_range}"  # as in previous versions
        paths = [item for item in self._items if isinstance(item, Path)]
        if len(paths) == len(self):
            return hashlib.sha256(f"{self.size} {fingerprint(paths)}{values}".encode()).hexdigest()
        each = (_pixels_hash(i, self.size) if isinstance(i, Tensor) else fingerprint([i]) for i in self._items)
        return hashlib.sha256(("".join(each) + values).encode()).hexdigest()


def _pixels_hash(images: Tensor, size: ImageSize) -> str:
    content = images.contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{size} {list(images.shape)}".encode() + content).hexdigest()


def read_batch(images: ImageInput, channels: Channels = "rgb", value_range: ValueRange | None = None) -> Tensor:
    """Images as one tensor [B, 3, H, W], uint8 or floating: a tensor as it is, of all else that `ImageInput` tells of.

    A folder in `images` stands for the images directly in it. Of uint8 and floating images together all are floating.
    Files are uint8, or, where `value_range` asks for it, float32 in [0, 1], see `read_in_range`.

    Raises:
        DataError: if an image cannot be read or is none, there is none, or they differ in size.
    """
    if isinstance(images, Tensor):
        return rgb_batch(images, channels)
    read: list[Tensor] = []
    first = ""
    for item in frames_of(images, channels):
        for image in [item] if isinstance(item, Tensor) else named_images([item]):
            name = f"image {len(read)}" if isinstance(image, Tensor) else str(image)
            first = first or name
            if isinstance(image, Tensor):
                read.append(deep_in_range(image, value_range, name))
            else:
                read.append(_read(image, value_range))
            if read[-1].shape != read[0].shape:
                size, others = (f"{image.shape[2]}x{image.shape[1]}" for image in (read[-1], read[0]))
                raise DataError(
                    f"{name}: has {size} pixels, {first} has {others}; images of one size make one prediction: give "
                    "them one by one, as `predict_stream` takes them, or use `stadx predict`"
                )
    if not read:
        raise DataError("there are no images; give at least one")
    return torch.stack(_alike(read))


def _read(path: Path, value_range: ValueRange | None) -> Tensor:
    return torch.from_numpy(read_in_range(path, value_range)).permute(2, 0, 1)


def _alike(images: list[Tensor]) -> list[Tensor]:
    """On one device, and of one type: values 0 to 255 do not go with those in [0, 1]."""
    if len({image.device for image in images}) > 1:
        images = [image.cpu() for image in images]
    if len({image.dtype for image in images}) > 1:
        images = [image.float() / 255 if image.dtype == torch.uint8 else image.float() for image in images]
    return images


def fingerprint(paths: Sequence[Path]) -> str:
    """A hash of the names, sizes and times of files.

    Raises:
        DataError: naming a file that is not there.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path}: there is no such image ({error.strerror}); check the name") from error
        name = path.name if (page := page_of(path)) is None else f"{path.name}#{page}"
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
