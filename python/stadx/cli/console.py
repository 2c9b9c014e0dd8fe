"""What a person sees of a command: progress, tables, and errors without a traceback."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from stadx.core.errors import StadxError

if TYPE_CHECKING:
    import torch

    from stadx.detectors.baselines import Baseline
    from stadx.detectors.student_teacher.detector import Detector
    from stadx.evaluation.of_detector import Evaluation
    from stadx.evaluation.of_maps import MapEvaluation
    from stadx.experiments.tables.published_tables import Reproduction

BAD_INPUT = 2
INTERRUPTED = 130
STOPPED = "stopped"
RESUMABLE = "stopped; run the same command to resume"
SMALLER = "use smaller images or fewer scales"
# Of progress where the output is a file, in which bars make no sense.
_SECONDS_TO_FIRST_LINE = 2.0
_SECONDS_BETWEEN_LINES = 30.0
_AS_WIDE_AS_NEEDED = 10_000  # columns of a file, which has no width
_MOST_BARS = 16  # a terminal shows no more than fit into it, and the first ones

Parameters = ParamSpec("Parameters")


def say(message: str = "") -> None:
    """Print a line about the work on standard error; square brackets are no markup."""
    _errors().print(Text(printable(message)), soft_wrap=True)


def fail(message: str) -> None:
    """Print an error on standard error."""
    _errors().print(Text.assemble(("Error: ", "bold red"), printable(message)), soft_wrap=True)


def show(table: Table) -> None:
    """Print a table on standard output."""
    Console(highlight=False).print(table)


def show_lines(text: str) -> None:
    """Print text on standard output as it is."""
    Console(highlight=False).print(Text(printable(text)), soft_wrap=True)


def printable(text: str) -> str:
    """Replace what UTF-8 cannot hold, as file names may contain it."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _errors() -> Console:
    # Made anew for every line, so that it follows whatever the stream is at that moment.
    return Console(stderr=True, highlight=False)


def reported(
    stopped: str = STOPPED, smaller: str = SMALLER
) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Make a command end with one clear line: 2 after an error a person can mend, 130 after Ctrl-C.

    Errors of the program itself keep their traceback: they are for its authors.

    Args:
        stopped: what is said after Ctrl-C.
        smaller: what to do where memory does not suffice.
    """

    def decorate(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
        @functools.wraps(command)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
            try:
                command(*args, **kwargs)
            except StadxError as error:
                fail(str(error))
                raise typer.Exit(BAD_INPUT) from error
            except MemoryError as error:
                fail(f"out of memory; {smaller}")
                raise typer.Exit(BAD_INPUT) from error
            except RuntimeError as error:
                if "can't allocate memory" not in str(error):  # torch's own way to say MemoryError
                    raise
                fail(f"out of memory; {smaller}")
                raise typer.Exit(BAD_INPUT) from error
            except KeyboardInterrupt as error:
                say(stopped)
                raise typer.Exit(INTERRUPTED) from error

        return run

    return decorate


class ShownProgress:
    """The progress callback as bars with the time left; as a line now and then where no terminal shows them.

    Use as a context manager, and pass the object itself as `progress`.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _errors()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._next_line: dict[str, float] = {}
        self._spoken: set[str] = set()

    def __enter__(self) -> ShownProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        stage = printable(stage)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if not self._console.is_terminal:
            self._line(stage, done, total, shown)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total or None, completed=done, figures=shown)
            self._done[stage] = done
            for task in self._bars.tasks[:-_MOST_BARS]:
                self._bars.update(task.id, visible=not task.finished)
        if done < self._done[stage]:  # the stage begins again with the next image: so does its clock
            self._bars.reset(self._tasks[stage], visible=True)
        self._done[stage] = done
        self._bars.update(self._tasks[stage], completed=done, total=total or None, figures=shown)

    def _line(self, stage: str, done: int, total: int, shown: str) -> None:
        now = time.monotonic()
        if not total:  # tells nothing more until it is done
            self._begun[stage], self._done[stage], self._next_line[stage] = (now, 0), 0, now
            self._spoken.add(stage)
            self._console.print(Text(f"{stage} …"), soft_wrap=True)
            return
        if stage not in self._begun or done < self._done[stage]:  # it begins, or begins again
            self._begun[stage] = now, done
            self._next_line[stage] = max(self._next_line.get(stage, 0.0), now + _SECONDS_TO_FIRST_LINE)
            self._spoken.discard(stage)
        self._done[stage] = done
        due = now >= self._next_line[stage]
        if due or (done >= total and stage in self._spoken):
            self._next_line[stage] = now + _SECONDS_BETWEEN_LINES
            self._spoken.add(stage)
            figures = f"  {shown}" if shown else ""
            self._console.print(Text(f"{stage} {done}/{total}{figures}{self._left(stage, total, now)}"), soft_wrap=True)

    def _left(self, stage: str, total: int, now: float) -> str:
        """ ", 3:20 left": if what is left goes on as what was done since the stage was first told of."""
        (begun, first), done = self._begun[stage], self._done[stage]
        if not first < done < total:
            return ""
        minutes, seconds = divmod(round((now - begun) * (total - done) / (done - first)), 60)
        hours, minutes = divmod(minutes, 60)
        return f", {hours}:{minutes:02}:{seconds:02} left" if hours else f", {minutes}:{seconds:02} left"


