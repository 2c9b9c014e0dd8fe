"""The paper's tables run anew: on categories in MVTec AD layout (1 and 3), on MNIST and CIFAR-10 (6 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stadx.core.errors import DataError
from stadx.core.files import file_hash
from stadx.core.progress import Progress

from ..environment import environment, environment_lines
from ..parallel import run_tasks
from ..request import PAPERS_TEXTURES, Request, pick
from ..result_store import Identity, ResultStore, matching, reason
from . import categories, classes, departures
from .published_tables import Cell, PublishedTable, Reproduction

ON_CATEGORIES = ("table1", "table3")
FOR_REFERENCE = {"OCGAN": "with its authors' settings a class takes more than a day of CPU time"}
"""Systems that run only where they are named, and why; else the paper's figures are shown alone."""
Measure = Callable[[Request, Path, str, str, int, Progress], float]
Entries = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class TableRun:
    """A table with all figures that the file NAME.json holds for these settings and data, and what was asked of it."""

    whole: Reproduction
    asked: Reproduction


@dataclass(frozen=True)
class _Plan:
    """What of a table can be run.

    Attributes:
        places: folders by row.
        columns: systems.
        measure: how a cell is measured.
        settings: of a system, on a row or on all.
        inputs: SHA-256 of what a row and system depend on, as far as this call knows.
        lines: of the header.
        broken: rows whose data cannot be used, and why.
        metrics: by row, what is measured instead of the table's metric.
    """

    places: dict[str, Path]
    columns: list[str]
    measure: Measure
    settings: Callable[[str, str | None], dict[str, Any]]
    inputs: Callable[[str, str], dict[str, str]]
    lines: list[str]
    broken: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)

    def identity(self, row: str, column: str, seed: int) -> Identity:
        of = {"row": row, "system": column, "seed": seed}
        return Identity(of, self.settings(column, row), self.inputs(row, column))


