"""From error and variance to scores: normalisation (Eq. 11), the level of an image, fusion of scales (Eq. 12)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LEVEL_LIMIT = 2.0
"""Good images of magnetic tile, whose levels differ the most of all sets tried, reach 2.03 times the typical one."""


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of e and of v over all pixels of the good images that judge (Eq. 11).

    And what the paper has not: images differ in light, sharpness and noise, and with them the error everywhere in an
    image. Before Eq. 11, e and v are multiplied by (typical level / the image's level) to the power of `strength`.
    The level is the lower decile of e over every 8th pixel of every 8th row: a defect may cover most of the image. It
    is taken for at most `limit` times the typical one: an image that is wrong all over still stands out.

    Attributes:
        e_mean, e_std, v_mean, v_std: as in Eq. 11; what has an infinite deviation is left out of the score.
        level: the typical one, the geometric mean over these images.
        strength: 0, as in the paper, leaves e and v as they are; 1 takes the level out wholly.
        limit: a level is taken for at most so many times the typical one, and at least so small a part of it; what no
            file says is 10.
    """

    e_mean: float
    e_std: float
    v_mean: float
    v_std: float
    level: float = 1.0
    strength: float = 0.0
    limit: float = 10.0

    @staticmethod
    def of(
        maps: Sequence[tuple[Tensor, Tensor]],
        strength: float = 0.0,
        stride: int = 1,
        insides: Sequence[Tensor | None] | None = None,
        limit: float = LEVEL_LIMIT,
    ) -> Normalization:
        """From the (e, v) maps of the held-out images, of every stride-th pixel, in float64.

        `insides` are as in `factor`, of each image.
        """
        level = 1.0
        insides = insides or [None] * len(maps)
        pairs = [(e, inside) for (e, _), inside in zip(maps, insides, strict=True)]
        if strength:
            levels = torch.stack([image_level(*pair, stride) for pair in pairs]).double().clamp_min(1e-30)
            level = float(levels.log().mean().exp())
        levelled = Normalization(0, 1, 0, 1, level, strength, limit)
        factors = [levelled.factor(e, stride, inside) for e, inside in pairs]
        figures: list[float] = []
        for i in (0, 1):
            count = 0
            mean = square = torch.zeros((), dtype=torch.float64)
            # image by image: together they may be gigabytes
            for pair, factor, inside in zip(maps, factors, insides, strict=True):
                values = (pair[i] * factor).double()
                values = values if inside is None else values[inside]
                variance, here = torch.var_mean(values, correction=0)
                n, shift = values.numel(), here - mean
                square = square + variance * n + shift.square() * (count * n / (count + n))  # Chan et al. 1983
                mean = mean + shift * (n / (count + n))
                count += n
            std = (square / count).sqrt()
            # a constant score carries no information: any finite divisor serves
            figures += [float(mean), float(std) if std > 0 else 1.0]
        e_mean, e_std, v_mean, v_std = figures
        return replace(levelled, e_mean=e_mean, e_std=e_std, v_mean=v_mean, v_std=v_std)

    def factor(self, e: Tensor, stride: int = 1, inside: Tensor | None = None) -> Tensor:
        """What e and v of images are multiplied by.

        Args:
            e: of all pixels of images, or of every stride-th, [..., h, w].
            inside: which of them count, bool of the same shape; None: all.

        Returns:
            [..., 1, 1].
        """
        if not self.strength:
            return torch.ones((), dtype=e.dtype, device=e.device)
        # an image that is hardly any trouble must not blow up, nor one with trouble all over be silenced
        level = image_level(e, inside, stride).clamp(self.level / self.limit, self.level * self.limit)
        return (self.level / level).pow(self.strength)[..., None, None]

    def score(self, e: Tensor, v: Tensor | None, factor: Tensor | None = None) -> Tensor:
        """ẽ + ṽ of Eq. 11, float32, same shape. With one student v is 0 throughout and adds nothing.

        Args:
            e, v: of all of an image, at every pixel, or of any pixels with the image's `factor`; v may be None if its
                deviation is infinite.
        """
        if not self.strength:
            factor = None
        elif factor is None:
            factor = self.factor(e)
        parts = [(e, self.e_mean, self.e_std), (v, self.v_mean, self.v_std)]
        scores = [
            ((x if factor is None else x * factor) - mean) / std
            for x, mean, std in parts
            if x is not None and math.isfinite(std)
        ]
        return scores[0] if len(scores) == 1 else scores[0] + scores[1]


LEVEL_STRIDE = 8
"""An image's level is that of every so many-th pixel of every so many-th row."""
_LOWEST = 0.1  # share of the pixels that an image's level is above


def image_level(e: Tensor, inside: Tensor | None = None, stride: int = 1) -> Tensor:
    """The lower decile of the error of images [..., h, w] of which every stride-th pixel is given: [...].

    Of the pixels `inside`, bool [..., h, w]; of an image all of whose level's pixels are outside, of all.
    """
    step = max(1, LEVEL_STRIDE // stride)
    values = e[..., ::step, ::step].flatten(-2)
    if inside is None:
        values = values.sort(-1).values  # NaN comes last
        return values[..., int(_LOWEST * (values.shape[-1] - 1))]
    counts = inside[..., ::step, ::step].flatten(-2)
    counts = counts | ~counts.any(-1, keepdim=True)
    values = values.masked_fill(~counts, math.inf).sort(-1).values
    place = ((counts.sum(-1, keepdim=True) - 1).double() * _LOWEST).long()
    return values.gather(-1, place)[..., 0]


def fuse(scores: Sequence[Tensor]) -> Tensor:
    """The mean over the scales (Eq. 12)."""
    return scores[0] if len(scores) == 1 else sum(scores[1:], scores[0]) / len(scores)
