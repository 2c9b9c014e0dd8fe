"""From times to the table and its JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table
from rich.text import Text

from sections import Case, Peak
from timing import Result

UNITS = {"dense": "GFLOP/s", "score": "GB/s"}
LEGEND = (
    "ms: median of interleaved rounds. × stadx: time over that of the case's first stadx row. best peer: time of the "
    "fastest plain PyTorch over this row's. rate: operations of direct dense convolutions, or bytes read, over time. "
    "of peak: of the larger float32 rate."
)


@dataclass
class Row:
    """One competitor of one case; None where a figure does not exist."""

    section: str
    case: str
    name: str
    kind: str
    milliseconds: float | None
    to_stadx: float | None  # its time over that of the first stadx row
    best_peer: float | None  # of stadx rows: time of the fastest peer over its own
    rate: float | None  # in units of 1e9 per second
    of_peak: float | None
    note: str


def rows(case: Case, results: Sequence[Result], peak: Peak | None) -> list[Row]:
    """The figures of one case."""
    ours = next((r.median for r in results if r.competitor.kind == "stadx" and r.median is not None), None)
    best = min((r.median for r in results if r.competitor.kind == "peer" and r.median is not None), default=None)
    found = []
    for result in results:
        who, median = result.competitor, result.median
        rate = who.work / median if median and who.work else None
        found.append(
            Row(
                section=case.section,
                case=case.name,
                name=who.name,
                kind=who.kind,
                milliseconds=None if median is None else 1e3 * median,
                to_stadx=median / ours if median and ours else None,
                best_peer=best / median if best and median and who.kind == "stadx" else None,
                rate=rate,
                of_peak=rate / peak.best if rate and peak and case.section == "dense" else None,
                note=who.note if result.skip is None else f"skipped: {result.skip}",
            )
        )
    return found


def ratio_table(found: Sequence[Row], machine: Mapping[str, object], peak: Peak | None) -> Table:
    """All cases in one table, with the machine above and the legend below."""
    caption = LEGEND
    if peak is not None:
        caption += f" float32: convolution {peak.convolution:.0f}, matmul {peak.matmul:.0f} GFLOP/s."
    title = ", ".join(f"{name} {value}" for name, value in machine.items())
    table = Table(title=Text(title), caption=Text(caption), title_justify="left", caption_justify="left")
    table.add_column("who")
    for heading in ("ms", "× stadx", "best peer", "rate", "of peak"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note")
    case = None
    for row in found:
        if row.case != case:
            table.add_section()
            table.add_row(Text(row.case, style="bold"))
            case = row.case
        rate = "" if row.rate is None else f"{row.rate:.0f} {UNITS[row.section]}"
        table.add_row(
            Text(f"  {row.name}"),
            _figure(row.milliseconds, ".3f" if (row.milliseconds or 0) < 10 else ".1f"),
            _figure(row.to_stadx, ".2f"),
            _figure(row.best_peer, ".2f"),
            rate,
            _figure(row.of_peak, ".0%"),
            Text(row.note),
            style="bold" if row.kind == "stadx" else None,
        )
    return table


def report(found: Sequence[Row], machine: Mapping[str, object], peak: Peak | None) -> dict[str, object]:
    """The same as what JSON can hold."""
    figures = None if peak is None else {**asdict(peak), "best": peak.best, "unit": "GFLOP/s"}
    return {"machine": dict(machine), "peak": figures, "medians": [asdict(row) for row in found]}


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
