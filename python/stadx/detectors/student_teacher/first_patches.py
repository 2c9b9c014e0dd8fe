"""Patches of training images that students are initialised on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stadx.data.source import ImageSource
from stadx.networks.border import computed_pixels
from stadx.networks.windows import TensorRows, padded_window

from .settings import DetectorSettings

_PATCHES = 256


def random_patches(source: ImageSource, indices: Sequence[int], p: int, settings: DetectorSettings) -> Tensor:
    """Normalised patches [256, 3, p, p] from random places of random images, to initialise on."""
    rng = np.random.default_rng([settings.seed, 2])
    patches = []
    for index in rng.choice(len(indices), _PATCHES):
        image = source[indices[int(index)]]
        computed = computed_pixels(image.shape[1], image.shape[2], p, settings.is_inside(p))
        mask = source.inside(indices[int(index)])
        if mask is None:
            top, left = (int(rng.integers(span.begin, span.end)) for span in computed)
        else:
            places = computed.of(mask).nonzero()
            place = places[int(rng.integers(len(places)))].tolist()
            top, left = (span.begin + at for span, at in zip(computed, place, strict=True))
        window = padded_window(TensorRows(image), (top, top + p), (left, left + p), p // 2, "reflect")
        patches.append(window.permute(2, 0, 1))
    return torch.stack(patches).contiguous()
