"""All ablations of the given categories, in one folder and on one page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from stadx.core.errors import DataError
from stadx.core.progress import Progress
from stadx.data.layouts import open_category, training_images

from ..environment import environment
from ..pages import picture, plain_table
from ..parallel import run_tasks
from ..request import Budget, Request, pick
from ..result_store import Identity, ResultStore, matching
from .studies import STUDIES
from .study import Row, Setup, run_study, table

TITLE = "Ablations"
CAPTION = "One thing changed at a time, and what it does to AU-PRO@0.3."
_FEWEST_STEPS = 4  # the study "steps" trains a quarter of them
Entries = Sequence[Mapping[str, Any]]


def studies_of(request: Request) -> list[str]:
    """The studies that are asked for, all but "teacher", which needs photos, where none is named.

    Raises:
        DataError: for one that is not known, or "steps" with too few of them.
    """
    studies = pick(request.columns, [study for study in STUDIES if study != "teacher"], "study")
    steps = setup_of(request.budget, 1).detector({}).steps
    if "steps" in studies and steps < _FEWEST_STEPS:
        raise DataError(
            f'the study "steps" trains a quarter and a half of the steps, which are {steps}; give --steps '
            f"{_FEWEST_STEPS} or more, or choose other studies with --system"
        )
    return studies


def run_studies(
    request: Request,
    studies: Sequence[str],
    places: Mapping[str, Path],
    inputs: Mapping[str, Mapping[str, str]],
    store: ResultStore,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Run studies on every category; those in the store are not run again.

    Args:
        request: see `Request`.
        studies: of `studies_of`.
        places: folders by category.
        inputs: SHA-256 of what each category that is to be run depends on.
        store: where results are kept.
        progress: told the category, the study, its row and how far it is.

    Returns:
        All entries of the store with these settings and data, failures too.

    Raises:
        OutputError: if nothing can be written.
    """
    left = {row: [(s, _identity(request, row, s, own)) for s in studies] for row, own in inputs.items()}
    run_tasks([partial(_run, request, store, places[row], todo) for row, todo in left.items()], request.jobs, progress)

    def expected(of: Mapping[str, Any]) -> Identity | None:
        if of["study"] not in STUDIES or (of["row"] in places and of["row"] not in inputs):
            return None
        return _identity(request, of["row"], of["study"], inputs.get(of["row"], {}))

    rows, order = [*places], [*STUDIES]
    entries = matching(store.entries(), expected)
    rows += [e["of"]["row"] for e in entries if e["of"]["row"] not in rows]
    return sorted(entries, key=lambda e: (rows.index(e["of"]["row"]), order.index(e["of"]["study"])))


def setup_of(budget: Budget, images: int, device: str = "cpu") -> Setup:
    """The budget, as what all rows of a study share, for so many training images."""
    return Setup(budget.detector_settings(images), budget.stride, device=device)


def settings_of(request: Request) -> dict[str, Any]:
    """All settings of the detector that the studies change."""
    setup = setup_of(request.budget, 1)
    settings = {**setup.detector({}).settings, "stride": setup.stride}
    if "epochs" in request.budget.detector:
        settings["steps"] = f"{request.budget.detector['epochs']} epochs"
    return settings


def _identity(request: Request, row: str, study: str, inputs: Mapping[str, str]) -> Identity:
    changes = [change._asdict() for change in STUDIES[study](setup_of(request.budget, 1).detector({}))]
    return Identity({"row": row, "study": study}, {**settings_of(request), "changes": changes}, inputs)


def _run(
    request: Request, store: ResultStore, folder: Path, todo: Sequence[tuple[str, Identity]], progress: Progress
) -> None:
    """All studies of a category: one process, for they share what is trained."""
    made_with = environment(request.device, request.budget.detector.get("precision", "auto"))
    for study, identity in todo:
        store.keep(identity, made_with, partial(_study, study, str(identity.of["row"]), folder, request, progress))


def _study(study: str, row: str, folder: Path, request: Request, progress: Progress) -> dict[str, Any]:
    """The rows of a study, and what its pictures are named after."""

    def told(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        progress(f"{row}, {study}, {stage}", done, total, figures)

    setup = setup_of(request.budget, len(training_images(folder)), request.device)
    rows = run_study(study, folder, request.out / "ablations", setup, progress=told)
    return {"category": open_category(folder).name, "rows": [asdict(row) for row in rows]}


def markdown(entries: Entries, header: Sequence[str], settings: Mapping[str, object]) -> str:
    """A table for each study, between the header and the settings."""
    parts = ["\n".join(f"- {line}" for line in header) + "\n"]
    for entry in entries:
        of, rows = entry["of"], _rows(entry)
        parts.append(f"**{of['row']}: {of['study']}**\n\n{table(rows) if rows else 'failed'}")
    return "\n".join([*parts, f"Settings: {json.dumps(settings, ensure_ascii=False, default=str)}\n"])


def parts_of(entries: Entries, folder: Path) -> list[str]:
    """Tables and pictures as HTML."""
    parts, last = list[str](), ""
    for entry in entries:
        row, study = entry["of"]["row"], entry["of"]["study"]
        parts += [f"<h2>{escape(row)}</h2>"] if row != last else []
        parts += [f"<h3>{escape(study)}</h3>"]
        last = row
        if not (rows := _rows(entry)):
            parts.append("<p>failed</p>")
            continue
        defects = list(rows[0].per_defect)
        lines = [[r.name, r.au_pro, r.pixel_auroc, r.image_auroc, *r.per_defect.values()] for r in rows]
        parts.append(plain_table(["", "AU-PRO@0.3", "pixel AUROC", "image AUROC", *defects], lines))
        prefix = f"{entry['figure']['category']}-{study}"
        files = [(folder / f"{prefix}-{kind}.png", f"{study}: {kind}") for kind in ("scores", "maps")]
        parts += [picture(file, caption) for file, caption in files if file.exists()]
    return parts


def _rows(entry: Mapping[str, Any]) -> list[Row]:
    """Of a study; none if it failed."""
    return [Row(**row) for row in entry["figure"]["rows"]] if "figure" in entry else []
