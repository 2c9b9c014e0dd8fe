"""Photos, a cheap P and settings that the tests of pretraining share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stadx.networks import patch_network as networks
from stadx.teachers import diagnostics
from stadx.teachers import start as pretrain_start
from stadx.teachers.pretrained import PretrainedNetwork
from stadx.teachers.settings import PretrainSettings


def mean_colours(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, 2).flatten(1)


P_NET = PretrainedNetwork("mean-colours", 12, "none", mean_colours)
SETTINGS = PretrainSettings(
    patch_size=17,
    pretrained_input=17,
    targets="pooled",
    steps=6,
    batch=16,
    compactness_weight=1.0,
    zoom=(4, 16),
    enlarge=True,
    precision="float32",
)
TRIPLETS = replace(SETTINGS, steps=3, triplet_weight=1.0)


def make_cheap(patch: pytest.MonkeyPatch) -> None:
    """Fewer channels and fewer patches: a training takes a second."""
    patch.setitem(networks._LAYERS, 17, ((6, 16, False), (5, 32, False), (5, 32, False), (4, "d", False)))
    patch.setattr(diagnostics, "HELD_OUT_PATCHES", 64)
    patch.setattr(pretrain_start, "FIRST_PATCHES", 64)


def write_photos(folder: Path, count: int = 25) -> Path:
    """Smooth random colours, 60 x 40, half of them in a sub-folder."""
    (folder / "more").mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for i in range(count):
        small = torch.rand(4, 4, 3, generator=generator).mul(255).to(torch.uint8).numpy()
        place = folder if i % 2 else folder / "more"
        Image.fromarray(small).resize((60, 40), Image.Resampling.BICUBIC).save(place / f"{i}.png")
    return folder
