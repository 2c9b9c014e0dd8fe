"""What students learn: the teacher's descriptors of the training images, computed once where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from .crops import Crop
from .data.source import ImageSource
from .dense import dense_features
from .errors import DataError
from .networks import PatchNetwork, dense_features_padded, normalize_images
from .progress import Progress, silent
from .winograd import training_grid


class TeacherTargets:
    """The teacher's descriptors of crops of training images.

    Whole maps of the first images are kept, as float16, as far as they fit; the crops of the others are computed when
    asked for. Which are kept depends on the images alone, so that a resumed training sees the same values.

    Args:
        teacher: the frozen teacher T; descriptors are computed, kept and returned on its device.
        source: training images.
        indices: those in use.
        cache_bytes: memory for kept maps, two bytes a number: 128 · H · W · 2 an image.
    """

    def __init__(
        self, teacher: PatchNetwork, source: ImageSource, indices: Sequence[int], cache_bytes: int = 4 << 30
    ) -> None:
        self.teacher = teacher
        self.source = source
        self.indices = list(indices)
        self._device = next(teacher.parameters()).device
        self._maps: dict[int, Tensor] = {}
        self._places: dict[int, int] = {}  # of kept maps, in numbers from the start of the room for all
        self._size = 0
        for index in self.indices:
            height, width = source[index].shape[1:]
            size = teacher.descriptor_size * height * width
            if 2 * (self._size + size) > cache_bytes:
                break
            self._places[index] = self._size
            self._size += size

    @torch.no_grad()
    def _whole(self, index: int) -> Tensor:
        """Descriptors [H, W, d] of an image, float32; kept if there is room."""
        image = normalize_images(self.source[index][None].to(self._device)).float()
        descriptors = dense_features(self.teacher, image)[0].permute(1, 2, 0)
        if index in self._places and index not in self._maps:
            place = self._places[index]
            kept = self._room[place : place + descriptors.numel()].view(descriptors.shape)
            self._maps[index] = kept.copy_(descriptors)
        return descriptors

    def whole(self, index: int) -> Tensor:
        """Descriptors [H, W, d] of an image, float16."""
        kept = self._maps.get(index)
        return self._whole(index).half() if kept is None else kept

    @cached_property
    def _room(self) -> Tensor:
        # one block: maps of their own, between all that comes and goes, would leave holes of several times their size
        return torch.empty(self._size, dtype=torch.float16, device=self._device)

    @torch.no_grad()
    def crop(self, index: int, crop: Crop) -> Tensor:
        """Descriptors of a crop of an image, float32 [1, d, h, w], rounded to float16."""
        if index in self._places:
            if index not in self._maps:
                self._whole(index)
            return crop.of(self._maps[index]).permute(2, 0, 1)[None].float()
        part = crop.receptive_field(self.source[index].to(self._device), self.teacher)
        if crop.stride > 1:
            return training_grid(self.teacher, part, crop.stride).half().float()
        return dense_features_padded(self.teacher, part).half().float()

    @torch.no_grad()
    def statistics(self, progress: Progress = silent) -> tuple[Tensor, Tensor]:
        """µ and σ [d]: mean and deviation per channel over every pixel of every image, summed in float64.

        Raises:
            DataError: if all pixels of all images are the same.
        """
        count = 0
        colours = self.source[self.indices[0]][:, :1, :1]
        varied = False
        mean = square = torch.zeros(self.teacher.descriptor_size, dtype=torch.float64, device=self._device)
        for done, index in enumerate(self.indices, 1):
            varied = varied or bool((self.source[index] != colours).any())
            descriptors = self._whole(index)
            n = descriptors.shape[0] * descriptors.shape[1]
            # float32 along a row only: exact enough, and five times faster than float64
            here = descriptors.sum(1).double().sum(0) / n
            deviation = (descriptors - here.float()).square_().sum(1).double().sum(0)
            shift = here - mean
            square = square + deviation + shift.square() * (count * n / (count + n))  # Chan et al. 1983
            mean = mean + shift * (n / (count + n))
            count += n
            progress(f"Teacher's descriptors, p = {self.teacher.patch_size}", done, len(self.indices), {})
        std = (square / count).sqrt()
        if not varied:
            raise DataError("the training images are all one colour, there is nothing to learn from; check the folder")
        return mean.float(), std.clamp_min(1e-6 * float(std.max())).float()
