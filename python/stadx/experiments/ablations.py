"""One thing changed at a time, and what it does to AU-PRO: a table and a picture for each study."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..data.category import Category
from ..data.layouts import open_category, training_images
from ..data.photos import fingerprint_photos, list_photos
from ..data.source import ImageSource
from ..detector import Detector
from ..errors import DataError
from ..evaluation import Evaluation, evaluate
from ..files import check_writable, write_bytes
from ..networks import PatchNetwork
from ..pretrain_settings import PretrainSettings
from ..pretraining import pretrain
from ..progress import Progress, silent
from ..teacher import load_teachers
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
        teacher: settings of `PretrainSettings` with which its teachers are trained for the study.
    """

    name: str
    variant: Mapping[str, Any] = {}
    stride: int | None = None
    detector: Mapping[str, Any] = {}
    teacher: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Setup:
    """What all rows of a study share.

    Attributes:
        scales, students, steps, image_size, seed: of the detector that is trained, where none is given.
        stride: of scoring.
        model: a trained detector to take instead of training one.
        settings: further arguments of `Detector`.
        device: where is trained and scored.
        photos: what the study "teacher" trains teachers on.
        teacher_steps: how long.
    """

    scales: tuple[int, ...] = (17, 33, 65)
    students: int = 3
    steps: int = 2000
    image_size: int = 256
    seed: int = 0
    stride: int = 1
    model: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    photos: Path | None = None
    teacher_steps: int = 2000

    def detector(self, changes: Mapping[str, Any]) -> Detector:
        """An untrained detector with these settings, some of them changed."""
        own = {"scales": self.scales, "students": self.students, "steps": self.steps, "seed": self.seed}
        detector = Detector(**{**own, "image_size": self.image_size, **self.settings, **changes})
        return detector.to(self.device)


def _scales(base: Detector) -> list[Change]:
    single = [Change(f"p = {p}", {"scales": (p,)}) for p in base.scales]
    every = [Change("all of them", {"scales": base.scales})] if len(base.scales) > 1 else []
    pairs = [(a, b) for i, a in enumerate(base.scales) for b in base.scales[i + 1 :]] if len(base.scales) > 2 else []
    return [*single, *(Change(f"p = {a} and {b}", {"scales": (a, b)}) for a, b in pairs), *every]


def _students(base: Detector) -> list[Change]:
    return [Change(f"M = {m}", {"students": m}) for m in range(1, base.students + 1)]


def _teachers(base: Detector) -> list[Change]:
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
    "level": lambda base: [Change(f"level {n:g}", {"level": n}) for n in (0.0, 0.5, 1.0)],
    "image-size": lambda base: [Change(f"{n} x {n}", detector={"image_size": n}) for n in (128, 192, 256, 320)],
    "padding": lambda base: [Change(p, detector={"padding": p}) for p in ("reflect", "zeros", "replicate")],
    "steps": lambda base: [
        Change(f"{n} steps", detector={"steps": n}) for n in (base.steps // 4, base.steps // 2, base.steps)
    ],
    "optimizer": lambda base: [Change(name, detector={"optimizer": name}) for name in ("muon", "adam")],
    "focus": lambda base: [Change(f"focus {f:g}", detector={"focus": f}) for f in (0.0, 0.4, 0.8)],
    "seed": lambda base: [Change(f"seed {n}", detector={"seed": n}) for n in range(3)],
    "teacher": _teachers,
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
    if study == "teacher" and setup.photos is None:
        raise DataError('the study "teacher" trains teachers: name a folder of photos, with --photos')
    if study == "teacher" and setup.model is not None:
        raise DataError('the study "teacher" trains a detector for each teacher: leave --model out')
    data, out = open_category(category), Path(out)
    name = f"{data.name}-{study}"
    check_writable(out / f"{name}.json")
    (out / "models").mkdir(parents=True, exist_ok=True)
    base = Detector.load(setup.model).to(setup.device) if setup.model else setup.detector({})
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

        if change.detector or change.teacher is not None:
            detector = _trained(data, out, setup, change, told)
        else:
            if held_out is None:
                trained = base if setup.model else _trained(data, out, setup, Change("base"), told)
                held_out = HeldOut(trained, ImageSource(training_images(data.root), trained.image_size), told)
            detector = held_out.variant(**change.variant)
        yield change, evaluate(detector, data, stride=change.stride or setup.stride, progress=told)


def _trained(data: Category, out: Path, setup: Setup, change: Change, progress: Progress) -> Detector:
    """A detector from `out`/models, or trained and put there."""
    changes = dict(change.detector)
    if change.teacher is not None:
        changes["teachers"] = [_teacher(p, out, setup, change.teacher, progress) for p in setup.scales]
    detector = setup.detector(changes)
    differences = _named(
        {**change.detector, **({"teacher": "own"} if change.teacher is not None else {}), **(change.teacher or {})}
    )
    scales = "-".join(str(p) for p in detector.scales)
    shared = f"p{scales}-M{detector.students}-{setup.steps}-{setup.image_size}-{setup.seed}"
    file = out / "models" / f"{data.name}-{shared}-{differences or 'base'}.safetensors"
    if file.exists():
        kept = Detector.load(file).to(setup.device)
        other = [key for key, value in _comparable(detector).items() if _comparable(kept)[key] != value]
        if not other and not _has_teachers(kept, load_teachers(detector.scales, detector.teachers)):
            other = ["teachers"]
        if other:
            raise DataError(
                f"{file}: was trained with other settings ({', '.join(other)}); name another folder, or delete it"
            )
        return kept
    detector.fit(data.root, progress=progress, checkpoint=f"{file}.part")
    detector.save(file)
    return detector


def _teacher(p: int, out: Path, setup: Setup, settings: Mapping[str, Any], progress: Progress) -> Path:
    """A teacher from `out`/teachers, or trained and put there."""
    assert setup.photos is not None
    if p != 65:  # the others have no such convolution
        settings = {key: value for key, value in settings.items() if key != "conv3_channels"}
    photos = fingerprint_photos(list_photos(setup.photos))[:8]
    name = f"p{p}-{setup.teacher_steps}-{setup.seed}-{photos}-{_named(settings) or 'default'}.safetensors"
    file = out / "teachers" / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        wanted = PretrainSettings(**{"patch_size": p, "steps": setup.teacher_steps, "seed": setup.seed, **settings})
        pretrain(setup.photos, wanted, file, progress=progress, device=setup.device)
    return file


def _has_teachers(detector: Detector, teachers: Sequence[PatchNetwork]) -> bool:
    pairs = [(e.teacher.state_dict(), t.state_dict()) for e, t in zip(detector.ensembles_, teachers, strict=True)]
    return all(torch.equal(ours[key], theirs[key]) for ours, theirs in pairs for key in ours)


def _named(settings: Mapping[str, Any]) -> str:
    return "-".join(f"{key}-{value}" for key, value in settings.items())


def _comparable(detector: Detector) -> dict[str, Any]:
    """Its settings, with teachers as a model file names them."""
    return {**detector.settings, "teachers": [Path(file).name for file in detector.teachers]}
