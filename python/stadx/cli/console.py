"""What a person sees of a command: lines, progress, and errors without a traceback."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec

import typer
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
from rich.text import Text

from stadx.core.errors import DataWarning, StadxError

if TYPE_CHECKING:
    from rich.table import Table

BAD_INPUT = 2
INTERRUPTED = 130
STOPPED = "stopped"
RESUMABLE = "stopped; run the same command to resume"
SMALLER = "use smaller images or fewer scales"
# Of progress where the output is a file, in which bars make no sense.
_SECONDS_TO_FIRST_LINE = 2.0
_SECONDS_BETWEEN_LINES = 30.0
_MOST_WARNINGS, _MOST_OF_A_KIND = 10, 3
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


@contextlib.contextmanager
def listing() -> Iterator[None]:
    """While files are listed: what is left out of all folders is said in one line, other warnings in one each."""
    from stadx.data.folders import left_out_in_one

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for line in left_out_in_one(caught):
        say(f"Warning: {line}.")


def check_outputs(*files: Path | None) -> None:
    """Raise `OutputError` now for a file that could not be written later, after the work."""
    from stadx.core.files import check_writable

    for file in files:
        if file is not None:
            check_writable(file)


def check_not_read(model: Path, images: Sequence[Path], *outputs: Path | None) -> None:
    """Raise `OutputError` if a file could not be written, or would replace one that is read, or another of these."""
    from stadx.core.errors import OutputError
    from stadx.core.files import is_written_through

    check_outputs(*outputs)
    taken = {path.resolve() for path in images}
    for file in (file for file in outputs if file is not None and not is_written_through(file)):
        if file.resolve() in taken:
            raise OutputError(f"{file}: is a file that is read, or written already; choose another name")
        taken |= {file.resolve(), model.resolve()}


def write_json(file: Path, content: Any, indent: int = 2) -> None:
    """Write what the option --json asks for, and say so."""
    from stadx.core.files import write_bytes

    write_bytes(file, (json.dumps(content, indent=indent, default=os.fspath) + "\n").encode("ascii"))
    say(f"JSON: {file}")


def printable(text: str) -> str:
    """Replace what UTF-8 cannot hold, as file names may contain it."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _errors() -> Console:
    # Made anew for every line, so that it follows whatever the stream is at that moment.
    return Console(stderr=True, highlight=False)


@contextlib.contextmanager
def _shown_warnings() -> Iterator[None]:
    """Have warnings about images said in a line each, the first of each kind; others look as ever."""
    count = left = 0
    kinds: Counter[str] = Counter()  # of sentences, whatever their file and figures
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def shown(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            nonlocal count, left
            if not issubclass(category, DataWarning):
                usual(message, category, *where, **more)
                return
            kind = re.sub(r"[0-9.]+", "0", str(message).partition(": ")[2])
            kinds[kind] += 1
            if kinds[kind] > _MOST_OF_A_KIND or count == _MOST_WARNINGS:
                left += 1
            else:
                count += 1
                text = Text.assemble(("Warning: ", "yellow"), printable(str(message)))
                _errors().print(text, soft_wrap=True)

        warnings.simplefilter("default", DataWarning)
        warnings.showwarning = shown
        try:
            yield
        finally:
            if left:
                say(f"{left} more warnings; `stadx data check` lists what is wrong with a data set.")


def reported(
    stopped: str = STOPPED, smaller: str = SMALLER
) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Make a command end with one clear line: 2 after an error a person can fix, 130 after Ctrl-C.

    Errors of the program itself keep their traceback: they are for its authors.

    Args:
        stopped: what is said after Ctrl-C.
        smaller: what to do where memory does not suffice.
    """

    def decorate(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
        @functools.wraps(command)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
            try:
                with _shown_warnings():
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
