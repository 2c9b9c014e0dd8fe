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

from .images import read_image
from .layouts import training_images
from .layouts.patterns import named_images
from .pages import as_path, page_of
from .roi import Roi, nearest
from .tensors import ImageSize, check_images, resize

ImageInput = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Tensor
"""Images on disk, by one name or several, or in memory [N, 3, H, W]."""

_Item = tuple[Tensor, Tensor | None]  # an image and where it is looked at


class ImageSource:
    """Training images as uint8 or floating [3, H, W], read when first asked for and then kept in memory.

    Args:
        data: what `training_images` takes, image files, or images [N, 3, H, W].
        size: what they are resized to.
        cache_bytes: memory for images; beyond it they are read again each time.
        roi: where they are looked at; None: everywhere.

    Attributes:
        name: what messages call them: the folder, or the first file and how many more.
        roi: as given.

    Raises:
        DataError: if there is nothing to read, or a tensor is not [N, 3, H, W].
    """

    def __init__(
        self,
        data: ImageInput,
        size: ImageSize,
        cache_bytes: int = 4 << 30,
        roi: Roi | None = None,
    ) -> None:
        self.size = size
        self.roi = roi
        self._room = cache_bytes
        self._kept: dict[int, _Item] = {}
        self._last: tuple[int, _Item] | None = None
        self._tensor: Tensor | None = None
        self._paths: list[Path] = []
        self.name = "images in memory"
        if isinstance(data, Tensor):
            self._tensor = check_images(data).cpu()
        elif isinstance(data, str | os.PathLike):
            self._paths = training_images(data)
            self.name = os.fspath(data)
        else:
            self._paths = [as_path(path) for path in data]
            self.name = f"{self._paths[0]} and {len(self._paths) - 1} more" if self._paths else "no files"
        if len(self) == 0:
            raise DataError("there are no training images; give at least two good ones")

    def __len__(self) -> int:
        return len(self._paths) if self._tensor is None else len(self._tensor)

    def __getitem__(self, index: int) -> Tensor:
        return self._item(index)[0]

    def inside(self, index: int) -> Tensor | None:
        """Where an image is looked at, bool [H, W] at its size here; None: everywhere.

        Raises:
            DataError: naming a mask that cannot be used.
        """
        return None if self.roi is None else self._item(index)[1]

    def name_of(self, index: int) -> str:
        """What messages call one image."""
        return str(self._paths[index]) if self._tensor is None else f"image {index}"

    def _item(self, index: int) -> _Item:
        item = self._kept.get(index)
        if item is None and self._last is not None and self._last[0] == index:
            item = self._last[1]
        if item is None:
            if self._tensor is None:
                image = torch.from_numpy(read_image(self._paths[index])).permute(2, 0, 1)
            else:
                image = self._tensor[index]
            size = (image.shape[1], image.shape[2])
            image = resize(image[None], self.size)[0]
            item = image, self._inside(index, size, (image.shape[1], image.shape[2]))
            used = image.nbytes + (0 if item[1] is None else item[1].nbytes)
            if used <= self._room:
                self._room -= used
                self._kept[index] = item
            elif self.roi is not None:  # image and mask are asked for one after the other
                self._last = index, item
        return item

    def _inside(self, index: int, size: tuple[int, int], resized: tuple[int, int]) -> Tensor | None:
        if self.roi is None:
            return None
        mask = nearest(
            torch.from_numpy(self.roi.of(index if self._tensor is not None else self._paths[index], size)), resized
        )
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
            content = self._tensor.contiguous().view(torch.uint8).numpy().tobytes()
            return hashlib.sha256(f"{self.size} {list(self._tensor.shape)}".encode() + content).hexdigest()
        return hashlib.sha256(f"{self.size} {fingerprint(self._paths)}".encode()).hexdigest()


def read_batch(images: ImageInput) -> Tensor:
    """Images as one tensor: files, those in folders or that patterns match, uint8 [B, 3, H, W]; a tensor as it is.

    Raises:
        DataError: if an image cannot be read, there is none, or they differ in size.
    """
    if not isinstance(images, str | os.PathLike | Sequence):
        return images
    names = [images] if isinstance(images, str | os.PathLike) else images
    if odd := [type(name).__name__ for name in names if not isinstance(name, str | os.PathLike)]:
        raise DataError(f"images are a list with {odd[0]} in it; give paths, or one tensor [B, 3, H, W]")
    read: list[Tensor] = []
    for path in (paths := named_images(names)):
        read.append(torch.from_numpy(read_image(path)).permute(2, 0, 1))
        if read[-1].shape != read[0].shape:
            size, first = (f"{image.shape[2]}x{image.shape[1]}" for image in (read[-1], read[0]))
            raise DataError(
                f"{path}: has {size} pixels, {paths[0]} has {first}; images of one size make one prediction: give them "
                "one by one, or use `stadx predict`"
            )
    if not read:
        raise DataError("there are no images; give at least one")
    return torch.stack(read)


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
