"""A reproduced table as text of every kind: figures, means, spread, slips, and what explains them."""

from __future__ import annotations

import csv
import io
import json
from statistics import stdev

import pytest
from rich.console import Console

from stadx.cli.tables import show_reproduction
from stadx.experiments.tables.published_tables import Cell, PublishedTable, Reproduction
from stadx.experiments.tables.table_files import latex, markdown, to_csv


def made(
    name: str, measured: dict[str, dict[str, dict[int, float]]], columns: list[str], **more: object
) -> Reproduction:
    table = PublishedTable.of(name)
    cells = {row: {c: table.cell(row, c, own.get(c, {})) for c in columns} for row, own in measured.items()}
    header = ["Here: little.", "SHA-256: Bottle abc."]
    return Reproduction(table, columns, cells, header, {columns[0]: {"steps": 7, "of_data": "5 %"}}, **more)


TABLE3 = made(
    "table3",
    {"Bottle": {"p = 17": {0: 0.85, 1: 0.87}, "p = 33": {0: 0.9}}, "Own_set": {"p = 17": {0: 0.5, 1: 0.52}}},
    ["p = 17", "p = 33", "p = 65"],
)
EXPLAINED = ("Here: little.", "SHA-256: Bottle abc.", "standard deviation over the seeds", '"steps": 7')


def lines_of(text: str, comment: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(comment))


def test_markdown() -> None:
    text = markdown(TABLE3)
    assert stdev([0.85, 0.87]) == pytest.approx(0.014142, abs=1e-6)
    assert "| Bottle | 0.860 ± 0.014 (0.814, +0.046) | 0.900 (0.890, +0.010) | – (0.918) |" in text
    assert "| Own_set | 0.510 ± 0.014 | – | – |" in text
    assert all(part in text for part in EXPLAINED)


def test_csv_has_every_seed() -> None:
    text = to_csv(TABLE3)
    rows = list(csv.DictReader(lines_of(text, "#").splitlines()))
    assert rows[0] == {
        "row": "Bottle",
        "system": "p = 17",
        "paper": "0.8140",
        "here": "0.8600",
        "difference": "0.0460",
        "standard deviation": "0.0141",
        "seeds": "2",
        "by seed": "0: 0.850000; 1: 0.870000",
        "slip": "",
    }
    assert rows[3]["paper"] == rows[3]["difference"] == "" and rows[3]["here"] == "0.5100"
    assert all(part in text for part in EXPLAINED)


def test_latex_escapes_what_tex_would_read() -> None:
    text = latex(TABLE3)
    assert "Bottle & 0.860 $\\pm$ 0.014 (0.814, +0.046) & 0.900 (0.890, +0.010) & -- (0.918) \\\\" in text
    assert "Own\\_set & 0.510 $\\pm$ 0.014 & -- & -- \\\\" in text
    assert all(part in text for part in EXPLAINED)
    odd = made("table3", {"50% of {A&B}^2 #1 ~\\$": {"p = 17": {0: 0.1}}}, ["p = 17"])
    assert "50\\% of \\{A\\&B\\}\\textasciicircum{}2 \\#1 \\textasciitilde{}\\textbackslash{}\\$ & 0.100" in latex(odd)


def test_the_mean_compares_rows_that_both_have() -> None:
    mean = TABLE3.means()["p = 17"]
    assert (mean.ours, mean.published) == (pytest.approx(0.685), 0.814)
    assert mean.difference == pytest.approx(0.86 - 0.814)  # bottle alone, of which the paper has a figure
    assert mean.spread == pytest.approx(stdev([0.675, 0.695]))
    assert any("over those that both have" in note for note in TABLE3.notes())
    assert TABLE3.means()["p = 33"].published == 0.89 and TABLE3.means()["p = 65"] == Cell(0.918)
    own = made("table3", {"A": {"p = 17": {0: 0.2}}, "B": {"p = 17": {0: 0.4}}}, ["p = 17"])
    assert "| mean of these rows | 0.300 |" in markdown(own)
    some = made("table3", {"Bottle": {"p = 17": {0: 0.2}}, "Cable": {"p = 17": {0: 0.4, 1: 0.8}}}, ["p = 17"])
    assert some.means()["p = 17"].measured == {0: pytest.approx(0.3)}  # the seed that both have


