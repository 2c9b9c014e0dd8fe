"""Random patches of natural photos, and the triplets of them, for pretraining a teacher."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stadx.core.errors import DataError

from ..decode import UInt8Array
from .reading import Photo, read_photo


class Draw(NamedTuple):
    """Where a patch is cut: the photo's index, the side s it is zoomed to, the corner, and whether it turns grey."""

    photo: int
    side: int
    x: int
    y: int
    grey: bool


class PhotoPatches:
    """Patches cut at random from photos, the same ones for the same seed and step.

    Each photo is zoomed to s x s pixels, s uniform in {4p, …, 16p}, a p x p patch is cropped at random and turned
    grey with probability `grey` (Bergmann et al. 2020, section 4). Only the crop is resampled. Decoded photos are
    kept in memory up to `cache_bytes`; a photo that cannot be read is left out with a warning.

    That range is for photos of 400 pixels and more: smaller ones are enlarged, and a teacher that has seen nothing but
    blurred patches describes sharp ones badly. Without `enlarge` s goes no further than the photo's own shorter side.

    Args:
        photos: what they are cut from.
        patch_size: p in pixels.
        crop: side of what is cut in place of p x p; the zoom stays that of p.
        zoom: smallest and largest s, in multiples of p.
        enlarge: whether s may exceed the photo's shorter side; if not, the range of s ends there (but not below the
            crop).
        seed: of every random choice.
        grey: probability that a patch, or a whole triplet, loses its colour.
        luminance: l; the brightness of x⁺ is multiplied by a factor uniform in [1 - l, 1 + l].
        noise: standard deviation of the Gaussian noise on x⁺, of values in [0, 1].
        cache_bytes: memory for decoded photos.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        patch_size: int,
        *,
        crop: int | None = None,
        zoom: tuple[int, int] = (4, 16),
        enlarge: bool = True,
        seed: int = 0,
        grey: float = 0.1,
        luminance: float = 0.1,
        noise: float = 0.1,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self.photos = list(photos)
        self.patch_size = patch_size
        self.crop = patch_size if crop is None else crop
        self.zoom = zoom
        self.enlarge = enlarge
        self.seed = seed
        self.grey = grey
        self.luminance = luminance
        self.noise = noise
        self.cache_bytes = cache_bytes
        self._cache: dict[int, Image.Image] = {}
        self._room = cache_bytes
        self._last = -1, Image.new("RGB", (1, 1))  # is cut right after the look whether it can be read
        self._shorter: dict[int, int] = {}  # side in pixels of those that can be read
        self._broken: dict[int, str] = {}

    def draws(self, step: int, count: int) -> Iterator[Draw]:
        """Where the patches of a step are cut."""
        return self._draws(np.random.default_rng([self.seed, step]), count)

    def batch(self, step: int, count: int, part: slice = slice(None)) -> Tensor:
        """Patches uint8 [count, 3, crop, crop] of one step, or a part of them.

        Raises:
            DataError: if no photo can be read.
        """
        chosen = range(count)[part]
        return _tensor([self._cut(draw) for i, draw in enumerate(self.draws(step, count)) if i in chosen])

    def triplets(self, step: int, count: int, part: slice = slice(None)) -> Tensor:
        """Triplets uint8 [3, count, 3, crop, crop] of one step, or a part of them: x, x⁺, x⁻.

        x is what `batch` returns. x⁺ is x's photo at the same zoom, the crop moved by a whole number of pixels uniform
        in [-(p-1)/4, (p-1)/4] each way and then kept within the photo (moved back to its border), its brightness
        changed, and noise added; values are cut to [0, 1] and rounded to 8 bits. x⁻ is a random crop of another
        photo, at a zoom of its own. All three are grey if x is.

        Raises:
            DataError: if fewer than two photos can be read.
        """
        # a generator of its own: x stays what it is without triplets
        rng = np.random.default_rng([self.seed, step, 1])
        chosen = range(count)[part]
        triplets: list[tuple[UInt8Array, UInt8Array, UInt8Array]] = []
        for i, draw in enumerate(self.draws(step, count)):
            near, factor = self._near(draw, rng), 1 + self.luminance * float(rng.uniform(-1, 1))
            noise_seed = int(rng.integers(2**63))  # patches of other parts need no noise made
            pair = (self._cut(draw), self._cut(near)) if i in chosen else None
            far = self._far(draw, rng)
            if pair is not None:
                triplets.append((pair[0], self._disturbed(pair[1], factor, noise_seed, draw.grey), self._cut(far)))
        return torch.stack([_tensor([t[k] for t in triplets]) for k in range(3)])

    def _draws(self, rng: np.random.Generator, count: int) -> Iterator[Draw]:
        for _ in range(count):
            index = int(rng.integers(len(self.photos)))
            while not self._is_readable(index):
                index = int(rng.integers(len(self.photos)))
            least, most = (max(n * self.patch_size, self.crop) for n in self.zoom)
            if not self.enlarge:
                most = min(most, max(self._shorter[index], self.crop))
            side = int(rng.integers(min(least, most), most + 1))
            x, y = rng.integers(0, side - self.crop + 1, 2)
            yield Draw(index, side, int(x), int(y), bool(rng.random() < self.grey))

    def _near(self, draw: Draw, rng: np.random.Generator) -> Draw:
        reach = (self.patch_size - 1) // 4
        dx, dy = (int(d) for d in rng.integers(-reach, reach + 1, 2))
        last = draw.side - self.crop
        return draw._replace(grey=False, x=min(max(draw.x + dx, 0), last), y=min(max(draw.y + dy, 0), last))

    def _far(self, draw: Draw, rng: np.random.Generator) -> Draw:
        while True:
            if len(self.photos) - len(self._broken) < 2:
                raise DataError(f"{self.photos[draw.photo]}: is the only photo left; triplets need two or more")
            far = next(self._draws(rng, 1))
            if far.photo != draw.photo:
                return far._replace(grey=draw.grey)

    def _cut(self, draw: Draw) -> UInt8Array:
        photo, c = self._photo(draw.photo), self.crop
        sx, sy = photo.width / draw.side, photo.height / draw.side
        box = (float(draw.x * sx), float(draw.y * sy), float((draw.x + c) * sx), float((draw.y + c) * sy))
        crop = photo.resize((c, c), Image.Resampling.BILINEAR, box=box)
        return np.asarray(_grey(crop) if draw.grey else crop)

    def _disturbed(self, patch: UInt8Array, factor: float, seed: int, grey: bool) -> UInt8Array:
        noise = np.random.default_rng(seed).normal(0, self.noise, patch.shape)
        values = np.clip(patch / 255 * factor + noise, 0, 1)
        picture = Image.fromarray(np.rint(values * 255).astype(np.uint8))
        return np.asarray(_grey(picture) if grey else picture)

    def _is_readable(self, index: int) -> bool:
        if index not in self._shorter and index not in self._broken:
            try:
                photo = self._photo(index)
                self._shorter[index] = min(photo.width, photo.height)
            except DataError as error:
                self._broken[index] = str(error)
                warnings.warn(f"left out: {error}", stacklevel=2)
        if len(self._broken) == len(self.photos):
            last = list(self._broken.values())[-1]
            raise DataError(f"none of the {len(self.photos)} photos can be read; the last: {last}")
        return index not in self._broken

    def _photo(self, index: int) -> Image.Image:
        photo = self._cache.get(index)
        if photo is None:
            if self._last[0] == index:
                return self._last[1]
            photo = Image.fromarray(read_photo(self.photos[index]))
            self._last = index, photo
            size = photo.width * photo.height * 4  # Pillow stores RGB in four bytes
            if size <= self._room:
                self._room -= size
                self._cache[index] = photo
        return photo


def _grey(picture: Image.Image) -> Image.Image:
    return picture.convert("L").convert("RGB")


def _tensor(patches: Sequence[UInt8Array]) -> Tensor:
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2)
