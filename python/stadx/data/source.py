"""Images for training, from files or from memory, at the size that the detector works at."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from stadx.core.errors import DataError

from .images import read_image
from .layouts import training_images
from .layouts.patterns import named_images
from .tensors import ImageSize, check_images, resize

ImageInput = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Tensor
"""Images on disk, by one name or several, or in memory [N, 3, H, W]."""


class ImageSource:
    """Training images as uint8 or floating [3, H, W], read when first asked for and then kept in memory.

    Args:
        data: what `training_images` takes, image files, or images [N, 3, H, W].
        size: what they are resized to.
        cache_bytes: memory for images; beyond it they are read again each time.

    Attributes:
        name: what messages call them: the folder, or the first file and how many more.

    Raises:
        DataError: if there is nothing to read, or a tensor is not [N, 3, H, W].
    """

    def __init__(
        self,
        data: ImageInput,
        size: ImageSize,
        cache_bytes: int = 4 << 30,
    ) -> None:
        self.size = size
        self._room = cache_bytes
        self._kept: dict[int, Tensor] = {}
        self._tensor: Tensor | None = None
        self._paths: list[Path] = []
        self.name = "images in memory"
        if isinstance(data, Tensor):
            self._tensor = check_images(data).cpu()
        elif isinstance(data, str | os.PathLike):
            self._paths = training_images(data)
            self.name = os.fspath(data)
        else:
            self._paths = [Path(path) for path in data]
            self.name = f"{self._paths[0]} and {len(self._paths) - 1} more" if self._paths else "no files"
        if len(self) == 0:
            raise DataError("there are no training images; give at least two good ones")

    def __len__(self) -> int:
        return len(self._paths) if self._tensor is None else len(self._tensor)

    def __getitem__(self, index: int) -> Tensor:
        image = self._kept.get(index)
        if image is None:
            if self._tensor is None:
                image = torch.from_numpy(read_image(self._paths[index])).permute(2, 0, 1)
            else:
                image = self._tensor[index]
            image = resize(image[None], self.size)[0]
            if image.nbytes <= self._room:
                self._room -= image.nbytes
                self._kept[index] = image
        return image

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
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
