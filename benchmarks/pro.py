"""AU-PRO and region labels beside other packages: time, value, memory. Run `python benchmarks/pro.py --help`."""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memory import peak_of
from pro_goals import reached
from pro_peers import LABELERS, Masks, adeval_binned, definition, label_masks, labelers, make_set, torch_sort
from run import WIDTH, JsonFile, Rounds, Threads, _machine, chosen_sections, quick_option, sections_option
from sections import Case
from spro import cut_up
from stadx import ops
from stadx.cli.console import ShownProgress, reported, say
from stadx.core.files import check_writable
from stadx.core.progress import Progress
from stadx.metrics import FPR_LIMIT, au_pro, au_spro
from table import Row, rows
from timing import Competitor, Result, interleaved

PAUSE = 0.05  # seconds between runs: idle threads of one package spin for a while and would slow the next
HERE = Path(__file__).resolve().parent
SECTIONS = ("au_pro", "labels", "memory", "growth", "spro")
AU_PRO = {"stadx": au_pro, "definition": definition, "torch sort": torch_sort, "adeval, 1,000 bins": adeval_binned}
KINDS = ("stadx", "peer", "peer", "bound")  # what only approximates does less than the others must, so it is no peer
BATCH = 16  # masks of the second half of the labels' cases
GROWTH = (40, 100, 200, 400)  # maps
PIECE = 20  # maps of one update
REGIONS = 200  # masks of regions of the sPRO section, about
LEGENDS = {
    "au_pro": "ms: median of interleaved rounds. × stadx: time over that of stadx; worst: of a round. "
    "− definition: of the value.",
    "labels": "Milliseconds, medians of interleaved rounds. best peer: time of the fastest of them over that of stadx.",
    "memory": "Most resident memory during one call in a new process, above what was resident with the inputs made.",
    "growth": f"ProEvaluator, {PIECE} maps an update: the time of update, compute and au_pro, without making the maps.",
    "goals": "Ratios of the figures above: the lowest of several cases where more is better, else the highest.",
    "spro": "Medians of interleaved rounds: masks of regions, each saturated at half its area, beside masks of images.",
}
Figures = list[dict[str, object]]


