"""From descriptors to anomaly scores: ensemble error and variance, normalisation, fusion of scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .networks import PatchNetwork, dense_features_padded, normalize_images, pad_images
from .ops import ensemble_score

TILE = 256  # pixels a side scored at once: bounds memory to about 300 MB whatever the image


@dataclass
class Ensemble:
    """One scale: the teacher, its students, and the teacher's statistics on the training images.

    Attributes:
        teacher, students: patch networks of the same p.
        mean, std: µ and σ of the teacher's descriptors, float32 [d].
    """

    teacher: PatchNetwork
    students: list[PatchNetwork]
    mean: Tensor
    std: Tensor

    @torch.no_grad()
    def error_and_variance(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """e and v (Eqs. 9 and 10) at every pixel of one image [1, 3, H, W], uint8 or floating in [0, 1].

        Scored tile by tile: receptive fields are finite, so a tile with a margin of (p − 1)/2 gives the same values.

        Returns:
            e and v, float32 [H, W] each.
        """
        height, width = image.shape[2:]
        padded = pad_images(normalize_images(image).float(), self.teacher.patch_size // 2, self.teacher.padding)
        e, v = torch.empty(height, width), torch.empty(height, width)
        for rows, columns in tiles(height, width):
            margin = self.teacher.patch_size - 1
            part = padded[:, :, rows.start : rows.stop + margin, columns.start : columns.stop + margin]
            first = dense_features_padded(self.students[0], part)
            # students side by side in one block, each channels-last as the network leaves it
            block = first.new_empty((len(self.students), *first.permute(0, 2, 3, 1).shape)).permute(0, 1, 4, 2, 3)
            block[0] = first
            for i, student in enumerate(self.students[1:], 1):
                block[i] = dense_features_padded(student, part)
            teacher = dense_features_padded(self.teacher, part)
            tile_e, tile_v = ensemble_score(block, teacher, self.mean, self.std)
            e[rows, columns], v[rows, columns] = tile_e[0], tile_v[0]
        return e, v


def tiles(height: int, width: int, side: int = TILE) -> Iterator[tuple[slice, slice]]:
    """Cut height x width pixels into tiles of at most side x side: (rows, columns)."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of e and of v over all pixels of the held-out good images (Eq. 11)."""

    e_mean: float
    e_std: float
    v_mean: float
    v_std: float

    @staticmethod
    def of(maps: Sequence[tuple[Tensor, Tensor]]) -> Normalization:
        """From the (e, v) maps of the held-out images, in float64."""
        figures: list[float] = []
        for values in (torch.cat([m[i].flatten() for m in maps]).double() for i in (0, 1)):
            std, mean = torch.std_mean(values, correction=0)
            # a constant score carries no information: any finite divisor serves
            figures += [float(mean), float(std) if std > 0 else 1.0]
        return Normalization(*figures)

    def score(self, e: Tensor, v: Tensor) -> Tensor:
        """ẽ + ṽ of Eq. 11, float32, same shape. With one student v is 0 throughout and adds nothing."""
        return (e - self.e_mean) / self.e_std + (v - self.v_mean) / self.v_std


def fuse(scores: Sequence[Tensor]) -> Tensor:
    """The mean over the scales (Eq. 12)."""
    return torch.stack(list(scores)).mean(0)
