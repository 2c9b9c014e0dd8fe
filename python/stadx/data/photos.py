"""Random patches of natural photos, for pretraining a teacher."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import DataError
from .images import list_images, read_image


def list_photos(folder: str | os.PathLike[str]) -> list[Path]:
    """Every image under a folder, sub-folders included, sorted.

    Raises:
        DataError: if the folder is missing or holds no image.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: there is no such folder; give a folder of photos")
    photos: list[Path] = []
    for place in sorted([folder, *(p for p in folder.rglob("*") if p.is_dir())]):
        try:
            photos += list_images(place)
        except DataError:  # this one holds only other folders or files
            continue
    if not photos:
        raise DataError(f"{folder}: holds no images, nor do its sub-folders; give a folder of photos")
    return photos


class PhotoPatches:
    """Patches cut at random from photos, the same ones for the same seed and step.

    Each photo is zoomed to s x s pixels, s uniform in {4p, …, 16p}, a p x p patch is cropped at random and turned
    grey with probability `grey` (Bergmann et al. 2020, section 4). Only the crop is resampled. Decoded photos are
    kept in memory up to `cache_bytes`; a photo that cannot be read is left out with a warning.

    Args:
        photos: image files.
        patch_size: p in pixels.
        seed: of every random choice.
        grey: probability that a patch loses its colour.
        cache_bytes: memory for decoded photos.
    """

    def __init__(
        self,
        photos: Sequence[Path],
        patch_size: int,
        *,
        seed: int = 0,
        grey: float = 0.1,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self.photos = list(photos)
        self.patch_size = patch_size
        self.seed = seed
        self.grey = grey
        self._cache: dict[int, Image.Image] = {}
        self._room = cache_bytes
        self._broken: set[int] = set()

    def _photo(self, index: int) -> Image.Image | None:
        if index in self._broken:
            return None
        photo = self._cache.get(index)
        if photo is None:
            try:
                photo = Image.fromarray(read_image(self.photos[index]))
            except DataError as error:
                self._broken.add(index)
                if len(self._broken) == len(self.photos):
                    raise DataError(f"none of the {len(self.photos)} photos can be read; the last: {error}") from error
                warnings.warn(f"left out: {error}", stacklevel=2)
                return None
            size = photo.width * photo.height * 4  # Pillow stores RGB in four bytes
            if size <= self._room:
                self._room -= size
                self._cache[index] = photo
        return photo

    def batch(self, step: int, count: int) -> Tensor:
        """Patches uint8 [count, 3, p, p] of one step."""
        rng = np.random.default_rng([self.seed, step])
        p = self.patch_size
        patches = np.empty((count, p, p, 3), np.uint8)
        for i in range(count):
            photo = None
            while photo is None:
                photo = self._photo(int(rng.integers(len(self.photos))))
            side = int(rng.integers(4 * p, 16 * p + 1))
            x, y = rng.integers(0, side - p + 1, 2)
            sx, sy = photo.width / side, photo.height / side
            box = (float(x * sx), float(y * sy), float((x + p) * sx), float((y + p) * sy))
            crop = photo.resize((p, p), Image.Resampling.BILINEAR, box=box)
            if rng.random() < self.grey:
                crop = crop.convert("L").convert("RGB")
            patches[i] = np.asarray(crop)
        return torch.from_numpy(patches).permute(0, 3, 1, 2)

    def batches(self, steps: range, count: int) -> Iterator[Tensor]:
        """`batch` of every step in order, the next ones being made on another thread meanwhile."""
        with ThreadPoolExecutor(1) as maker:
            ahead = [maker.submit(self.batch, step, count) for step in steps[:4]]
            for step in steps:
                patches = ahead.pop(0).result()
                if step + 4 in steps:
                    ahead.append(maker.submit(self.batch, step + 4, count))
                yield patches