def reproduce_table(name: str, request: Request, progress: Progress) -> TableRun:
    """Run a table as far as the data allow; figures that are in the file NAME.json already are not run again.

    A figure that cannot be measured does not keep the others from being so.

    Raises:
        DataError, MissingExtraError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    table = PublishedTable.of(name)
    plan = (_on_categories if name in ON_CATEGORIES else _on_classes)(table, request, progress)
    known = [column for column in table.columns if column in plan.columns]
    columns = pick(request.columns or [c for c in known if c not in FOR_REFERENCE], known, "system")
    store = ResultStore(request.out / f"{name}.json")
    left = {
        (row, seed): [
            (column, identity) for column in columns if not store.has(identity := plan.identity(row, column, seed))
        ]
        for row in plan.places
        for seed in range(request.seeds)
    }
    categories.check_extras({column for todo in left.values() for column, _ in todo})
    tasks = [
        partial(_run_row, request, plan.measure, store, plan.places[row], row, seed, todo)
        for (row, seed), todo in left.items()
        if todo
    ]
    run_tasks(tasks, request.jobs, progress)

    def expected(of: Mapping[str, Any]) -> Identity | None:
        if of["row"] in plan.broken or of["system"] not in table.columns:
            return None
        return plan.identity(of["row"], of["system"], of["seed"])

    entries = matching(store.entries(), expected)
    shown = columns if request.columns else table.columns
    rows = [*plan.places, *plan.broken]
    asked = [
        e
        for e in entries
        if e["of"]["row"] in rows
        and e["of"]["seed"] < request.seeds
        and (e["of"]["system"] in columns or ("figure" in e and e["of"]["system"] in shown))
    ]
    return TableRun(
        _view(
            table,
            request,
            plan,
            entries,
            dict.fromkeys([*rows, *(e["of"]["row"] for e in entries)]),
            [c for c in table.columns if c in shown or any(e["of"]["system"] == c for e in entries)],
            columns,
        ),
        _view(table, request, plan, asked, rows, shown, columns),
    )


def _view(
    table: PublishedTable,
    request: Request,
    plan: _Plan,
    entries: Entries,
    rows: Collection[str],
    columns: Sequence[str],
    ran: Sequence[str],
) -> Reproduction:
    """The table of these entries; `ran` are the systems that this call was to run."""
    figures: dict[tuple[str, str], dict[int, float]] = {}
    failed: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        row, column, seed = (entry["of"][kind] for kind in ("row", "system", "seed"))
        if "figure" in entry:
            figures.setdefault((row, column), {})[seed] = entry["figure"]
        else:
            failed.setdefault((row, column), []).append(f"{row}, {column}, seed {seed}: failed: {reason(entry)}")
    for row in plan.broken:
        failed |= {(row, column): [f"{row}: failed: {plan.broken[row]}"] for column in ran}
    order = [*(row for row in table.rows if row in rows), *(row for row in rows if row not in table.rows)]
    cells: dict[str, dict[str, Cell]] = {row: {} for row in order}
    for row in order:
        for column in columns:
            by_seed = dict(sorted(figures.get((row, column), {}).items()))
            cells[row][column] = table.cell(row, column, by_seed, (row, column) in failed)
    measured = {column for _, column in figures}
    remarks = [
        f"{column}: the paper's figures alone ({why}); name it with --system to run it."
        for column, why in FOR_REFERENCE.items()
        if column in columns and column not in measured
    ]
    return Reproduction(
        table,
        columns,
        cells,
        header_of(request, plan.lines, entries),
        {column: plan.settings(column, None) for column in columns if column in ran or column in measured},
        remarks,
        list(dict.fromkeys(line for lines in failed.values() for line in lines)),
        list(plan.metrics),
    )


def header_of(request: Request, lines: Sequence[str], entries: Entries) -> list[str]:
    """Budget, `lines`, and of the entries: seeds, versions and devices, and the hashes of data and teachers."""
    seeds = sorted({int(e["of"]["seed"]) for e in entries if "seed" in e["of"]})
    inputs = {name: digest for entry in entries for name, digest in entry["inputs"].items()}
    header = [f"Here: {request.budget.says}.", *lines]
    if seeds:
        header.append(f"Seeds: {', '.join(map(str, seeds))}.")
    header += environment_lines(entries)
    if inputs:
        header.append(f"SHA-256: {', '.join(f'{name} {digest[:12]}' for name, digest in inputs.items())}.")
    return header


def compared_line(request: Request) -> str:
    """At which size maps and masks are compared."""
    if request.compared_at == "original":
        return "Maps and masks are compared at the images' own size."
    return (
        f"Maps and masks are compared at {request.compared_at} pixels a side, the students' image size; maps of "
        "systems that work at another are resized to it."
    )


def _run_row(
    request: Request,
    measure: Measure,
    store: ResultStore,
    place: Path,
    row: str,
    seed: int,
    todo: Sequence[tuple[str, Identity]],
    progress: Progress,
) -> None:
    """All systems on a category or class with a seed: one process, for they share what is trained."""
    precision = request.budget.detector.get("precision", "auto")
    for column, identity in todo:
        made_with = environment(categories.device_of(column, request.device), precision)
        store.keep(identity, made_with, partial(measure, request, place, row, column, seed, progress))


def _on_categories(table: PublishedTable, request: Request, progress: Progress) -> _Plan:
    if request.teachers:
        raise DataError(f"{table.title}: has no columns for other teachers; leave --teacher out")
    found = categories.all_categories(request.data)
    pick([row for row in request.budget.textures if row not in PAPERS_TEXTURES], found, "row")
    chosen = pick(request.rows, found, "row")
    hashes, broken = categories.content_hashes({row: found[row] for row in chosen}, progress)
    metrics = {row: said for row in hashes if (said := categories.metric_of(row, found[row]))}
    teachers = {column: categories.teachers_of(column) for column in table.columns}
    scales = sorted({p for column in table.columns for p in categories.scales_of(column)})
    return _Plan(
        {row: found[row] for row in hashes},
        [*categories.SCALES, *categories.BASELINES],
        categories.measure_category,
        lambda column, row: categories.settings_of(column, request, row),
        lambda row, column: {**({row: hashes[row]} if row in hashes else {}), **teachers[column]},
        [
            departures.of_detectors(request.budget),
            compared_line(request),
            *metrics.values(),
            *departures.of_teachers(departures.shipped(scales)),
        ],
        broken,
        metrics,
    )


def _on_classes(table: PublishedTable, request: Request, progress: Progress) -> _Plan:
    if request.at != "original":
        raise DataError(f"{table.title}: has no maps to compare at a size; leave --at out")
    teachers = classes.teacher_files(request.teachers)
    place = classes.find_set(table, request.data, progress)
    data = {table.title: classes.set_hash(place, progress)}
    hashes = {column: {f"teacher of {column}": file_hash(file)} for column, file in teachers.items()}

    def inputs(row: str, column: str) -> dict[str, str]:
        of_descriptors = column in categories.BASELINES and categories.scales_of(column)
        return {**data, **hashes.get(classes.OURS if of_descriptors else column, {})}

    def settings(column: str, row: str | None) -> dict[str, Any]:
        return {n: value for n, value in classes.settings_of(column, request.budget).items() if n != "seed"}

    names = ", ".join(f"{column}: {file.name}" for column, file in teachers.items())
    note = classes.labeled(place, progress).note
    return _Plan(
        dict.fromkeys(pick(request.rows, table.rows, "row"), place),
        [*teachers, *categories.BASELINES],
        classes.measure_class,
        settings,
        inputs,
        [
            *([f"{table.title}. {note}"] if note else []),
            departures.of_one_class(request.budget),
            f"Teachers of columns: {names}; baselines of descriptors take that of {classes.OURS}.",
            *departures.of_teachers(teachers.values()),
        ],
    )
