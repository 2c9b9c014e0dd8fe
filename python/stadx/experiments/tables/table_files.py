"""A reproduced table as Markdown, CSV and LaTeX, each with all that explains it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from .published_tables import Reproduction

_TEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "|": "\\textbar{}"},
        **{"±": "$\\pm$", "×": "$\\times$", "†": "$\\dagger$", "–": "--", "−": "$-$", "ℓ": "$\\ell$"},
        **{"λ": "$\\lambda$", "σ": "$\\sigma$", "µ": "$\\mu$", "γ": "$\\gamma$"},
    }
)


def settings_lines(settings: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The settings of each system on a line, as JSON."""
    return [
        f"Settings of {column}: {json.dumps(dict(own), ensure_ascii=False, default=str)}"
        for column, own in settings.items()
    ]


def provenance(result: Reproduction) -> list[str]:
    """Title, header, notes and settings, a line each: what every file holds beside the figures."""
    title = f"{result.table.title}: {result.table.metric}; here (paper, difference)"
    return [title, result.table.source, *result.header, *result.notes(), *settings_lines(result.settings)]


def markdown(result: Reproduction) -> str:
    """Ours, then the paper's figure and the difference in brackets."""
    title, source, *_ = provenance(result)
    lines = [f"**{title}**", "", f"{source}.", "", *_list(result.header)]
    lines += ["| | " + " | ".join(map(_cell, result.columns)) + " |", "|---" * (len(result.columns) + 1) + "|"]
    for row, cells in result.rows().items():
        lines.append(f"| {_cell(row)} | " + " | ".join(cell.text() for cell in cells) + " |")
    lines += ["", *_list(result.notes()), *_list(settings_lines(result.settings))]
    return "\n".join(lines).rstrip() + "\n"


def to_csv(result: Reproduction) -> str:
    """One line for every figure, after lines of comment that begin with #."""
    out = io.StringIO()
    out.writelines(f"# {' '.join(line.split())}\n" for line in provenance(result))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "system", "paper", "here", "difference", "standard deviation", "seeds", "by seed", "slip"])
    for row, cells in result.rows().items():
        for column, c in zip(result.columns, cells, strict=True):
            figures = ["" if f is None else f"{f:.4f}" for f in (c.published, c.ours, c.difference, c.spread)]
            if c.ours is None and c.failed:
                figures[1] = "failed"
            by_seed = "; ".join(f"{seed}: {figure:.6f}" for seed, figure in c.measured.items())
            writer.writerow([row, column, *figures, len(c.measured), by_seed, "yes" if c.slip else ""])
    return out.getvalue()


def latex(result: Reproduction) -> str:
    """A tabular for booktabs: ours, the paper's and the difference in brackets; notes below, the rest as comments."""
    lines = [f"% {' '.join(line.split())}" for line in provenance(result)]
    lines += [f"\\begin{{tabular}}{{l{'c' * len(result.columns)}}}", "\\toprule"]
    lines += [" & ".join(["", *map(_tex, result.columns)]) + " \\\\", "\\midrule"]
    for row, cells in result.rows().items():
        figures = [_tex(cell.text().replace("-", "−")) for cell in cells]
        lines.append(" & ".join([_tex(row), *figures]) + " \\\\")
    notes = [f"\\par{{\\footnotesize {_tex(note)}}}" for note in result.notes()]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", *notes]) + "\n"


def _list(lines: Sequence[str]) -> list[str]:
    """A list in Markdown, and an empty line after it."""
    return [*(f"- {line}" for line in lines), ""] if lines else []


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _tex(text: str) -> str:
    return text.translate(_TEX).replace("$\\ell$2", "$\\ell_2$")
