"""One thing changed at a time, and what it does to AU-PRO: a table and a picture for each study."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..data.category import Category
from ..data.layouts import open_category, training_images
from ..data.source import ImageSource
from ..detector import Detector
from ..errors import DataError
from ..evaluation import Evaluation, evaluate
from ..files import check_writable, write_bytes
from ..progress import Progress, silent
from ..version import versions
from .ablation_pictures import write_maps, write_scores
from .variants import HeldOut


class Change(NamedTuple):
    """One row of a study.

    Attributes:
        name: what the table calls it.
        variant: arguments of `HeldOut.variant`: nothing is trained.
        stride: of scoring.
        detector: arguments of `Detector` that make it train anew.
    """

    name: str
    variant: Mapping[str, Any] = {}
    stride: int | None = None
    detector: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Setup:
    """What all rows of a study share.

    Attributes:
        scales, students, steps, image_size, seed: of the detector that is trained, where none is given.
        stride: of scoring.
        model: a trained detector to take instead of training one.
        settings: further arguments of `Detector`.
    """

    scales: tuple[int, ...] = (17, 33, 65)
    students: int = 3
    steps: int = 2000
    image_size: int = 256
    seed: int = 0
    stride: int = 1
    model: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def detector(self, changes: Mapping[str, Any]) -> Detector:
        """An untrained detector with these settings, some of them changed."""
        own = {"scales": self.scales, "students": self.students, "steps": self.steps, "seed": self.seed}
        return Detector(**{**own, "image_size": self.image_size, **self.settings, **changes})


def _scales(base: Detector) -> list[Change]:
    single = [Change(f"p = {p}", {"scales": (p,)}) for p in base.scales]
    every = [Change("all of them", {"scales": base.scales})] if len(base.scales) > 1 else []
    pairs = [(a, b) for i, a in enumerate(base.scales) for b in base.scales[i + 1 :]] if len(base.scales) > 2 else []
    return [*single, *(Change(f"p = {a} and {b}", {"scales": (a, b)}) for a, b in pairs), *every]


def _students(base: Detector) -> list[Change]:
    return [Change(f"M = {m}", {"students": m}) for m in range(1, base.students + 1)]


STUDIES: dict[str, Callable[[Detector], Sequence[Change]]] = {
    "scales": _scales,
    "students": _students,
    "terms": lambda base: [
        Change("e and v", {"terms": "both"}),
        Change("e alone", {"terms": "e"}),
        Change("v alone", {"terms": "v"}),
    ],
    "stride": lambda base: [Change(f"stride {s}", stride=s) for s in (1, 2, 4, 8)],
    "smoothing": lambda base: [
        Change(f"σ = {s}" if s else "none", {"smoothing": s}) for s in (0.0, 1.0, 2.0, 4.0, 8.0)
    ],
    "image-size": lambda base: [Change(f"{n} x {n}", detector={"image_size": n}) for n in (128, 192, 256, 320)],
    "padding": lambda base: [Change(p, detector={"padding": p}) for p in ("reflect", "zeros", "replicate")],
    "steps": lambda base: [
        Change(f"{n} steps", detector={"steps": n}) for n in (base.steps // 4, base.steps // 2, base.steps)
    ],
    "optimizer": lambda base: [Change(name, detector={"optimizer": name}) for name in ("muon", "adam")],
    "focus": lambda base: [Change(f"focus {f:g}", detector={"focus": f}) for f in (0.0, 0.4, 0.8)],
    "seed": lambda base: [Change(f"seed {n}", detector={"seed": n}) for n in range(3)],
}
"""The studies, by name: from the base detector to the rows of the table."""


@dataclass(frozen=True)
class Row:
    """One row of a study's table."""

    name: str
    au_pro: float | None
    pixel_auroc: float | None
    image_auroc: float | None
    per_defect: dict[str, float | None]


