"""stadx beside plain PyTorch: one table of ratios. Run `python benchmarks/run.py --help`."""

from __future__ import annotations

import datetime
import gc
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from stadx.cli.console import ShownProgress, reported, say
from stadx.core.progress import Progress

if TYPE_CHECKING:
    from sections import Case
    from timing import Result

SECTIONS = ("dense", "score", "image")
Rounds = Annotated[int, typer.Option(min=1, help="Runs of every competitor; the median counts.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of PyTorch, stadx and all peers.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures and the machine here.")]
WIDTH = 160  # of the table where no terminal limits it


def quick_option(what: str) -> Any:
    """The option --quick, of a run that takes only so long."""
    return typer.Option("--quick", help=f"{what}. Only shows that it runs.")


def sections_option(sections: Sequence[str]) -> Any:
    """The option --only, which names sections of a run."""
    return typer.Option(help=f"Sections: {', '.join(sections)}.")


def chosen_sections(only: str, sections: Sequence[str]) -> tuple[str, ...]:
    """Those that --only names."""
    wanted = tuple(part.strip() for part in only.split(","))
    if not set(wanted) <= set(sections):
        raise typer.BadParameter(f"give one or more of {', '.join(sections)}", param_hint="--only")
    return wanted


def main(
    patch_sizes: Annotated[str, typer.Option(help="Receptive fields, of 17, 33 and 65.")] = "17,33,65",
    sizes: Annotated[str, typer.Option(help="Image sides of the dense section, in pixels.")] = "256,1024",
    rounds: Rounds = 5,
    only: Annotated[str, sections_option(SECTIONS)] = ",".join(SECTIONS),
    threads: Threads = 2,
    out: JsonFile = None,
    quick: Annotated[bool, quick_option("A minute: 32 x 32, two rounds")] = False,
) -> None:
    """Time stadx beside plain PyTorch, taking turns, and print one table of ratios.

    The 1024 x 1024 images take most of the time: for minutes instead of an hour use --sizes 256.
    """
    fields, sides = _numbers(patch_sizes, "--patch-sizes", (17, 33, 65)), _numbers(sizes, "--sizes")
    wanted = chosen_sections(only, SECTIONS)
    if out is not None:
        from stadx.core.files import check_writable

        check_writable(out)
    _run(fields, (32,) if quick else sides, 2 if quick else rounds, wanted, threads, out, quick)


def _run(
    patch_sizes: tuple[int, ...],
    sizes: tuple[int, ...],
    rounds: int,
    wanted: tuple[str, ...],
    threads: int,
    out: Path | None,
    quick: bool,
) -> None:
    import torch  # here and below: torch takes seconds, and --help should not

    from sections import dense_cases, image_cases, measure_peak, score_cases
    from stadx.core.memory import keep_freed_memory
    from table import Row, ratio_table, report, rows

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    side = 32 if quick else 256
    cases: dict[str, Callable[[], Iterator[Case]]] = {
        "dense": lambda: dense_cases(patch_sizes, sizes, 64 if quick else 512),
        "score": lambda: score_cases(side),
        "image": lambda: image_cases(patch_sizes, side, 16 if quick else 1),
    }
    found: list[Row] = []
    with torch.inference_mode(), ShownProgress() as progress:
        with keep_freed_memory():
            peak = measure_peak(256 if quick else 2048) if "dense" in wanted else None
        for case in chain.from_iterable(cases[name]() for name in SECTIONS if name in wanted):
            found += rows(case, _timed(case, rounds, progress), peak)
            del case  # its tensors go before the next ones come
    machine = _machine(threads, rounds)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(ratio_table(found, machine, peak))
    if out is not None:
        out.write_text(json.dumps(report(found, machine, peak), indent=2) + "\n")
        say(f"Figures: {out}")


def _timed(case: Case, rounds: int, progress: Progress) -> list[Result]:
    import torch

    from stadx.core.memory import keep_freed_memory
    from timing import interleaved

    gc.collect()
    torch.compiler.reset()  # or PyTorch stops compiling one function after eight kinds of input
    total = (rounds + 1) * len(case.competitors)
    done = count(1)
    with keep_freed_memory():
        return interleaved(case.competitors, rounds, lambda name: progress(case.name, next(done), total, {}))


def _numbers(text: str, option: str, allowed: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Read "256,1024"."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1 or (allowed is not None and not set(numbers) <= set(allowed)):
        hint = "whole numbers above 0" if allowed is None else f"some of {', '.join(map(str, allowed))}"
        raise typer.BadParameter(f"give {hint}, separated by commas", param_hint=option)
    return numbers


def _machine(threads: int, rounds: int) -> dict[str, object]:
    import torch

    import stadx

    return {
        "cpu": _cpu(),
        "instruction set": stadx.ops.build_info()["instruction_set"],
        "machine": platform.platform(),
        "threads": threads,
        "rounds": rounds,
        "torch": torch.__version__,
        "stadx": stadx.__version__,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command(epilog="Example: [bold]python benchmarks/run.py --sizes 256 --only dense --json figures.json[/bold]")(
    reported()(main)
)

if __name__ == "__main__":
    app()
