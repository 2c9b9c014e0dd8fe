"""The paper's printed tables, beside what was measured here: Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from statistics import mean

TABLES = ("table1", "table2", "table3", "table6", "table7")


@dataclass(frozen=True)
class PublishedTable:
    """A table as the paper prints it; the files are in the folder `published`.

    Attributes:
        title, metric, source: what it is.
        columns: the systems.
        rows: by category or class, the figure of every system.
        mean: the last row as printed; empty where there is none.
        notes: slips, and what columns mean.
    """

    title: str
    source: str
    metric: str
    columns: list[str]
    rows: dict[str, list[float]]
    mean: list[float]
    notes: list[str]

    @staticmethod
    def of(name: str) -> PublishedTable:
        """Read one of `TABLES`."""
        text = files(__package__).joinpath("published").joinpath(f"{name}.json").read_text("utf-8")
        return PublishedTable(**json.loads(text))

    def figure(self, row: str, column: str) -> float | None:
        """What the paper prints; None for a row that it does not have."""
        return self.rows[row][self.columns.index(column)] if row in self.rows else None


@dataclass(frozen=True)
class Cell:
    """A figure of the paper, and the same measured here with some seeds."""

    published: float | None
    measured: tuple[float, ...] = ()

    @property
    def ours(self) -> float | None:
        return mean(self.measured) if self.measured else None

    @property
    def spread(self) -> float | None:
        """Largest less smallest; None for one seed."""
        return max(self.measured) - min(self.measured) if len(self.measured) > 1 else None

    @property
    def difference(self) -> float | None:
        return None if self.ours is None or self.published is None else self.ours - self.published

    def text(self) -> str:
        """Ours with half the spread, then the paper's and the difference in brackets."""
        if self.ours is None:
            return "–" if self.published is None else f"– ({self.published:.3f})"
        spread = "" if self.spread is None else f" ± {self.spread / 2:.3f}"
        beside = "" if self.published is None else f" ({self.published:.3f}, {self.difference:+.3f})"
        return f"{self.ours:.3f}{spread}{beside}"


@dataclass(frozen=True)
class Reproduction:
    """A table reproduced as far as data and time went.

    Attributes:
        table: the paper's.
        columns: those that were run, and others of which the paper's figures are shown alone.
        measured: by row, then column: a figure for every seed.
        header: budget, data and versions, a line each.
        settings: all settings of every column that was run.
    """

    table: PublishedTable
    columns: Sequence[str]
    measured: Mapping[str, Mapping[str, tuple[float, ...]]]
    header: Sequence[str]
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def cells(self) -> dict[str, list[Cell]]:
        """Rows that were run, and their mean, against the paper's mean over the same rows."""
        found = {
            row: [Cell(self.table.figure(row, c), figures.get(c, ())) for c in self.columns]
            for row, figures in self.measured.items()
        }
        means = []
        for i in range(len(self.columns)):
            printed = [cells[i] for cells in found.values() if cells[i].published is not None]
            both = [c for c in printed if c.measured]
            seeds = min((len(c.measured) for c in both), default=0)
            per_seed = tuple(mean(c.measured[s] for c in both) for s in range(seeds))
            published = [c.published for c in both or printed if c.published is not None]
            means.append(Cell(mean(published) if published else None, per_seed))
        return {**found, "mean of these rows": means} if self.table.mean and len(found) > 1 else found

    def markdown(self) -> str:
        """Ours, then the paper's figure and the difference in brackets."""
        lines = [f"**{self.table.title}**, {self.table.metric}: here (paper, difference)", "", *self.header, ""]
        lines += ["| | " + " | ".join(self.columns) + " |", "|---" * (len(self.columns) + 1) + "|"]
        for row, cells in self.cells().items():
            lines.append(f"| {row} | " + " | ".join(c.text() for c in cells) + " |")
        return "\n".join([*lines, "", *self.table.notes]) + "\n"

    def csv(self) -> str:
        """One line for every figure."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["row", "system", "paper", "here", "difference", "spread of seeds", "seeds"])
        for row, cells in self.cells().items():
            for column, c in zip(self.columns, cells, strict=True):
                figures = (c.published, c.ours, c.difference, c.spread)
                writer.writerow([row, column, *("" if f is None else f"{f:.4f}" for f in figures), len(c.measured)])
        return out.getvalue()

    def latex(self) -> str:
        """A tabular for booktabs: ours, the paper's in brackets."""
        lines = [f"% {self.table.source}", *(f"% {line}" for line in self.header)]
        lines += [f"\\begin{{tabular}}{{l{'c' * len(self.columns)}}}", "\\toprule"]
        lines += [" & ".join(["", *map(_tex, self.columns)]) + " \\\\", "\\midrule"]
        for row, cells in self.cells().items():
            figures = [f"{_three(c.ours)} ({_three(c.published)})" for c in cells]
            lines.append(" & ".join([_tex(row), *figures]) + " \\\\")
        return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _three(figure: float | None) -> str:
    return "--" if figure is None else f"{figure:.3f}"


def _tex(text: str) -> str:
    return text.replace("_", "\\_").replace("ℓ2", "$\\ell_2$").replace("λ", "$\\lambda$")