def main(
    maps: Annotated[
        int, typer.Option(min=1, help="Maps of the sections au_pro (also half as many), memory, spro.")
    ] = 40,
    side: Annotated[int, typer.Option(min=16, help="Side of every map and mask in pixels.")] = 1024,
    rounds: Rounds = 3,
    only: Annotated[str, sections_option(SECTIONS)] = ",".join(SECTIONS),
    quick: Annotated[bool, quick_option("Seconds: 4 maps of 64 x 64, two rounds")] = False,
    out: JsonFile = None,
    threads: Threads = 2,
) -> None:
    """Compare AU-PRO and region labels with other packages, taking turns.

    The peers sort all pixels: 40 maps of 1024 x 1024 take them minutes and 3.5 GB.
    """
    wanted = chosen_sections(only, SECTIONS)
    if out is not None:
        check_writable(out)
    maps, side, rounds = (4, 64, 2) if quick else (maps, side, rounds)
    _set_threads(threads)
    machine = _machine(threads, rounds)
    cases: dict[str, Callable[[Progress], tuple[Table, Figures]]] = {
        "au_pro": partial(au_pro_section, (max(1, maps // 2), maps), side, rounds),
        "labels": partial(labels_section, side, rounds),
        "memory": partial(memory_section, maps, side, threads),
        "growth": partial(growth_section, tuple(n // 10 for n in GROWTH) if quick else GROWTH, side, rounds),
        "spro": partial(spro_section, maps, side, rounds),
    }
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(Text(", ".join(f"{name} {value}" for name, value in machine.items())))
    found: dict[str, Any] = {"machine": machine}
    for name in SECTIONS:
        if name in wanted:
            with ShownProgress() as progress:
                table, found[name] = cases[name](progress)
            console.print(table)
            if out is not None:  # now, lest a later section lose what took minutes
                out.write_text(json.dumps(found, indent=2) + "\n")
    if goals := reached(found):
        table = _table("goals", "Goals", ("measured", "goal", ""), "ratio")
        for goal in goals:
            table.add_row(goal.name, f"{goal.ratio:.2f}", goal.wanted, "met" if goal.met else "missed")
        console.print(table)
    if out is not None:
        say(f"Figures: {out}")


def au_pro_section(sizes: Sequence[int], side: int, rounds: int, progress: Progress) -> tuple[Table, Figures]:
    """Time and value of AU-PRO@0.3."""
    table = _table(
        "au_pro", f"AU-PRO@0.3, {side} x {side}", ("ms", "× stadx", "worst", "AU-PRO", "− definition", "note")
    )
    figures: Figures = []
    for maps in sizes:
        table.add_row(Text(f"{maps} maps", style="bold"))
        figures += _au_pro_rows(maps, side, rounds, progress, table)
    return table, figures


def _au_pro_rows(maps: int, side: int, rounds: int, progress: Progress, table: Table) -> Figures:
    inputs = make_set(maps, side)
    values: dict[str, float] = {}

    def run(name: str) -> None:
        values[name] = AU_PRO[name](*inputs)

    who = [Competitor(name, partial(run, name), kind) for name, kind in zip(AU_PRO, KINDS, strict=True)]
    figures: Figures = []
    case = Case("au_pro", f"{maps} maps", who)
    results = _results(case, rounds, progress)
    for row, result in zip(rows(case, results, None), results, strict=True):
        value, exact = values.get(row.name), values.get("definition")
        minus = None if value is None or exact is None else value - exact
        worst = min(
            (theirs / ours for theirs, ours in zip(result.seconds, results[0].seconds, strict=False)), default=None
        )
        figures.append({**asdict(row), "value": value, "minus_definition": minus, "worst_round": worst})
        cells = (_figure(row.milliseconds, ".1f"), _figure(row.to_stadx, ".2f"), _figure(worst, ".2f"))
        table.add_row(row.name, *cells, _figure(value, ".6f"), _figure(minus, "+.1e"), Text(row.note))
    return figures


def labels_section(side: int, rounds: int, progress: Progress) -> tuple[Table, Figures]:
    """Time of labelling, mask by mask and for a batch."""
    names = ("stadx", *LABELERS)
    table = _table("labels", f"Regions, 8-connected, {side} x {side}", (*names, "best peer"), "mask")
    figures: Figures = []
    for case in _label_cases(side):
        results = _rows(case, rounds, progress)
        times = {row.name: row.milliseconds for row in results}
        cells = [_figure(times.get(name), ".3f") for name in names]
        table.add_row(case.name, *cells, _figure(results[0].best_peer, ".2f"))
        figures += [asdict(row) for row in results]
    return table, figures


def _label_cases(side: int) -> Iterator[Case]:
    batches = {name: mask[None] for name, mask in label_masks(side).items()}
    cases = chain(batches.items(), ((f"{name}, batch of {BATCH}", _moved(m[0])) for name, m in batches.items()))
    for name, masks in cases:
        who = [Competitor("stadx", partial(ops.label_regions, torch.from_numpy(masks)), "stadx")]
        # a list, so that all labels exist at the end, as those of stadx do
        who += [Competitor(peer, lambda f=label, m=masks: [*map(f, m)]) for peer, label in labelers().items()]
        yield Case("labels", name, who)


def _moved(mask: Masks) -> Masks:
    return np.stack([np.roll(mask, 61 * i, (0, 1)) for i in range(BATCH)])


def memory_section(maps: int, side: int, threads: int, progress: Progress) -> tuple[Table, Figures]:
    """Peak memory of one call of AU-PRO."""
    table = _table("memory", f"Memory, {maps} maps, {side} x {side}", ("MB", "of the inputs", "note"))
    figures: Figures = []
    for done, name in enumerate(AU_PRO, 1):
        # a new process: what others have freed would hide what this one needs
        code = f"from pro import peak_of_call; print(*peak_of_call({name!r}, {maps}, {side}, {threads}))"
        ended = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True)
        if ended.returncode:  # killed ones leave no message
            note = f"skipped: {(ended.stderr.splitlines() or [f'exit code {ended.returncode}'])[-1]}"
            figures.append({"name": name, "bytes": None, "share": None, "note": note})
            table.add_row(name, "", "", Text(note))
        else:
            peak, inputs = map(int, ended.stdout.split())
            figures.append({"name": name, "bytes": peak, "share": peak / inputs, "note": ""})
            table.add_row(name, f"{peak / 1e6:.1f}", f"{peak / inputs:.1%}", "")
        progress("memory", done, len(AU_PRO), {})
    return table, figures


def peak_of_call(name: str, maps: int, side: int, threads: int) -> tuple[int, int]:
    """Bytes at the peak of one call above those before it, and bytes of its inputs."""
    _set_threads(threads)
    call = AU_PRO[name]
    call(*make_set(4, 64))  # loads what is loaded with a first call
    inputs = make_set(maps, side)
    gc.collect()
    if sys.platform == "linux":  # glibc: freed memory that it keeps would hide as much of the call's
        ctypes.CDLL(None).malloc_trim(0)
    _, peak = peak_of(lambda: call(*inputs))
    return peak, sum(array.nbytes for array in inputs)


def growth_section(sizes: Sequence[int], side: int, rounds: int, progress: Progress) -> tuple[Table, Figures]:
    """Time per map of a set that comes piece by piece."""
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    done, value = count(1), dict.fromkeys(sizes, 0.0)
    _streamed(4, side)  # to warm up
    for _ in range(rounds):
        for size in sizes:
            spent, value[size] = _streamed(size, side)
            seconds[size].append(spent)
            progress("growth", next(done), rounds * len(sizes), {})
    table = _table("growth", f"A set that grows, {side} x {side}", ("ms", "ms a map", "AU-PRO"), "maps")
    figures: Figures = []
    for size in sizes:
        ms = 1e3 * statistics.median(seconds[size])
        figures.append({"maps": size, "milliseconds": ms, "milliseconds_per_map": ms / size, "value": value[size]})
        table.add_row(str(size), f"{ms:.1f}", f"{ms / size:.3f}", f"{value[size]:.6f}")
    return table, figures


def _streamed(size: int, side: int) -> tuple[float, float]:
    """Seconds without making the maps, and AU-PRO@0.3."""
    from stadx.metrics import ProEvaluator

    evaluator, seconds = ProEvaluator(), 0.0
    for first in range(0, size, PIECE):
        maps, masks = make_set(min(PIECE, size - first), side, seed=first)
        start = time.perf_counter()
        evaluator.update(maps, masks)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    value = evaluator.compute(fpr_limit=0.3).au_pro(0.3)
    return seconds + time.perf_counter() - start, value


def spro_section(maps: int, side: int, rounds: int, progress: Progress) -> tuple[Table, Figures]:
    """Time of exact sPRO beside that of PRO."""
    given, masks = make_set(maps, side)
    regions, saturation = cut_up(masks, REGIONS)
    who = [
        Competitor("AU-sPRO", partial(au_spro, given, regions, saturation, fpr_limits=[FPR_LIMIT]), "stadx"),
        Competitor("AU-PRO", partial(au_pro, given, masks), "peer"),
    ]
    table = _table("spro", f"AU-sPRO@0.3, {maps} maps, {sum(map(len, regions))} regions", ("ms", "sPRO / this"))
    figures: Figures = []
    for row in _rows(Case("spro", f"{maps} maps", who), rounds, progress):
        figures.append(asdict(row))
        ratio = None if row.to_stadx is None else 1 / row.to_stadx
        table.add_row(row.name, _figure(row.milliseconds, ".1f"), _figure(ratio, ".2f"))
    return table, figures


def _rows(case: Case, rounds: int, progress: Progress) -> list[Row]:
    return rows(case, _results(case, rounds, progress), None)


def _results(case: Case, rounds: int, progress: Progress) -> list[Result]:
    gc.collect()
    total, done = (rounds + 1) * len(case.competitors), count(1)

    def tick(_: str) -> None:
        progress(case.name, next(done), total, {})
        time.sleep(PAUSE)

    return interleaved(case.competitors, rounds, tick)


def _set_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(threads)


def _table(section: str, title: str, headings: Sequence[str], first: str = "who") -> Table:
    caption = Text(LEGENDS[section])
    table = Table(title=Text(title), caption=caption, title_justify="left", caption_justify="left")
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "note" else "right", no_wrap=heading != "note")
    return table


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command(epilog="Example: [bold]python benchmarks/pro.py --only au_pro,labels --json figures.json[/bold]")(
    reported()(main)
)

if __name__ == "__main__":
    app()
