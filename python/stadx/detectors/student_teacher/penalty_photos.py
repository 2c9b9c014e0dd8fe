"""Ordinary photos, on which students are to say nothing: the penalty of EfficientAD (Batzner et al., WACV 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stadx.core.progress import Progress
from stadx.data.photos.patches import PhotoPatches
from stadx.data.photos.reading import Photo, list_photos
from stadx.networks.patch_network import normalize_images
from stadx.teachers.settings import PretrainSettings

from .settings import DetectorSettings

_GREY = 0.3  # share of photos without colour, as in EfficientAD


def photos_of(settings: DetectorSettings, progress: Progress) -> list[Photo]:
    """The photos of the setting `penalty`, none where it is off.

    Raises:
        DataError: if the place is missing or holds no image.
    """
    return [] if settings.penalty is None else list_photos(settings.penalty, progress)


class PenaltyPhotos:
    """A crop of a random photo for each step, zoomed as for pretraining: the same for the same seed and step.

    Photos are decoded when asked for, and one at a time is kept; one that cannot be read is left out with a warning.
    """

    def __init__(self, photos: Sequence[Photo], patch_size: int, seed: int) -> None:
        zoom, enlarge = PretrainSettings.zoom, PretrainSettings.enlarge
        self._patches = PhotoPatches(
            photos, patch_size, zoom=zoom, enlarge=enlarge, seed=seed, grey=_GREY, cache_bytes=0
        )

    def crop(self, step: int, part: Tensor) -> Tensor:
        """One crop, [1, 3, h, w], of the size and as normalised as a step's own `part` [B, 3, h, w].

        Raises:
            DataError: if no photo can be read.
        """
        height, width = part.shape[2:]
        self._patches.crop = max(height, width)
        photo = self._patches.batch(step, 1)[:, :, :height, :width].to(part.device)
        return normalize_images(photo).contiguous(memory_format=torch.channels_last)
