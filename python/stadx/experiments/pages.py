"""The HTML pages of `stadx reproduce`: a table beside the paper's, or a figure, and all that explains it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from stadx.evaluation.report.page import data_uri, settings_list, write_page

from .tables.published_tables import Cell, Reproduction

_STYLE = """
td.cell { line-height: 1.3; } td.cell small { display: block; color: var(--soft); }
img.wide { max-width: 100%; display: block; border-radius: 6px; }
figure { margin: 0 0 .9rem; } figcaption { margin-top: .4rem; }
"""


def write_table_page(path: Path, result: Reproduction, pictures: Mapping[str, Path]) -> None:
    """Write a table with the paper's figures, differences and spread, and pictures by caption, where they are there.

    Raises:
        OutputError: `path` cannot be written.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in result.columns)
    rows = [f"<tr><td>{escape(row)}</td>{''.join(map(_cell, cells))}</tr>" for row, cells in result.rows().items()]
    shown = [picture(file, caption) for caption, file in pictures.items() if file.exists()]
    parts = [
        f"<h1>{escape(result.table.title)}</h1>",
        f'<p class="soft">{escape(result.table.metric)}: measured here; below it the paper\'s figure and the '
        "difference.</p>",
        *_lines(result.header),
        f'<div class="card scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}'
        "</tbody></table></div>",
        *(f'<p class="note">{escape(note)}</p>' for note in result.notes()),
        *(settings_list(f"Settings: {column}", s.items()) for column, s in result.settings.items()),
        "<h2>Found worst and best</h2>" if shown else "",
        *shown,
        f"<footer>{escape(result.table.source)}</footer>",
    ]
    write_page(path, result.table.title, parts, _STYLE)


def write_figure_page(
    path: Path, title: str, caption: str, header: Sequence[str], parts: Iterable[str], settings: Mapping[str, object]
) -> None:
    """Write a page of pictures and tables, given as HTML.

    Raises:
        OutputError: `path` cannot be written.
    """
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(caption)}</p>", *_lines(header), *parts]
    write_page(path, title, [*body, settings_list("Settings", settings.items())], _STYLE)


def picture(file: Path, caption: str) -> str:
    """A PNG file as a card of the page."""
    text = escape(caption)
    image = f'<img class="wide" src="{data_uri(file.read_bytes())}" alt="{text}">'
    return f'<figure class="card">{image}<figcaption>{text}</figcaption></figure>'


def plain_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Cells as they are: numbers with three digits, nothing as a dash."""
    first = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ["".join(f"<td>{escape(_text(value))}</td>" for value in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="card scroll"><table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _lines(lines: Iterable[str]) -> list[str]:
    return [f'<p class="soft">{escape(line)}</p>' for line in lines]


def _cell(cell: Cell) -> str:
    ours, beside = cell.texts()
    figure, _, spread = ours.partition(" ")
    published, _, difference = beside.partition(", ")
    below = escape(published)
    if cell.difference is not None:
        side = "under" if cell.difference >= 0 else "over"  # the style's green and red
        below += f' <span class="{side}">{difference}</span>'
    figure = figure if cell.ours is None else f"<b>{figure}</b>"
    return f'<td class="cell">{figure}{f" {spread}" if spread else ""}<small>{below}</small></td>'
