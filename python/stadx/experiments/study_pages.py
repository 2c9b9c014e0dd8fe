"""All ablations of the given categories, in one folder and on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from ..data.layouts import training_images
from ..progress import Progress
from .ablations import Row, Setup, run_study, table
from .pages import picture, plain_table
from .parallel import run_tasks
from .request import Budget, Request, pick
from .result_store import ResultStore
from .studies import STUDIES

TITLE = "Ablations"
CAPTION = "One thing changed at a time, and what it does to AU-PRO@0.3."
_OF_SETUP = ("scales", "students", "steps", "image_size")


def run_studies(
    request: Request, places: Mapping[str, Path], store: ResultStore, progress: Progress
) -> dict[tuple[str, str], list[Row]]:
    """Run the studies on every category, but for "teacher", which needs photos; those in the store are not run again.

    Returns:
        Rows by category and study.

    Raises:
        DataError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    studies = pick(request.columns, [study for study in STUDIES if study != "teacher"], "study")
    run_tasks([partial(_run, request, store, studies, row, f) for row, f in places.items()], request.jobs, progress)
    found = store.results()
    return {(row, study): [Row(**r) for r in found[f"{row} | {study}"]] for row in places for study in studies}


def setup_of(budget: Budget, images: int, device: str = "cpu") -> Setup:
    """The budget, as what all rows of a study share, for so many training images."""
    settings = budget.detector_settings(images)
    own = {name: settings.pop(name) for name in _OF_SETUP if name in settings}
    return Setup(**own, stride=budget.stride, settings=settings, device=device)


def _run(
    request: Request, store: ResultStore, studies: Sequence[str], row: str, folder: Path, progress: Progress
) -> None:
    """All studies of a category: one process, for they share what is trained."""
    setup = setup_of(request.budget, len(training_images(folder)), request.device)
    for study in studies:

        def told(stage: str, done: int, total: int, figures: Mapping[str, float], study: str = study) -> None:
            progress(f"{row}, {study}, {stage}", done, total, figures)

        def compute(study: str = study, told: Progress = told) -> list[dict[str, Any]]:
            return [asdict(r) for r in run_study(study, folder, request.out / "ablations", setup, progress=told)]

        store.keep(f"{row} | {study}", compute)


def markdown(found: Mapping[tuple[str, str], Sequence[Row]]) -> str:
    """A table for each study."""
    return "\n".join(f"**{row}: {study}**\n\n{table(rows)}" for (row, study), rows in found.items())


def parts_of(found: Mapping[tuple[str, str], Sequence[Row]], places: Mapping[str, Path], folder: Path) -> list[str]:
    """Tables and pictures as HTML."""
    parts, last = list[str](), ""
    for (row, study), rows in found.items():
        parts += [f"<h2>{escape(row)}</h2>"] if row != last else []
        parts += [f"<h3>{escape(study)}</h3>"]
        last = row
        defects = list(rows[0].per_defect)
        lines = [[r.name, r.au_pro, r.pixel_auroc, r.image_auroc, *r.per_defect.values()] for r in rows]
        parts.append(plain_table(["", "AU-PRO@0.3", "pixel AUROC", "image AUROC", *defects], lines))
        prefix = f"{places[row].resolve().name}-{study}"
        files = [(folder / f"{prefix}-{kind}.png", f"{study}: {kind}") for kind in ("scores", "maps")]
        parts += [picture(file, caption) for file, caption in files if file.exists()]
    return parts
