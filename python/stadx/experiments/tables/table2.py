"""Table 2: the means of Tables 6 and 7."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from stadx.core.errors import DataError
from stadx.core.progress import Progress

from ..request import Request, pick
from . import classes
from .published_tables import Cell, PublishedTable, Reproduction
from .tables import TableRun, reproduce_table

SETS = {"table6": "MNIST", "table7": "CIFAR-10"}


def reproduce_means(request: Request, progress: Progress) -> TableRun:
    """Table 2: the means of Tables 6 and 7, of those whose data are given, over the classes that are run.

    Raises:
        DataError, MissingExtraError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    table, wanted = PublishedTable.of("table2"), dict[str, Request]()
    known = [*table.rows, *dict.fromkeys(row for name in SETS for row in PublishedTable.of(name).rows)]
    rows = pick(request.rows, known, "row") if request.rows else []
    for place in request.data:  # all are looked at before anything is run
        present = set(classes.labeled(place, progress).classes)
        name = next((n for n in SETS if set(PublishedTable.of(n).rows) == present), None)
        if name is None:
            raise DataError(f"{place}: is neither MNIST nor CIFAR-10; its classes are {', '.join(sorted(present))}")
        own = tuple(row for row in rows if row in present and SETS[name] not in rows)
        if own or not rows or SETS[name] in rows:
            wanted[name] = replace(request, data=(place,), rows=own)
    if not wanted:
        raise DataError(f"{', '.join(request.rows)}: there is no such row in the data given")
    runs = {name: reproduce_table(name, of_set, progress) for name, of_set in wanted.items()}
    return TableRun(
        _of_parts(table, {SETS[name]: run.whole for name, run in runs.items()}),
        _of_parts(table, {SETS[name]: run.asked for name, run in runs.items()}),
    )


def _of_parts(table: PublishedTable, parts: Mapping[str, Reproduction]) -> Reproduction:
    cells, remarks = dict[str, dict[str, Cell]](), list[str]()
    columns = [column for column in table.columns if any(column in part.columns for part in parts.values())]
    for row, part in parts.items():
        means, of_classes = part.means(), dict[tuple[str, ...], list[str]]()
        cells[row] = {column: table.cell(row, column, {}) for column in columns}
        for column in part.columns:
            ran = tuple(name for name, own in part.cells.items() if own[column].measured)
            if ran and len(ran) < len(part.table.rows):
                of_classes.setdefault(ran, []).append(column)
                cells[row][column] = means[column]
            else:  # the paper's own mean
                cells[row][column] = replace(means[column], published=table.figure(row, column))
        for ran, of_columns in of_classes.items():
            where = row if len(of_classes) == 1 else f"{row}, {', '.join(of_columns)}"
            remarks.append(f"{where}: here and in the paper's figures only the classes {', '.join(ran)}.")
        remarks += [remark for remark in part.remarks if remark not in remarks]
    every = list(parts.values())
    return Reproduction(
        table,
        columns,
        cells,
        list(dict.fromkeys(line for part in every for line in part.header)),
        {column: settings for part in every for column, settings in part.settings.items()},
        remarks,
        [failure for part in every for failure in part.failures],
    )
