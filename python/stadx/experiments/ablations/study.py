"""One thing changed at a time, and what it does to AU-PRO: a table and a picture for each study."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from stadx.core.errors import DataError
from stadx.core.files import check_writable, write_bytes
from stadx.core.progress import Progress, silent
from stadx.core.version import versions
from stadx.data.layouts import open_category, training_images
from stadx.data.layouts.category import Category
from stadx.data.photos.reading import fingerprint_photos, list_photos
from stadx.data.source import ImageSource, fingerprint
from stadx.detectors.student_teacher.detector import Detector
from stadx.evaluation.of_detector import Evaluation, evaluate
from stadx.networks.choices import PATCH_SIZES
from stadx.networks.patch_network import PatchNetwork
from stadx.teachers.pretraining import pretrain
from stadx.teachers.settings import PretrainSettings
from stadx.teachers.teacher_files import load_teachers

from ..request import pick
from .pictures import write_maps, write_scores
from .studies import STUDIES, Change
from .variants import HeldOut


@dataclass(frozen=True)
class Setup:
    """What all rows of a study share.

    Attributes:
        settings: of the detector that is trained, where no model is given.
        stride: of scoring, if not the detector's own.
        model: a trained detector to take instead of training one.
        device: where is trained and scored.
        photos: what the study "teacher" trains teachers on.
        teacher_steps: how long.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    stride: int | None = None
    model: Path | None = None
    device: str = "cpu"
    photos: Path | None = None
    teacher_steps: int = 2000

    def detector(self, changes: Mapping[str, Any]) -> Detector:
        """An untrained detector with these settings, some of them changed."""
        return Detector(**{"scales": PATCH_SIZES, **self.settings, **changes}).to(self.device)


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
    rows: Sequence[str] = (),
    progress: Progress = silent,
) -> list[Row]:
    """Train what a study needs, evaluate each of its rows, and write NAME.json, NAME.md and two pictures into `out`.

    Detectors are kept in `out`/models, and training resumes, so that a study that was stopped goes on.

    Args:
        study: one of `STUDIES`.
        category: a folder that `open_category` takes, with test images.
        out: folder for the results.
        setup: what all rows share.
        rows: names of those to run; all by default.
        progress: told the row, and how far it is.

    Raises:
        DataError, ModelFileError, OutputError: as their messages say.
    """
    if study not in STUDIES:
        raise DataError(f"there is no study {study!r}; choose one of {', '.join(STUDIES)}")
    if study == "teacher" and setup.photos is None:
        raise DataError('the study "teacher" trains teachers: name a folder of photos, with --photos')
    data, out = open_category(category), Path(out)
    name = f"{data.name}-{study}"
    check_writable(out / f"{name}.json")
    (out / "models").mkdir(parents=True, exist_ok=True)
    base = Detector.load(setup.model).to(setup.device) if setup.model else setup.detector({})
    changes = STUDIES[study](base)
    chosen = pick(rows, [change.name for change in changes], "row")
    changes = [change for change in changes if change.name in chosen]
    if setup.model is not None and any(change.trains for change in changes):
        raise DataError(f'the study "{study}" trains a detector for each of its rows: leave --model out')
    found: list[Row] = []
    evaluations: list[Evaluation] = []
    for change, evaluation in _evaluations(changes, data, out, setup, base, progress):
        defects = {defect: result.au_pro for defect, result in evaluation.per_defect.items()}
        found.append(Row(change.name, evaluation.au_pro, evaluation.pixel_auroc, evaluation.image_auroc, defects))
        evaluations.append(evaluation)
    facts = {"study": study, "category": data.name, "settings": evaluations[0].settings, "versions": versions()}
    write_scores(out / f"{name}-scores.png", [row.name for row in found], [row.au_pro for row in found])
    write_maps(out / f"{name}-maps.png", [row.name for row in found], evaluations)
    if study == "seed" and len(found) > 1:
        found += _mean_and_spread(found)
    write_bytes(out / f"{name}.json", json.dumps({**facts, "rows": [vars(row) for row in found]}, indent=1).encode())
    write_bytes(out / f"{name}.md", table(found).encode())
    return found


def _mean_and_spread(rows: Sequence[Row]) -> list[Row]:
    """Two rows more: the mean, and the standard deviation (of n - 1) over the rows."""

    def of(name: str, statistic: Callable[[list[float]], float]) -> Row:
        def over(values: Sequence[float | None]) -> float | None:
            known = [value for value in values if value is not None]
            return statistic(known) if len(known) == len(rows) else None

        defects = {d: over([row.per_defect[d] for row in rows]) for d in rows[0].per_defect}
        figures = {f: over([getattr(row, f) for row in rows]) for f in ("au_pro", "pixel_auroc", "image_auroc")}
        return Row(name, **figures, per_defect=defects)

    return [of("mean", statistics.mean), of("standard deviation", statistics.stdev)]


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

        if change.trains:
            detector = _trained(data, out, setup, change, told)
        else:
            if held_out is None:
                trained = base if setup.model else _trained(data, out, setup, Change("base"), told)
                source = ImageSource(training_images(data.root), trained.working_size, value_range=trained.value_range)
                held_out = HeldOut(trained, source, told)
            detector = held_out.variant(**change.variant)
        yield change, evaluate(detector, data, stride=change.stride or setup.stride, progress=told)


def _trained(data: Category, out: Path, setup: Setup, change: Change, progress: Progress) -> Detector:
    """A detector from `out`/models, or trained and put there."""
    base, changes = setup.detector({}), dict(change.detector)
    if change.teacher is not None:
        changes["teachers"] = [_teacher(p, out, setup, change.teacher, progress) for p in base.scales]
    detector = setup.detector(changes)
    differences = _named(
        {**change.detector, **({"teacher": "own"} if change.teacher is not None else {}), **(change.teacher or {})}
    )
    scales = "-".join(str(p) for p in detector.scales)
    shared = f"p{scales}-M{detector.students}-{base.steps}-{base.image_size}-{base.seed}"
    images = fingerprint(training_images(data.root))[:8]
    file = out / "models" / f"{data.name}-{images}-{shared}-{differences or 'base'}.safetensors"
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
    seed = setup.detector({}).seed
    name = f"p{p}-{setup.teacher_steps}-{seed}-{photos}-{_named(settings) or 'default'}.safetensors"
    file = out / "teachers" / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        wanted = PretrainSettings(**{"patch_size": p, "steps": setup.teacher_steps, "seed": seed, **settings})
        cache = out / "features"  # most teachers of a study see the same patches
        pretrain(setup.photos, wanted, file, progress=progress, feature_cache=cache, device=setup.device)
    return file


def _has_teachers(detector: Detector, teachers: Sequence[PatchNetwork]) -> bool:
    pairs = [(e.teacher.state_dict(), t.state_dict()) for e, t in zip(detector.ensembles_, teachers, strict=True)]
    return all(torch.equal(ours[key], theirs[key]) for ours, theirs in pairs for key in ours)


def _named(settings: Mapping[str, Any]) -> str:
    return "-".join(f"{key}-{value}" for key, value in settings.items())


def _comparable(detector: Detector) -> dict[str, Any]:
    """Its settings, with teachers as a model file names them."""
    return {**detector.settings, "teachers": [Path(file).name for file in detector.teachers]}
