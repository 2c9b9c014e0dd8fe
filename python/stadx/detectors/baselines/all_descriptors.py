"""Every descriptor of the training images in batches, where all at once would not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from stadx.core.progress import Progress
from stadx.data.source import ImageSource
from stadx.networks.patch_network import PatchNetwork

from ..student_teacher.targets import TeacherTargets

_MIXED_BYTES = 256 << 20
_CACHE_BYTES = 4 << 30  # every epoch sees them all: to compute them anew would take longer than to learn from them


class AllDescriptors:
    """The teacher's descriptors of every pixel of training images, in another order each epoch.

    An epoch takes the images in random order, as many at a time as have maps of 256 MiB, and mixes the descriptors of
    these. Maps are kept as float16 in 4 GiB, of the images that do not fit they are computed anew each epoch.

    Args:
        teacher: the frozen teacher.
        source: training images.
        indices: those in use.
        seed: of the order.
        progress: told how far the first look at all descriptors is.
        inside: only those of pixels whose patch lies within the image.

    Attributes:
        mean, std: [d], of every dimension.
        parts: how many there are of an epoch.

    Raises:
        DataError: if all pixels of all images are the same.
    """

    def __init__(
        self,
        teacher: PatchNetwork,
        source: ImageSource,
        indices: Sequence[int],
        seed: int,
        progress: Progress,
        inside: bool = False,
    ) -> None:
        self._targets = TeacherTargets(teacher, source, indices, _CACHE_BYTES, inside)
        self._seed = seed
        self.mean, self.std = self._targets.statistics(progress)
        largest = max(source[index][0].numel() for index in indices)
        self._at_once = max(1, _MIXED_BYTES // (2 * teacher.descriptor_size * largest))
        self.parts = math.ceil(len(indices) / self._at_once)

    def batches(self, epoch: int, part: int, size: int) -> Iterator[Tensor]:
        """Descriptors float32 [size, d] of one part of an epoch, every dimension of variance 1; the last: fewer."""
        order = np.random.default_rng([self._seed, epoch]).permutation(self._targets.indices)
        chosen = order[part * self._at_once : (part + 1) * self._at_once].tolist()
        descriptors = torch.cat([self._targets.whole(index).flatten(0, 1) for index in chosen])
        mixed = np.random.default_rng([self._seed, epoch, part]).permutation(len(descriptors))
        for rows in torch.split(torch.from_numpy(mixed), size):
            yield (descriptors[rows].float() - self.mean) / self.std
