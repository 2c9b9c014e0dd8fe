"""How a teacher is trained, and the paper's own choice; imports no torch, `--help` reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from stadx.core.settings import check, documented, papers, setting
from stadx.networks.choices import PATCH_SIZES, OptimizerName, Padding, Precision, Schedule

PretrainedName = Literal["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "resnet18", "resnet50"]
Targets = Literal["pooled", "dense"]
Reduction = Literal["sum", "mean"]

_RATES: dict[OptimizerName, float] = {"muon": 2e-3, "adam": 1.2e-3}  # Adam's is higher than for students


@documented
@dataclass(frozen=True)
class PretrainSettings:
    """How a teacher is trained (Bergmann et al. 2020, section 3.1 and 4).

    The paper: `PRESETS["paper"]`. The defaults are those of the highest AU-PRO (docs/records/ablations.md) that fit
    into some hours of a processor without a GPU.

    Raises:
        ValueError: naming a setting that cannot be and what it may be, or for three weights of 0.
    """

    patch_size: int = setting(33, "p, side of the receptive field in pixels.", choices=PATCH_SIZES)
    descriptor_size: int = setting(128, "d, numbers in a descriptor.", at_least=2)
    conv3_channels: int = setting(128, "Channels of the third convolution for p = 65.", at_least=1)
    last_activation: bool = setting(False, "Whether an activation follows the last convolution.")
    padding: Padding = setting("reflect", "How images go on beyond their border when they are scored.")
    pretrained_network: PretrainedName = setting("efficientnet-lite0", "P, the network to distil.", paper="resnet18")
    pretrained_input: int = setting(64, "Side in pixels to which a patch is resized for P.", at_least=1, paper=224)
    targets: Targets = setting(
        "dense",
        "pooled: P sees each patch alone, and its pooled feature is the target. dense: P sees crops of 4 × 4 patches, "
        "its inner map at each patch's centre is the target, every channel scaled to variance 1; efficientnet-lite0 "
        "has one.",
        paper="pooled",
    )
    steps: int = setting(10_000, "Optimiser steps.", at_least=1, paper=50_000)
    batch: int = setting(256, "Patches per step.", at_least=2, paper=64)
    optimizer: OptimizerName = setting("adam", "The optimiser.", paper="adam")
    learning_rate: float | None = setting(
        None, "Highest learning rate.", none="0.0012 for adam, 0.002 for muon", at_least=0, paper=2e-4
    )
    weight_decay: float = setting(1e-5, "Weight decay of the optimiser.", at_least=0, paper=1e-5)
    schedule: Schedule = setting(
        "cosine",
        "Course of the learning rate; cosine: it rises for 5 % of the steps, then falls to nothing.",
        paper="constant",
    )
    distillation_weight: float = setting(
        1.0, "λk, of the distillation loss (Eq. 6); 0 needs no pretrained network.", at_least=0, paper=1.0
    )
    triplet_weight: float = setting(0.0, "λm, of the triplet loss (Eq. 6); 0 makes no triplets.", at_least=0, paper=0.0)
    triplet_margin: float = setting(1.0, "δ of the triplet loss (Eq. 4).", at_least=0)
    compactness_weight: float = setting(0.04, "λc, of the descriptors' correlation (Eq. 6).", at_least=0, paper=1.0)
    compactness_reduction: Reduction = setting("sum", "Of the squared correlations of all pairs.", paper="sum")
    zoom: tuple[int, int] = setting(
        (2, 16), "Photos are zoomed to that many p × p patches a side, at random.", at_least=1, paper=(4, 16)
    )
    enlarge: bool = setting(False, "Whether photos may be zoomed beyond their own size.", paper=True)
    grey: float = setting(0.1, "Share of patches, or triplets, without colour.", at_least=0, at_most=1)
    luminance: float = setting(
        0.1, "Largest change l of brightness of x⁺ in a triplet: uniform in [1 - l, 1 + l].", at_least=0, at_most=1
    )
    noise: float = setting(0.1, "Standard deviation of the noise on x⁺ in a triplet, of values in [0, 1].", at_least=0)
    distinct_batches: int = setting(0, "Go through that many batches again and again; 0: always new ones.", at_least=0)
    precision: Precision = setting("auto", "Of the convolutions; auto: bfloat16 on GPUs, and on CPUs with AMX.")
    seed: int = setting(0, "Of every random choice.", at_least=0, at_most=2**32 - 1)

    def __post_init__(self) -> None:
        check(self)
        if not self.zoom[0] <= self.zoom[1]:
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


PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": papers(PretrainSettings)}
"""Where settings that are not given come from."""