def test_slips_of_the_paper_are_marked_and_compared_with_nothing() -> None:
    rows = {row: {"1-NN": {0: 0.8}, "VAE": {0: 0.6}} for row in ("Carpet", "Bottle")}
    result = made("table1", rows, ["1-NN", "VAE"])
    carpet = result.cells["Carpet"]["1-NN"]
    assert (carpet.text(), carpet.difference) == ("0.800 (0.512†)", None)
    assert result.cells["Carpet"]["VAE"].difference == pytest.approx(0.6 - 0.501)
    mean = result.means()["1-NN"]
    assert (mean.ours, mean.published, mean.difference) == (pytest.approx(0.8), 0.898, pytest.approx(0.8 - 0.898))
    slips = PublishedTable.of("table1").slips
    assert {(row, column) for row, columns in slips.items() for column in columns} == {
        (row, column) for row in ("Carpet", "Zipper") for column in ("1-NN", "OC-SVM", "K-Means")
    }
    assert "0.800 (0.512$\\dagger$)" in latex(result) and "\\par{\\footnotesize $\\dagger$ Carpet and Zipper" in latex(
        result
    )
    assert "Carpet,1-NN,0.5120,0.8000,,,1,0: 0.800000,yes" in to_csv(result)
    for text in (markdown(result), latex(result), to_csv(result)):
        assert "a slip, no target" in text


def test_failures_are_shown_and_explained() -> None:
    table = PublishedTable.of("table3")
    cells = {"Bottle": {"p = 17": table.cell("Bottle", "p = 17", {}, failed=True)}}
    result = Reproduction(table, ["p = 17"], cells, [], failures=["Bottle, p = 17, seed 0: failed: no defects"])
    assert "| Bottle | failed (0.814) |" in markdown(result) and "seed 0: failed: no defects" in markdown(result)
    assert "Bottle,p = 17,0.8140,failed,,,0,," in to_csv(result)


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_no_figure_is_cut_off_in_a_terminal(width: int) -> None:
    table = PublishedTable.of("table1")
    figures = {c: {0: 0.9 - i / 10, 1: 0.91 - i / 10} for i, c in enumerate(table.columns)}
    result = made("table1", {"Bottle": figures, "Own set": figures}, table.columns)
    out = io.StringIO()
    show_reproduction(result, Console(file=out, force_terminal=True, width=width, color_system=None))
    shown = out.getvalue()
    drawn = [line for line in shown.splitlines() if "│" in line or "┃" in line]
    assert "…" not in shown and max(map(len, drawn)) <= width
    for cells in result.rows().values():
        for cell in cells:
            assert all(part.strip("()") in "\n".join(drawn) for part in cell.text().split(" ("))
    assert all(part in shown for part in EXPLAINED[:3])


def test_a_file_has_the_whole_table_and_what_explains_it() -> None:
    result = made("table1", {"Bottle": {c: {0: 0.5} for c in PublishedTable.of("table1").columns}}, TABLE1)
    out = io.StringIO()
    show_reproduction(result, Console(file=out, width=80))
    rows = [line for line in out.getvalue().splitlines() if "Bottle" in line and "│" in line]
    assert len(rows) == 1 and rows[0].count("0.500") == len(TABLE1)
    assert "Here: little." in out.getvalue() and "a slip, no target" in out.getvalue()


TABLE1 = PublishedTable.of("table1").columns


def test_settings_in_text_are_json() -> None:
    (line,) = (line for line in to_csv(TABLE3).splitlines() if line.startswith("# Settings of p = 17: "))
    assert json.loads(line.partition(": ")[2]) == {"steps": 7, "of_data": "5 %"}
