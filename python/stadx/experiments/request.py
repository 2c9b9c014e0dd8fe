"""What is asked of `stadx reproduce`: which data, how much work, and which part of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from stadx.core.errors import DataError
from stadx.detectors.base import Calibrated
from stadx.detectors.baselines import METHODS, PatchBaseline
from stadx.detectors.student_teacher.detector import Detector
from stadx.detectors.student_teacher.settings import PRESETS, for_images
from stadx.evaluation.of_detector import At

from .settings import BudgetName

PAPERS_TEXTURES = ("Carpet", "Grid", "Leather", "Tile", "Wood")
"""Of MVTec AD."""


@dataclass(frozen=True)
class Budget:
    """How much work a table is given.

    Attributes:
        name: one of `BUDGETS`, and what was changed of it.
        says: what the table's header says of it; `departures` adds how the students' settings differ from the paper's.
        detector: arguments of `Detector`; "epochs" instead of "steps" counts them by images.
        baselines: arguments of baselines, by method.
        one_class: arguments of `OneClassSettings`.
        stride: of scoring.
        patch_baseline: arguments of all baselines that train networks on patches.
        textures: rows that baselines take their settings for textures for, as for the paper's five textures.
    """

    name: str
    says: str
    detector: Mapping[str, Any]
    baselines: Mapping[str, Mapping[str, Any]]
    one_class: Mapping[str, Any]
    stride: int = 1
    patch_baseline: Mapping[str, Any] = field(default_factory=dict)
    textures: tuple[str, ...] = PAPERS_TEXTURES

    def detector_settings(self, images: int) -> dict[str, Any]:
        """`detector` for so many training images, epochs turned into steps."""
        return for_images(self.detector, images)

    def of_steps(self, steps: int) -> Budget:
        """The same with another number of students' optimiser steps."""
        detector = {name: value for name, value in self.detector.items() if name != "epochs"}
        return replace(
            self,
            name=f"{self.name}, {steps} steps",
            says=f"{self.says}; but {steps:,} steps of all students",
            detector={**detector, "steps": steps},
            one_class={**self.one_class, "steps": steps},
        )

    def with_textures(self, rows: Sequence[str]) -> Budget:
        """The same with these rows as textures too."""
        more = [row for row in dict.fromkeys(rows) if not self.is_texture(row)]
        if not more:
            return self
        return replace(
            self,
            name=f"{self.name}, textures {', '.join(more)}",
            says=f"{self.says}; settings for textures also for {', '.join(more)}",
            textures=(*self.textures, *more),
        )

    def is_texture(self, row: str) -> bool:
        """Whether baselines take their settings for textures for it."""
        return _folded(row) in map(_folded, self.textures)

    def baseline_settings(self, method: type[Calibrated]) -> dict[str, Any]:
        """Arguments of that baseline, of those it has; no higher number of samples than it takes by itself."""
        own = method().settings
        given = {
            **self.baselines.get(method.method, {}),
            **(self.patch_baseline if issubclass(method, PatchBaseline) else {}),
        }
        settings = {name: value for name, value in given.items() if name in own}
        if own.get("samples") and settings.get("samples"):
            settings["samples"] = min(settings["samples"], own["samples"])
        return settings


BUDGETS: dict[BudgetName, Budget] = {
    "quick": Budget(
        "quick",
        "quick budget; baselines as in the paper, but OC-SVM on 10,000 descriptors, of a category ℓ2-AE and VAE on "
        "50,000 (paper: all) and networks on pixels (SSIM-AE, AnoGAN, OCGAN) on 500 patches in batches of 32, 20 "
        "epochs",
        {"steps": 300},
        {"ocsvm": {"samples": 10_000}, "l2-ae": {"samples": 50_000}, "vae": {"samples": 50_000}},
        {"students": 2, "steps": 150},
        4,
        {"samples": 500, "batch": 32, "epochs": 20},
    ),
    "default": Budget(
        "default",
        "stadx's own settings; baselines as in the paper, but of a category ℓ2-AE and VAE on 500,000 descriptors "
        "(paper: all)",
        {},
        {},
        {},
    ),
    "paper": Budget(
        "paper",
        "the paper's settings; ℓ2-AE and VAE on all descriptors; MNIST and CIFAR-10, of which the paper does not say "
        "how long: 10,000 steps",
        PRESETS["paper"],
        {name: method.paper_settings for name, method in METHODS.items()},
        {"steps": 10_000, "optimizer": "adam", "learning_rate": 1e-4, "schedule": "constant"},
    ),
}


@dataclass(frozen=True)
class Request:
    """What to run of a table or figure.

    Attributes:
        data: folders of categories or single ones; for tables 2, 6, 7 and figure 4 what
            `read_labeled` takes.
        out: folder for results and detectors; a run that was stopped goes on from there.
        budget: how much work.
        rows, columns: categories or classes, and systems or studies; empty for all that can be run.
        seeds: how many, from 0.
        device: where students train and score.
        jobs: processes.
        teachers: teacher files of tables 2, 6 and 7, by column.
        at: where maps and masks are compared: at the images' own size, or at the students' image size.
    """

    data: tuple[Path, ...]
    out: Path
    budget: Budget = BUDGETS["default"]
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    seeds: int = 1
    device: str = "cpu"
    jobs: int = 1
    teachers: Mapping[str, Path] = field(default_factory=dict)
    at: Literal["original", "model"] = "original"

    @property
    def compared_at(self) -> At:
        """As `evaluate` takes it: one size for all systems, some of which work at another than the students'."""
        if self.at == "original":
            return "original"
        side = Detector(**self.budget.detector_settings(1)).image_size
        return side if isinstance(side, int) else "model"

    def label(self, row: str, column: str, seed: int) -> str:
        """What progress calls a cell of a table: another for each of those that processes work on at a time."""
        return f"{row}, {column}" + (f", seed {seed}" if self.seeds > 1 else "")


def pick(wanted: Sequence[str], known: Iterable[str], what: str) -> list[str]:
    """Those of `known` that are wanted, all where nothing is; letters may be small or large, a space an underscore.

    Raises:
        DataError: naming one that is wanted and not known.
    """
    by_name = {_folded(name): name for name in known}
    for name in wanted:
        if _folded(name) not in by_name:
            raise DataError(f"{name}: there is no such {what} here; there are {', '.join(by_name.values())}")
    chosen = {_folded(name) for name in wanted}
    return [name for folded, name in by_name.items() if not wanted or folded in chosen]


def _folded(name: str) -> str:
    return name.replace("_", " ").casefold()
