"""The studies of `stadx ablate`: which rows each has, and what a row changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from stadx.core.errors import DataError
from stadx.detectors.student_teacher.settings import DetectorSettings
from stadx.networks.choices import Border

UNMEASURED = (
    "this detector does not know how well its students predict each channel; train one with a channel_weight or "
    "scale_weight above 0"
)


class Change(NamedTuple):
    """One row of a study.

    Attributes:
        name: what the table calls it.
        variant: arguments of `HeldOut.variant`: nothing is trained.
        stride: of scoring.
        detector: arguments of `Detector` that make it train anew.
        teacher: settings of `PretrainSettings` with which its teachers are trained for the study.
    """

    name: str
    variant: Mapping[str, Any] = {}
    stride: int | None = None
    detector: Mapping[str, Any] = {}
    teacher: Mapping[str, Any] | None = None

    @property
    def trains(self) -> bool:
        """Whether its detector is trained for it."""
        return bool(self.detector) or self.teacher is not None


def _scales(base: DetectorSettings) -> list[Change]:
    single = [Change(f"p = {p}", {"scales": (p,)}) for p in base.scales]
    every = [Change("all of them", {"scales": base.scales})] if len(base.scales) > 1 else []
    pairs = [(a, b) for i, a in enumerate(base.scales) for b in base.scales[i + 1 :]] if len(base.scales) > 2 else []
    return [*single, *(Change(f"p = {a} and {b}", {"scales": (a, b)}) for a, b in pairs), *every]


def _students(base: DetectorSettings) -> list[Change]:
    least = 2 if base.terms == "v" else 1  # one student has no variance
    return [Change(f"M = {m}", {"students": m}) for m in range(least, base.students + 1)]


def _terms(base: DetectorSettings) -> list[Change]:
    error = Change("e alone", {"terms": "e"})
    if base.students == 1:
        return [error]
    return [Change("e and v", {"terms": "both"}), error, Change("v alone", {"terms": "v"})]


def _weights(base: DetectorSettings, name: str, powers: Sequence[float]) -> list[Change]:
    if not base.channel_weight and not base.scale_weight:
        raise DataError(UNMEASURED)
    return [Change(f"{name.replace('_', ' ')} {n:g}", {name: n}) for n in powers]


def _seeds(base: DetectorSettings) -> list[Change]:
    return [Change(f"seed {seed}", detector={"seed": seed}) for seed in range(base.seed, base.seed + 3)]


def _teachers(base: DetectorSettings) -> list[Change]:
    changes: dict[str, dict[str, Any]] = {
        "default": {},
        "λc = 0": {"compactness_weight": 0.0},
        "λc = 1": {"compactness_weight": 1.0},
        "λm = 1": {"triplet_weight": 1.0},
        "λk = 0, λm = 1, λc = 1": {"distillation_weight": 0.0, "triplet_weight": 1.0, "compactness_weight": 1.0},
        "last activation": {"last_activation": True},
        "zero padding": {"padding": "zeros"},
        "Lc a mean": {"compactness_reduction": "mean", "compactness_weight": 1.0},
        "P pooled, patch by patch": {"targets": "pooled", "pretrained_input": 96},
        "Muon": {"optimizer": "muon", "learning_rate": 2e-3},
    }
    if 65 in base.scales:
        changes["third convolution 256"] = {"conv3_channels": 256}
    return [Change(name, teacher=settings) for name, settings in changes.items()]


STUDIES: dict[str, Callable[[DetectorSettings], Sequence[Change]]] = {
    "scales": _scales,
    "students": _students,
    "terms": _terms,
    "stride": lambda base: [Change(f"stride {s}", stride=s) for s in (1, 2, 4, 8)],
    "smoothing": lambda base: [
        Change(f"σ = {s}" if s else "none", {"smoothing": s}) for s in (0.0, 1.0, 2.0, 4.0, 8.0)
    ],
    "level": lambda base: [Change(f"level {n:g}", {"level": n}) for n in (0.0, 0.5, 1.0)],
    "channel-weight": lambda base: _weights(base, "channel_weight", (0.0, 1.0, 1.5, 2.0)),
    "scale-weight": lambda base: _weights(base, "scale_weight", (0.0, 0.5, 1.0)),
    "mean-map": lambda base: [Change(f"mean map {n:g}", {"mean_map": n}) for n in (0.0, 0.5, 1.0)],
    "image-size": lambda base: [Change(f"{n} x {n}", detector={"image_size": n}) for n in (128, 192, 256, 320)],
    "border": lambda base: [Change(b, detector={"border": b}) for b in get_args(Border)],
    "steps": lambda base: [
        Change(f"{n} steps", detector={"steps": n}) for n in (base.steps // 4, base.steps // 2, base.steps)
    ],
    "optimizer": lambda base: [Change(name, detector={"optimizer": name}) for name in ("muon", "adam")],
    "focus": lambda base: [Change(f"focus {f:g}", detector={"focus": f}) for f in (0.0, 0.4, 0.8)],
    "seed": _seeds,
    "teacher": _teachers,
}
"""The studies, by name: from the base detector to the rows of the table."""
