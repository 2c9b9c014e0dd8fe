"""The same maps through every public AU-PRO. Run `python benchmarks/public_au_pro.py --help`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pro_peers import Maps, Masks, definition, make_set
from public_au_pro_peer import PEERS
from run import WIDTH, JsonFile, Rounds, Threads, _machine, quick_option
from stadx.cli.console import ShownProgress, reported, say
from stadx.core.files import check_writable

CHILD = Path(__file__).resolve().with_name("public_au_pro_peer.py")
TRANSFORMS: dict[str, Callable[[Maps], NDArray[Any]]] = {
    "as made": lambda maps: maps,  # squared errors: 0 to about 40
    "in [0, 1]": lambda maps: maps / maps.max(),
    "8 bits": lambda maps: np.round(255 * (maps / np.quantile(maps, 0.999)).clip(0, 1)) / 255,
    "5 levels": lambda maps: np.round(maps).clip(0, 4) / 4,
    "below 1e-6": lambda maps: maps * 1e-8,
    "100 to 140": lambda maps: maps + 100,
    "exp": np.exp,
    "constant": np.zeros_like,
}


def main(
    maps: Annotated[int, typer.Option(min=4, help="Maps of the time and the memory.")] = 10,
    side: Annotated[int, typer.Option(min=64, help="Side of these maps in pixels.")] = 512,
    case_maps: Annotated[int, typer.Option(min=4, help="Maps of each hard case.")] = 10,
    case_side: Annotated[int, typer.Option(min=64, help="Side of these maps in pixels.")] = 256,
    python: Annotated[
        list[str], typer.Option(help="NAME=PROGRAM: the Python that has NAME, a row of the table. Several times.")
    ] = [],  # noqa: B006
    only: Annotated[str, typer.Option(help="Rows of the table.")] = ",".join(PEERS),
    seconds: Annotated[int, typer.Option(min=1, help="Give up on a row that takes longer than this at once.")] = 300,
    rounds: Rounds = 3,
    quick: Annotated[bool, quick_option("Seconds: 4 maps of 64 x 64, one round")] = False,
    out: JsonFile = None,
    threads: Threads = 2,
) -> None:
    """Compare value, time and memory of AU-PRO@0.3 of every package that has one, each in a process of its own."""
    pythons, wanted = _pythons(python), [name.strip() for name in only.split(",")]
    if unknown := [name for name in wanted if name not in PEERS]:
        raise typer.BadParameter(f"no row {unknown[0]!r}; rows are {', '.join(PEERS)}", param_hint="--only")
    if out is not None:
        check_writable(out)
    if quick:
        maps, side, case_maps, case_side, rounds = 4, 64, 4, 64, 1
    machine = _machine(threads, rounds)
    with tempfile.TemporaryDirectory() as folder:
        scores, masks = make_set(maps, side)
        # in [0, 1], so that none is timed on maps it is not made for
        large = _saved(Path(folder), "large", (TRANSFORMS["in [0, 1]"](scores), masks))
        cases = hard_cases(case_maps, case_side)
        exact = {name: definition(*case) for name, case in cases.items()}
        files = [_saved(Path(folder), name, case) for name, case in cases.items()]
        rows = {name: Row(pythons.get(name, sys.executable), name, seconds, threads) for name in wanted}
        with ShownProgress() as progress:
            for done, row in enumerate(rows.values(), 1):
                row.value(files)
                progress("Values", done, len(rows), {})
            for turn in range(rounds):  # all in turn, so that a machine that slows down slows all of them
                for done, row in enumerate(rows.values(), 1):
                    row.cost(files[1], large, peak=turn == 0)
                    progress("Time and memory", turn * len(rows) + done, rounds * len(rows), {})
    figures = {name: row.figures() for name, row in rows.items()}
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(Text(", ".join(f"{name} {value}" for name, value in machine.items())))
    console.print(_costs(figures, f"AU-PRO@0.3, {maps} maps, {side} x {side}"))
    console.print(
        _cases(figures, exact, f"AU-PRO@0.3 minus the definition's, {case_maps} maps, {case_side} x {case_side}")
    )
    if out is not None:
        out.write_text(json.dumps({"machine": machine, "exact": exact, "rows": figures}, indent=2) + "\n")
        say(f"Figures: {out}")


class Row:
    """What one public AU-PRO gives, asked in a process of its own."""

    def __init__(self, python: str, name: str, seconds: int, threads: int) -> None:
        self.python, self.name, self.seconds = python, name, seconds
        self.environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.values: dict[str, float | str] = {}
        self.runs: list[dict[str, float]] = []
        self.note = ""
        self.version = self._ask("version")
        if self.version is None and not self.note:
            self.note = f"not installed: pip install {PEERS[name].pip}"

    def value(self, files: list[Path]) -> None:
        """Of each hard case."""
        if not self.note:
            self.values = self._ask("values", *files) or {}

    def cost(self, small: Path, large: Path, peak: bool) -> None:
        """Of one more round."""
        if not self.note and (found := self._ask("peak" if peak else "cost", small, large)) is not None:
            self.runs.append(found)

    def figures(self) -> dict[str, Any]:
        """For the tables and JSON: None where there is nothing."""
        return {
            "version": self.version,
            "value": self.runs[0]["value"] if self.runs else None,
            "seconds": statistics.median(run["seconds"] for run in self.runs) if self.runs else None,
            "bytes": self.runs[0]["bytes"] if self.runs else None,
            "cases": self.values,
            "note": self.note,
        }

    def _ask(self, work: str, *files: Path) -> Any:
        command = [self.python, str(CHILD), work, self.name, *map(str, files)]
        try:
            ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=self.seconds)
        except subprocess.TimeoutExpired:
            self.note = f"more than {self.seconds} s"
            return None
        if ended.returncode:  # killed ones leave no message
            self.note = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
            return None
        return json.loads(ended.stdout.splitlines()[-1])  # packages may print before


def hard_cases(count: int, side: int) -> dict[str, tuple[Maps, Masks]]:
    """By name, `count` maps float32 and masks [count, side, side]: what shortcuts of AU-PRO depend on."""
    maps, masks = make_set(count, side)
    cases = {name: (np.asarray(change(maps), np.float32), masks) for name, change in TRANSFORMS.items()}
    return {**cases, "corners": _corners(count, side), "sizes": _sizes(count, side)}


def _corners(count: int, side: int) -> tuple[Maps, Masks]:
    """Regions of two squares that share a corner and no edge; the small one is seen, the large one is not."""
    rng = np.random.default_rng(0)
    maps, masks = rng.random((count, side, side), np.float32), np.zeros((count, side, side), bool)
    for i, at in enumerate(rng.integers(8, side - 40, (count, 2))):
        small, big = (slice(at[0] - 4, at[0]), slice(at[1] - 4, at[1])), tuple(slice(a, a + 24) for a in at)
        masks[i][small] = masks[i][big] = True
        maps[i][small] += 0.8
        maps[i][big] += 0.1
    return maps, masks


def _sizes(count: int, side: int) -> tuple[Maps, Masks]:
    """In each image a region of a quarter of it, well seen, and four of a single pixel, that are not."""
    rng = np.random.default_rng(0)
    maps, masks = rng.random((count, side, side), np.float32), np.zeros((count, side, side), bool)
    masks[:, : side // 2, : side // 2] = True
    maps += 0.5 * masks
    masks[:, side // 2 + 4 :: side // 8, -4] = True
    return maps, masks


def _saved(folder: Path, name: str, case: tuple[Maps, Masks]) -> Path:
    file = folder / f"{name}.npz"
    np.savez(file, maps=case[0], masks=case[1])
    return file


def _pythons(given: list[str]) -> dict[str, str]:
    found = {}
    for part in given:
        name, _, program = part.partition("=")
        if name not in PEERS or not Path(program).is_file():
            raise typer.BadParameter(
                f"{part!r} is not NAME=PROGRAM, with NAME of {', '.join(PEERS)}", param_hint="--python"
            )
        found[name] = program
    return found


def _costs(figures: dict[str, dict[str, Any]], title: str) -> Table:
    table = _table(title, ("version", "AU-PRO", "− definition", "ms", "× stadx", "MB"))
    ours, exact = (figures.get(name, {}) for name in ("stadx", "definition"))
    for name, row in figures.items():
        value, seconds, peak = row["value"], row["seconds"], row["bytes"]
        if value is None:
            table.add_row(name, row["version"], *[""] * 5, Text(row["note"]))
            continue
        minus = f"{value - exact['value']:+.1e}" if exact.get("value") is not None else ""
        ratio = f"{seconds / ours['seconds']:.1f}" if ours.get("seconds") else ""
        cells = (f"{value:.6f}", minus, f"{1e3 * seconds:.0f}", ratio, f"{peak / 1e6:.0f}")
        table.add_row(name, row["version"], *cells, Text(row["note"]))
    return table


def _cases(figures: dict[str, dict[str, Any]], exact: dict[str, float], title: str) -> Table:
    table = _table(title, tuple(exact))
    table.add_row("definition's value", *(f"{value:.4f}" for value in exact.values()), "")
    for name, row in figures.items():
        found = [row["cases"].get(case) for case in exact]
        cells = [_difference(one, value) for one, value in zip(found, exact.values(), strict=True)]
        errors = dict.fromkeys(one for one in found if isinstance(one, str))
        table.add_row(name, *cells, Text("; ".join(errors) or row["note"]))
    return table


def _difference(found: float | str | None, exact: float) -> str:
    if found is None:
        return ""
    if isinstance(found, str) or np.isnan(found):
        return "fails" if isinstance(found, str) else "NaN"
    minus = found - exact
    # what remains below is the rounding of float32
    return "0" if abs(minus) < 5e-7 else f"{minus:+.0e}" if abs(minus) < 1e-4 else f"{minus:+.4f}"


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=Text(title), title_justify="left")
    table.add_column("who", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note")
    return table


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command(
    epilog="Example: [bold]python benchmarks/public_au_pro.py --python anomalib-old=old/bin/python --json f.json[/bold]"
)(reported()(main))

if __name__ == "__main__":
    app()
