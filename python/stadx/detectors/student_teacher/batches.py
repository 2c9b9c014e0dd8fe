"""What the students see and are to say at each training step, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stadx.data.photos.reading import Photo
from stadx.networks.patch_network import PatchNetwork, dense_features_padded
from stadx.networks.training import autocast
from stadx.networks.winograd import training_grid

from .crops import Crop, Focus, covering, random_crops
from .penalty_photos import PenaltyPhotos
from .settings import DetectorSettings
from .targets import TeacherTargets

_HELD_OUT_CROPS = 8  # in the loss on held-out images
_ERROR_PARTS = 4  # so many times as many in a channel's error


class Batch(NamedTuple):
    """Crops of a step: of which images, where, with their padding [B, 3, h, w], and what the students are to say.

    `target` is the normalised descriptors [B, d, h', w']; `learns` [M, B] is 1 where a student learns from an image,
    else 0; `weight` [B, h', w'] is 1 at pixels that are looked at, else 0, or empty where all are; `photo` [1, 3, h, w]
    is a crop of a photo, or empty without the penalty.
    """

    images: list[int]
    crops: list[Crop]
    part: Tensor
    target: Tensor
    learns: Tensor
    weight: Tensor
    photo: Tensor


class Batches:
    """The crops of every step, what the teacher says of them, and the loss.

    `folds`, if there are any, are the images that each student does not learn from. `repeats`, if there are any, say
    how often each of the targets' images is seen in an epoch; else once. `photos`, if there are any, are penalised.
    """

    def __init__(
        self,
        targets: TeacherTargets,
        settings: DetectorSettings,
        mean: Tensor,
        std: Tensor,
        folds: Sequence[Sequence[int]] = (),
        repeats: Sequence[int] = (),
        photos: Sequence[Photo] = (),
    ) -> None:
        out = [set(part) for part in folds] or [set[int]()] * settings.students
        self.learns = torch.tensor([[float(index not in part) for index in targets.indices] for part in out])
        self.targets = targets
        self.epoch = np.repeat(np.arange(len(targets.indices)), repeats or 1)
        self.settings = settings
        self._photos = PenaltyPhotos(photos, targets.teacher.patch_size, settings.seed) if photos else None
        self.shift, self.scale = mean[:, None, None], std[:, None, None]
        # p = 65: four phases of the 64 at once cost little more than one, most of which goes into the first layers
        self.stride = 1 if settings.dense else min(targets.teacher.stride, 4)
        # without pools every pixel of a crop is computed, so a smaller one costs as much
        self.side = settings.crop and (settings.crop if targets.teacher.stride > 1 else -(-settings.crop // 2))
        sizes = [targets.sizes[index] for index in targets.indices]
        # the mean of ‖(T − µ)/σ‖² over all pixels is d
        share = settings.focus if settings.crop else 0.0
        insides = [targets.inside(index) for index in targets.indices]
        self._weighted = any(inside is not None for inside in insides)
        self.focus = Focus(sizes, share, targets.teacher.descriptor_size, insides)

    def of_step(self, step: int) -> Batch:
        """What a step trains on; depends on what `seen` was told of the steps before."""
        indices, count, seed = self.targets.indices, self.settings.batch, self.settings.seed
        chosen = []
        for number in range(step * count, (step + 1) * count):
            epoch, position = divmod(number, len(self.epoch))
            order = np.random.default_rng([seed, 0, epoch]).permutation(len(self.epoch))
            chosen.append(int(self.epoch[order[position]]))
        rng = np.random.default_rng([seed, 1, step])
        crops = self._crops(self.targets, [indices[i] for i in chosen], rng)
        crops = [self.focus.place(image, crop, rng) for image, crop in zip(chosen, crops, strict=True)]
        batch = self._of(self.targets, chosen, crops)
        return batch if self._photos is None else batch._replace(photo=self._photos.crop(step, batch.part))

    def seen(self, batch: Batch, losses: Tensor) -> None:
        """Note the losses [B, h', w'] of a step."""
        weights = batch.weight.cpu() if self._weighted else [None] * len(batch.images)
        for image, crop, loss, weight in zip(batch.images, batch.crops, losses.cpu(), weights, strict=True):
            self.focus.update(image, crop, loss, weight)

    def held_out(self, targets: TeacherTargets, indices: Sequence[int], part: int = 0) -> Batch:
        """The same crops each time, at uniform places of up to 8 images not trained on; another `part`: others."""
        count = _HELD_OUT_CROPS if self.settings.crop else 1
        chosen = [i % len(indices) for i in range(part * count, (part + 1) * count)]
        rng = np.random.default_rng([self.settings.seed, 4, part] if part else [self.settings.seed, 4])
        return self._of(targets, chosen, self._crops(targets, [indices[i] for i in chosen], rng))

    @torch.no_grad()
    def channel_errors(self, student: PatchNetwork, targets: TeacherTargets, indices: Sequence[int]) -> Tensor:
        """The mean of (S − (T − µ)/σ)² of each channel over held-out crops, in float32, as a CPU scores: [d]."""
        total, count = torch.zeros(targets.teacher.descriptor_size, dtype=torch.float64), 0.0
        for part in range(_ERROR_PARTS if self.settings.crop else min(len(indices), _ERROR_PARTS * _HELD_OUT_CROPS)):
            batch = self.held_out(targets, indices, part)
            squares = (self._predicted(student, batch.part, batch.target) - batch.target).square()
            weight = batch.weight if batch.weight.numel() else torch.ones_like(squares[:, 0])
            total += (squares * weight[:, None]).sum((0, 2, 3), dtype=torch.float64).cpu()
            count += float(weight.sum(dtype=torch.float64))
        return (total / max(count, 1.0)).float()

    def _crops(self, targets: TeacherTargets, indices: list[int], rng: np.random.Generator) -> list[Crop]:
        sizes, whole = [targets.sizes[index] for index in indices], targets.teacher.stride
        crops = random_crops(sizes, self.side, self.stride, rng)
        if not self.settings.dense and self.stride != whole:
            crops = [crop._replace(height=crop.height // 2 * 2, width=crop.width // 2 * 2) for crop in crops]
            if not min(crops[0].height, crops[0].width):
                crops = random_crops(sizes, self.side, whole, rng)
        insides = [targets.inside(index) for index in indices]
        return [
            crop if inside is None else covering(crop, inside, rng) for crop, inside in zip(crops, insides, strict=True)
        ]

    def _of(self, targets: TeacherTargets, chosen: list[int], crops: list[Crop]) -> Batch:
        pairs = [(targets.indices[i], crop) for i, crop in zip(chosen, crops, strict=True)]
        parts = [targets.receptive_field(index, crop) for index, crop in pairs]
        descriptors = [targets.crop(index, crop, part) for (index, crop), part in zip(pairs, parts, strict=True)]
        part = torch.cat(parts).contiguous(memory_format=torch.channels_last)
        learns = self.learns[:, chosen] if targets is self.targets else torch.empty(0)
        insides = [targets.inside(index) for index, _ in pairs]
        weight = torch.empty(0)
        if self._weighted or any(inside is not None for inside in insides):
            weights = [
                torch.ones(crop.height, crop.width) if inside is None else crop.of(inside).float()
                for crop, inside in zip(crops, insides, strict=True)
            ]
            weight = torch.stack(weights)
        target = (torch.cat(descriptors) - self.shift) / self.scale
        return Batch(chosen, crops, part, target, learns, weight.to(part.device), torch.empty(0, device=part.device))

    def predicted(self, student: PatchNetwork, part: Tensor, target: Tensor) -> Tensor:
        """S [n, d, h', w'], float32, of a batch's `part`, or a photo of its size, where its `target` has pixels."""
        with autocast(self.settings.precision, part.device):
            return self._predicted(student, part, target).float()

    def _predicted(self, student: PatchNetwork, part: Tensor, target: Tensor) -> Tensor:
        if self.settings.dense:
            return dense_features_padded(student, part)
        return training_grid(student, part, self._stride_of(part, target))

    def squares(self, student: PatchNetwork, part: Tensor, target: Tensor) -> Tensor:
        """Each element of Eq. 7, (S − (T − µ)/σ)², [B, d, h', w'], of a batch's `part` and `target`."""
        return (self.predicted(student, part, target) - target).square()

    def loss(self, student: PatchNetwork, part: Tensor, target: Tensor) -> Tensor:
        """Eq. 7 before its mean over pixels: ‖S − (T − µ)/σ‖², [B, h', w']."""
        return self.squares(student, part, target).sum(1)

    def _stride_of(self, part: Tensor, target: Tensor) -> int:
        """Pixels from one descriptor of a batch to the next."""
        for length, count in zip(part.shape[2:], target.shape[2:], strict=True):
            if count > 1:
                return (length - self.targets.teacher.patch_size) // (count - 1)
        return self.targets.teacher.stride