def run_study(
    study: str,
    category: str | os.PathLike[str],
    out: str | os.PathLike[str],
    setup: Setup,
    *,
    progress: Progress = silent,
) -> list[Row]:
    """Train what a study needs, evaluate each of its rows, and write NAME.json, NAME.md and two pictures into `out`.

    Detectors are kept in `out`/models, and training resumes, so that a study that was stopped goes on.

    Args:
        study: one of `STUDIES`.
        category: a folder that `open_category` takes, with test images.
        out: folder for the results.
        setup: what all rows share.
        progress: told the row, and how far it is.

    Raises:
        DataError, ModelFileError, OutputError: as their messages say.
    """
    if study not in STUDIES:
        raise DataError(f"there is no study {study!r}; choose one of {', '.join(STUDIES)}")
    data, out = open_category(category), Path(out)
    name = f"{data.name}-{study}"
    check_writable(out / f"{name}.json")
    (out / "models").mkdir(parents=True, exist_ok=True)
    base = Detector.load(setup.model) if setup.model else setup.detector({})
    rows: list[Row] = []
    evaluations: list[Evaluation] = []
    for change, evaluation in _evaluations(STUDIES[study](base), data, out, setup, base, progress):
        defects = {defect: result.au_pro for defect, result in evaluation.per_defect.items()}
        rows.append(Row(change.name, evaluation.au_pro, evaluation.pixel_auroc, evaluation.image_auroc, defects))
        evaluations.append(evaluation)
    facts = {"study": study, "category": data.name, "settings": evaluations[0].settings, "versions": versions()}
    write_bytes(out / f"{name}.json", json.dumps({**facts, "rows": [vars(row) for row in rows]}, indent=1).encode())
    write_bytes(out / f"{name}.md", table(rows).encode())
    write_scores(out / f"{name}-scores.png", [row.name for row in rows], [row.au_pro for row in rows])
    write_maps(out / f"{name}-maps.png", [row.name for row in rows], evaluations)
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    defects = list(rows[0].per_defect)
    lines = [f"| | AU-PRO@0.3 | pixel AUROC | image AUROC | {' | '.join(defects)} |", "|---" * (4 + len(defects)) + "|"]
    for row in rows:
        figures = [row.au_pro, row.pixel_auroc, row.image_auroc, *row.per_defect.values()]
        lines.append(f"| {row.name} | " + " | ".join("–" if f is None else f"{f:.3f}" for f in figures) + " |")
    return "\n".join(lines) + "\n"


def _evaluations(
    changes: Sequence[Change], data: Category, out: Path, setup: Setup, base: Detector, progress: Progress
) -> Iterator[tuple[Change, Evaluation]]:
    held_out: HeldOut | None = None
    for change in changes:

        def told(stage: str, done: int, total: int, figures: Mapping[str, float], row: str = change.name) -> None:
            progress(f"{row}: {stage}", done, total, figures)

        if change.detector:
            detector = _trained(data, out, setup, change, told)
        else:
            if held_out is None:
                trained = base if setup.model else _trained(data, out, setup, Change("base"), told)
                held_out = HeldOut(trained, ImageSource(training_images(data.root), trained.image_size), told)
            detector = held_out.variant(**change.variant)
        yield change, evaluate(detector, data, stride=change.stride or setup.stride, progress=told)


def _trained(data: Category, out: Path, setup: Setup, change: Change, progress: Progress) -> Detector:
    """A detector from `out`/models, or trained and put there."""
    detector = setup.detector(change.detector)
    differences = "-".join(f"{key}-{value}" for key, value in change.detector.items())
    scales = "-".join(str(p) for p in detector.scales)
    shared = f"p{scales}-M{detector.students}-{setup.steps}-{setup.image_size}-{setup.seed}"
    file = out / "models" / f"{data.name}-{shared}-{differences or 'base'}.safetensors"
    if file.exists():
        kept = Detector.load(file)
        if other := [key for key, value in _comparable(detector).items() if _comparable(kept)[key] != value]:
            raise DataError(
                f"{file}: was trained with other settings ({', '.join(other)}); name another folder, or delete it"
            )
        return kept
    detector.fit(data.root, progress=progress, checkpoint=f"{file}.part")
    detector.save(file)
    return detector


def _comparable(detector: Detector) -> dict[str, Any]:
    """Its settings, with teachers as a model file names them."""
    return {**detector.settings, "teachers": [Path(file).name for file in detector.teachers]}
