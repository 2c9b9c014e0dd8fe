"""The paper's printed tables, and beside them what was measured here."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from statistics import mean, stdev

TABLES = ("table1", "table2", "table3", "table6", "table7")
MEAN = "mean of these rows"
_SPREAD = "±: standard deviation over the seeds, of a sample (n − 1)."


@dataclass(frozen=True)
class PublishedTable:
    """A table as the paper prints it; the files are in the folder `published`.

    Attributes:
        title, metric, source: what it is.
        columns: the systems.
        rows: by category or class, the figure of every system.
        mean: the last row as printed; empty where there is none.
        notes: slips, and what columns mean.
        slips: by row, the columns whose printed figures are no target.
    """

    title: str
    source: str
    metric: str
    columns: list[str]
    rows: dict[str, list[float]]
    mean: list[float]
    notes: list[str]
    slips: dict[str, list[str]] = field(default_factory=dict)

    @staticmethod
    def of(name: str) -> PublishedTable:
        """Read one of `TABLES`."""
        text = files(__package__).joinpath("published").joinpath(f"{name}.json").read_text("utf-8")
        return PublishedTable(**json.loads(text))

    def figure(self, row: str, column: str) -> float | None:
        """What the paper prints; None for a row that it does not have."""
        return self.rows[row][self.columns.index(column)] if row in self.rows else None

    def cell(self, row: str, column: str, measured: Mapping[int, float], failed: bool = False) -> Cell:
        """The printed figure, and what was measured by seed."""
        return Cell(self.figure(row, column), measured, failed, column in self.slips.get(row, ()))


@dataclass(frozen=True)
class Cell:
    """A figure of the paper, and the same measured here with some seeds.

    Attributes:
        published: as printed, None where the paper has none.
        measured: ours, by seed.
        failed: whether some seed could not be measured.
        slip: whether the printed figure is an error of the paper.
        compared: of a mean, ours over those rows that the paper has too, where it lacks some.
    """

    published: float | None
    measured: Mapping[int, float] = field(default_factory=dict)
    failed: bool = False
    slip: bool = False
    compared: float | None = None

    @property
    def ours(self) -> float | None:
        return mean(self.measured.values()) if self.measured else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds, of a sample; None for one seed."""
        return stdev(self.measured.values()) if len(self.measured) > 1 else None

    @property
    def difference(self) -> float | None:
        ours = self.ours if self.compared is None else self.compared
        return None if ours is None or self.published is None or self.slip else ours - self.published

    def texts(self) -> tuple[str, str]:
        """Ours with its spread; the paper's, with the difference where there is one, or nothing."""
        beside = "" if self.published is None else f"{self.published:.3f}{'†' if self.slip else ''}"
        if self.difference is not None:
            beside += f", {self.difference:+.3f}"
        if self.ours is None:
            return "failed" if self.failed else "–", beside
        return f"{self.ours:.3f}" + ("" if self.spread is None else f" ± {self.spread:.3f}"), beside

    def text(self) -> str:
        """Both in a line."""
        ours, beside = self.texts()
        return f"{ours} ({beside})" if beside else ours


@dataclass(frozen=True)
class Reproduction:
    """A table reproduced as far as data and time went.

    Attributes:
        table: the paper's.
        columns: those that were run, and others of which the paper's figures are shown alone.
        cells: by row, then column.
        header: budget, data and versions, a line each.
        settings: all settings of every column that was run.
        remarks: what is particular to this run, a line each.
        failures: which figures could not be measured, and why, a line each.
        apart: rows that are measured by another metric; no mean counts them.
    """

    table: PublishedTable
    columns: Sequence[str]
    cells: Mapping[str, Mapping[str, Cell]]
    header: Sequence[str]
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    failures: Sequence[str] = ()
    apart: Collection[str] = ()

    def means(self) -> dict[str, Cell]:
        """By column: the mean of ours over the rows with the table's metric, over the seeds that all of them have.

        The paper's mean and the difference are those of the rows that both have, slips left out.
        """
        counted = [cells for row, cells in self.cells.items() if row not in self.apart]
        return {column: _mean_of([cells[column] for cells in counted]) for column in self.columns}

    def rows(self) -> dict[str, list[Cell]]:
        """Cells by row, in the order of the columns, and their mean where the paper prints one."""
        found = {row: [cells[column] for column in self.columns] for row, cells in self.cells.items()}
        if self.table.mean and len(found) > 1 and not found.keys() <= set(self.apart):
            found[MEAN] = list(self.means().values())
        return found

    def notes(self) -> list[str]:
        """All that explains the figures but header and settings."""
        rows = self.rows()
        notes = [*self.table.notes, *self.remarks, *self.failures]
        if any(cell.spread is not None for cells in rows.values() for cell in cells):
            notes.append(_SPREAD)
        if MEAN in rows and not self._is_whole():
            notes.append(
                f"{MEAN[0].upper()}{MEAN[1:]}: ours over those that were measured, with the seeds that all of them "
                "have; the paper's figure, and the difference, over those that both have, without slips."
                + (" Rows measured by another metric do not count." if self.apart else "")
            )
        return notes

    def _is_whole(self) -> bool:
        """Whether every mean is one over all rows of the table, with all their seeds, here as in the paper."""
        for column in self.columns:
            cells = [row[column] for row in self.cells.values()]
            if len({tuple(sorted(cell.measured)) for cell in cells}) > 1 or any(
                cell.measured and (cell.published is None or cell.slip) for cell in cells
            ):
                return False
        return True


def _mean_of(cells: Sequence[Cell]) -> Cell:
    measured = [cell for cell in cells if cell.measured]
    both = [cell for cell in measured if cell.published is not None and not cell.slip]
    printed = [cell.published for cell in both or cells if cell.published is not None and not cell.slip]
    if measured and not both:  # the paper's mean would be one of other rows
        printed = []
    found = Cell(mean(printed) if printed else None, _mean_by_seed(measured), any(cell.failed for cell in cells))
    if not found.measured or not both or len(both) == len(measured):
        return found
    return replace(found, compared=mean(cell.measured[seed] for cell in both for seed in found.measured))


def _mean_by_seed(cells: Sequence[Cell]) -> dict[int, float]:
    """Over the seeds that all cells have."""
    seeds = sorted(set.intersection(*(set(cell.measured) for cell in cells))) if cells else []
    return {seed: mean(cell.measured[seed] for cell in cells) for seed in seeds}
