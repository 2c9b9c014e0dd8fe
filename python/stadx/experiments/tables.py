"""The paper's tables run anew: on categories in MVTec AD layout (1 and 3), on MNIST and CIFAR-10 (2, 6 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from ..errors import DataError
from ..files import file_hash
from ..progress import Progress
from ..teacher import shipped_teacher
from ..version import versions
from . import categories, classes
from .parallel import run_tasks
from .published_tables import PublishedTable, Reproduction
from .request import PAPERS_TEXTURES, Request, pick
from .result_store import ResultStore

ON_CATEGORIES = ("table1", "table3")
_SETS = {"table6": "MNIST", "table7": "CIFAR-10"}
PARTS = {"table2": tuple(_SETS)}
"""Tables that are made of others."""
Measure = Callable[[Request, Path, str, str, int, Progress], float]


@dataclass(frozen=True)
class _Plan:
    """What of a table can be run: folders by row, systems, hashes of data and teachers, how a cell is measured."""

    places: dict[str, Path]
    columns: list[str]
    inputs: dict[str, str]
    measure: Measure
    settings: Callable[..., dict[str, Any]]
    teachers: str
    notes: tuple[str, ...] = ()  # what else belongs beside the figures


def reproduce_table(name: str, request: Request, progress: Progress) -> Reproduction:
    """Run a table as far as the data allow; figures that are in the file NAME.json already are not run again.

    Raises:
        DataError, MissingExtraError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    if name == "table2":
        return _means(request, progress)
    table = PublishedTable.of(name)
    plan = (_on_categories if name in ON_CATEGORIES else _on_classes)(table, request, progress)
    columns = pick(request.columns, [c for c in table.columns if c in plan.columns], "system")
    store = ResultStore(request.out / f"{name}.json", store_settings(request), plan.inputs)
    seeds = range(request.seeds)
    known = store.results()
    tasks = [
        partial(_run_row, request, plan.measure, store, place, row, columns, seed)
        for row, place in plan.places.items()
        for seed in seeds
        if any(_key(row, column, seed) not in known for column in columns)
    ]
    run_tasks(tasks, request.jobs, progress)
    found = store.results()
    measured = {
        row: {column: tuple(found[_key(row, column, seed)] for seed in seeds) for column in columns}
        for row in plan.places
    }
    header = [*header_of(request, plan.inputs), plan.teachers, *plan.notes]
    settings = {column: plan.settings(column, request.budget) for column in columns}
    for of_column in settings.values():
        of_column.pop("seed", None)  # the header names the seeds
    return Reproduction(table, columns if request.columns else table.columns, measured, header, settings)


def store_settings(request: Request) -> dict[str, str]:
    """What all results of one file share."""
    return {"budget": request.budget.name, "stadx": versions()["stadx"]}


def header_of(request: Request, inputs: dict[str, str]) -> list[str]:
    """Budget, seeds, versions, and the hashes of data and teachers."""
    version = ", ".join(f"{name} {number}" for name, number in versions().items())
    hashes = ", ".join(f"{name} {digest[:12]}" for name, digest in inputs.items())
    return [f"Here: {request.budget.says}.", f"Seeds: {request.seeds}, from 0. {version}.", f"SHA-256: {hashes}."]


def shipped_hashes(scales: Sequence[int]) -> dict[str, str]:
    """SHA-256 of the teachers that come with stadx."""
    return {f"teacher p = {p}": file_hash(shipped_teacher(p)) for p in scales}


def _key(row: str, column: str, seed: int) -> str:
    return f"{row} | {column} | seed {seed}"


def _run_row(
    request: Request,
    measure: Measure,
    store: ResultStore,
    place: Path,
    row: str,
    columns: Sequence[str],
    seed: int,
    progress: Progress,
) -> None:
    """All systems on a category or class with a seed: one process, for they share what is trained."""
    for column in columns:
        store.keep(_key(row, column, seed), partial(measure, request, place, row, column, seed, progress))


def _on_categories(table: PublishedTable, request: Request, progress: Progress) -> _Plan:
    if request.teachers:
        raise DataError(f"{table.title}: has no columns for other teachers; leave --teacher out")
    found = categories.all_categories(request.data)
    pick([row for row in request.budget.textures if row not in PAPERS_TEXTURES], found, "row")
    places = {row: found[row] for row in pick(request.rows, found, "row")}
    inputs = {row: categories.content_hash(folder, progress) for row, folder in places.items()}
    scales = {p for column in table.columns for p in categories.SCALES.get(column, ())} | {65}
    return _Plan(
        places,
        [*categories.SCALES, *categories.BASELINES],
        {**inputs, **shipped_hashes(sorted(scales))},
        categories.measure_category,
        categories.settings_of,
        "Teachers: those that come with stadx, distilled from EfficientNet-Lite0 (paper: ResNet-18).",
    )


def _on_classes(table: PublishedTable, request: Request, progress: Progress) -> _Plan:
    teachers = classes.teacher_files(request.teachers)
    place = classes.find_set(table, request.data, progress)
    names = ", ".join(f"{column}: {file.name}" for column, file in teachers.items())
    note = classes.labeled(place, progress).note
    return _Plan(
        dict.fromkeys(pick(request.rows, table.rows, "row"), place),
        [*teachers, *categories.BASELINES],
        {
            table.title: classes.set_hash(place, progress),
            **{f"teacher of {column}": file_hash(file) for column, file in teachers.items()},
        },
        classes.measure_class,
        classes.settings_of,
        f"Teachers: {names}; baselines of descriptors take that of {classes.OURS}. The one that comes with stadx is "
        "distilled from EfficientNet-Lite0 (paper: ResNet-18).",
        (f"{table.title}. {note}",) if note else (),
    )


def _means(request: Request, progress: Progress) -> Reproduction:
    """Table 2: the means of Tables 6 and 7, of those whose data are given, over the classes that are run."""
    table, found = PublishedTable.of("table2"), dict[str, Reproduction]()
    known = {row for name in _SETS for row in PublishedTable.of(name).rows}
    pick(request.rows, sorted(known), "row")
    for place in request.data:
        present = set(classes.labeled(place, progress).classes)
        name = next((n for n in _SETS if set(PublishedTable.of(n).rows) == present), None)
        if name is None:
            raise DataError(f"{place}: is neither MNIST nor CIFAR-10; its classes are {', '.join(sorted(present))}")
        rows = tuple(row for row in request.rows if row in present)
        if rows or not request.rows:
            found[name] = reproduce_table(name, replace(request, data=(place,), rows=rows), progress)
    if not found:
        raise DataError(f"{', '.join(request.rows)}: there is no such row in the data given")
    measured, printed, header = dict[str, dict[str, tuple[float, ...]]](), dict(table.rows), list[str]()
    for name, part in found.items():
        row, ran = _SETS[name], list(part.measured)
        measured[row] = {
            column: tuple(mean(part.measured[c][column][seed] for c in ran) for seed in range(request.seeds))
            for column in part.settings
        }
        if len(ran) < len(part.table.rows):
            header.append(f"{row}: here and in the paper's figures only the classes {', '.join(ran)}.")
            printed[row] = [mean(part.table.rows[c][i] for c in ran) for i in range(len(table.columns))]
        header += [line for line in part.header if line not in header]
    last = next(iter(found.values()))
    return Reproduction(replace(table, rows=printed), last.columns, measured, header, last.settings)