def check_device(name: str) -> torch.device:
    """The device that the option --device names."""
    from stadx.core.devices import usable_device

    try:
        return usable_device(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--device") from error


def move(detector: Detector | Baseline, device: str) -> None:
    """Have a detector work where the option --device says."""
    try:
        detector.to(device)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--device") from error


def metrics_table(evaluations: Sequence[Evaluation]) -> Table:
    """The metrics of each category and of its defect types; a dash where one is undefined."""
    table = Table()
    table.add_column("category")
    for heading in ("good", "defect", "image AUROC", "pixel AUROC", "AU-PRO@0.3"):
        table.add_column(heading, justify="right")
    for evaluation in evaluations:
        good = str(sum(image.is_good for image in evaluation.images))
        metrics = (evaluation.image_auroc, evaluation.pixel_auroc, evaluation.au_pro)
        defects = str(int(evaluation.labels.sum()))
        table.add_row(Text(printable(evaluation.name)), good, defects, *map(_figure, metrics), style="bold")
        for name, result in evaluation.per_defect.items():
            metrics = (result.image_auroc, result.pixel_auroc, result.au_pro)
            table.add_row(Text(printable(f"  {name}")), good, str(result.count), *map(_figure, metrics))
        table.add_section()
    return table


def maps_table(evaluation: MapEvaluation) -> Table:
    """The metrics of a set of maps, and what common shortcuts would have reported."""
    first = next(iter(evaluation.au_pro))
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("difference" if evaluation.shortcuts else "", justify="right")
    for limit, value in evaluation.au_pro.items():
        interval = evaluation.interval if limit == first else None
        note = f"{interval.low:.3f} … {interval.high:.3f}" if interval else ""
        table.add_row(f"AU-PRO@{limit:g}", f"{value:.4f}", note, style="bold")
        if limit != first:
            continue
        for name, other in evaluation.shortcuts.items():
            table.add_row(f"  with {name}", f"{other:.4f}", f"{other - value:+.4f}")
        for name, defect in evaluation.per_defect.items():
            if name:
                table.add_row(Text(printable(f"  regions of {name}")), f"{defect:.4f}", "")
    table.add_section()
    figures = {
        "AUPIMO": evaluation.aupimo,
        "image AUROC": evaluation.image_auroc,
        "pixel AUROC": evaluation.pixel_auroc,
        "pixel AUPR": evaluation.pixel_aupr,
        "pixel F1, maximum": evaluation.f1_max,
    }
    for name, figure in figures.items():
        table.add_row(name, "–" if figure is None else f"{figure:.4f}", "")
    table.add_row("threshold of that F1", f"{evaluation.best_threshold:.6g}", "")
    table.add_section()
    for name, count in evaluation.counts.items():
        table.add_row(name, f"{count:,}", "")
    return table


def show_reproduction(result: Reproduction, console: Console | None = None) -> None:
    """Print a table of the paper on standard output: ours, below it the paper's figure and the difference.

    Where a terminal is too narrow there are several tables below one another; no figure is cut off. What explains the
    table follows, and so goes with it into a file.
    """
    console = console or Console(highlight=False)
    console = console if console.is_terminal else Console(file=console.file, width=_AS_WIDE_AS_NEEDED, highlight=False)
    for table in _reproduction_tables(result, console.width):
        console.print(table)
    for line in (result.table.source, *result.header, *result.notes()):
        console.print(Text(printable(line)), soft_wrap=True)


def _reproduction_tables(result: Reproduction, width: int) -> Iterator[Table]:
    """As many tables as it takes for columns as wide as their figures."""
    rows = {printable(row): [c.text().replace(" (", "\n(", 1) for c in cells] for row, cells in result.rows().items()}
    first = min(max(map(cell_len, rows)), max(width // 3, 8))
    widths = [
        max(map(cell_len, [*column.split(), *(line for cells in rows.values() for line in cells[i].splitlines())]))
        for i, column in enumerate(result.columns)
    ]
    start = 0
    while start < len(widths):
        end, used = start + 1, first + 4 + widths[start] + 3
        while end < len(widths) and used + widths[end] + 3 <= width:
            used += widths[end] + 3
            end += 1
        table = Table(title=f"{result.table.title}: {result.table.metric}, here (paper, difference)", show_lines=True)
        table.add_column(width=first, overflow="fold")
        for column, own in zip(result.columns[start:end], widths[start:end], strict=True):
            table.add_column(Text(column), justify="right", width=own, overflow="fold")
        for row, cells in rows.items():
            table.add_row(Text(row), *map(Text, cells[start:end]))
        yield table
        start = end


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def facts_table(facts: Mapping[str, str]) -> Table:
    """Names and values in two columns."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(Text(name, style="bold"), Text(value))
    return table
