"""Settings of experiments; imports no torch, `--help` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stadx.core.settings import check, documented, like, setting
from stadx.detectors.student_teacher.settings import DetectorSettings
from stadx.networks.choices import PATCH_SIZES, OptimizerName, Precision, Schedule

Item = Literal[
    "table1", "table2", "table3", "table6", "table7", "figure1", "figure4", "figure5", "figure6", "ablations"
]
"""What `stadx reproduce` runs."""
BudgetName = Literal["quick", "default", "paper"]


@documented
@dataclass(frozen=True)
class OneClassSettings:
    """How one class of small images is learned, each image one patch.

    Raises:
        ValueError: for a setting that cannot be.
    """

    patch_size: int = setting(33, "p, to which images are zoomed.", choices=PATCH_SIZES)
    students: int = like(DetectorSettings, "students", 5, help="M, students; in the paper 5.")
    steps: int = like(DetectorSettings, "steps", 500, help="Optimiser steps for each class.")
    batch: int = like(DetectorSettings, "batch", 64)
    held_out: float = like(
        DetectorSettings,
        "held_out",
        0.1,
        none="",
        help="Share of the class's images set aside for the scores' normalisation (Eq. 11).",
    )
    optimizer: OptimizerName = like(DetectorSettings, "optimizer")
    learning_rate: float | None = like(DetectorSettings, "learning_rate")
    weight_decay: float = like(DetectorSettings, "weight_decay")
    schedule: Schedule = like(DetectorSettings, "schedule")
    precision: Precision = like(DetectorSettings, "precision")
    seed: int = like(DetectorSettings, "seed")

    def __post_init__(self) -> None:
        check(self)
