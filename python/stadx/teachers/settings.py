"""How a teacher is trained, and the paper's own choice."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from stadx.networks.padding import Padding
from stadx.networks.patch_network import PATCH_SIZES
from stadx.networks.training import OptimizerName, Precision, Schedule

from .losses import Reduction

Targets = Literal["pooled", "dense"]

_CHOICES: dict[str, tuple[object, ...]] = {
    "patch_size": PATCH_SIZES,
    "padding": get_args(Padding),
    "targets": get_args(Targets),
    "optimizer": get_args(OptimizerName),
    "schedule": get_args(Schedule),
    "compactness_reduction": get_args(Reduction),
    "precision": get_args(Precision),
}
_LEAST = {
    **{"descriptor_size": 2, "conv3_channels": 1, "pretrained_input": 1, "steps": 1, "batch": 2},
    **{"distinct_batches": 0, "seed": 0},
}
_NOT_NEGATIVE = (
    *("learning_rate", "weight_decay", "distillation_weight", "triplet_weight", "compactness_weight"),
    *("triplet_margin", "noise"),
)
_RATES: dict[OptimizerName, float] = {"muon": 2e-3, "adam": 1.2e-3}  # Adam's is higher than for students


@dataclass(frozen=True)
class PretrainSettings:
    """How a teacher is trained (Bergmann et al. 2020, section 3.1 and 4).

    The paper: `PRESETS["paper"]`. The defaults are what gave the highest AU-PRO (docs/records/accuracy.md), and fit
    into some hours of a processor without a GPU.

    Attributes:
        patch_size: p, side of the receptive field in pixels.
        descriptor_size, conv3_channels, last_activation, padding: of the `PatchNetwork`.
        pretrained_network: P, the network to distil.
        pretrained_input: side in pixels to which a patch is resized for P.
        targets: "pooled": P sees each patch alone, and its pooled feature is the target; "dense": 4 x 4 patches share
            a crop that P sees whole, and P's inner map at each patch's centre is the target, every channel scaled to
            variance 1.
        steps, batch: optimiser steps and patches in each.
        optimizer: "muon" or "adam".
        learning_rate: the highest; None: 1.2e-3 for Adam, 2e-3 for Muon. `rate` is the number.
        weight_decay: of the optimiser.
        schedule: "cosine" (5 % warm-up, then down to nothing) or "constant".
        distillation_weight, triplet_weight, compactness_weight: λk, λm and λc of Eq. 6. With λk = 0 no pretrained
            network is needed, with λm = 0 no triplets are made.
        triplet_margin: δ of Eq. 4.
        compactness_reduction: Lc is the "sum" or the "mean" of the squared off-diagonal correlations.
        zoom, enlarge: how far photos are zoomed before a patch is cut, see `PhotoPatches`.
        grey: probability that a patch, or a triplet, loses its colour.
        luminance: l; the brightness of x⁺ is multiplied by a factor uniform in [1 - l, 1 + l].
        noise: standard deviation of the noise on x⁺, of values in [0, 1].
        distinct_batches: 0: every step draws new patches; n > 0: step s has the patches of step s mod n.
        precision: of the convolutions; "auto" is bfloat16 where the processor has it.
        seed: of every random choice.

    Raises:
        ValueError: naming a setting that cannot be and what it may be, or for three weights of 0.
    """

    patch_size: int = 33
    descriptor_size: int = 128
    conv3_channels: int = 128
    last_activation: bool = False
    padding: Padding = "reflect"
    pretrained_network: str = "efficientnet-lite0"
    pretrained_input: int = 64
    targets: Targets = "dense"
    steps: int = 10_000
    batch: int = 256
    optimizer: OptimizerName = "adam"
    learning_rate: float | None = None
    weight_decay: float = 1e-5
    schedule: Schedule = "cosine"
    distillation_weight: float = 1.0
    triplet_weight: float = 0.0
    triplet_margin: float = 1.0
    compactness_weight: float = 0.04
    compactness_reduction: Reduction = "sum"
    zoom: tuple[int, int] = (2, 16)
    enlarge: bool = False
    grey: float = 0.1
    luminance: float = 0.1
    noise: float = 0.1
    distinct_batches: int = 0
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {choices}")
        for name, least in _LEAST.items():
            if not least <= getattr(self, name) < math.inf:  # written such that NaN is refused too
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more")
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; give a finite number that is not below 0")
        for name in ("grey", "luminance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number from 0 to 1")
        if not 1 <= self.zoom[0] <= self.zoom[1] < math.inf:
            raise ValueError(f"zoom is {self.zoom}; give the smallest and the largest multiple of p, such as (4, 16)")
        if self.distillation_weight == self.triplet_weight == self.compactness_weight == 0:
            raise ValueError("the weights of all three losses are 0; give at least one above 0")

    @property
    def rate(self) -> float:
        """The highest learning rate, the optimiser's own if none was given."""
        return _RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def dense(self) -> bool:
        """Whether patches share crops: only P needs that."""
        return self.targets == "dense" and self.distillation_weight > 0

    def to_json(self) -> dict[str, Any]:
        """All settings, as they come back from JSON; the learning rate as the number in use."""
        return {**asdict(self), "learning_rate": self.rate, "zoom": list(self.zoom)}

    def patches_of(self, step: int) -> int:
        """The number of the batch that a step trains on."""
        return step % self.distinct_batches if self.distinct_batches else step


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "pretrained_network": "resnet18",
        "pretrained_input": 224,
        "targets": "pooled",
        "steps": 50_000,
        "batch": 64,
        "optimizer": "adam",
        "learning_rate": 2e-4,
        "weight_decay": 1e-5,
        "schedule": "constant",
        "distillation_weight": 1.0,
        "triplet_weight": 0.0,
        "compactness_weight": 1.0,
        "compactness_reduction": "sum",
        "zoom": (4, 16),
        "enlarge": True,
    },
}
