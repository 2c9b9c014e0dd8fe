"""The command `stadx demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import ShownProgress, say, show
from .tables import metrics_table


def demo(
    out: Annotated[Path, typer.Option(help="Folder for images, models, maps and the report.")] = Path("stadx-demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Seconds, not minutes, and worse results.")] = False,
) -> None:
    """Make a small data set with defects, train on its good images, evaluate, and write a report."""
    from stadx.core.files import check_writable

    check_writable(out / "report.html")
    from stadx.experiments.demo import FULL, QUICK, REPORT, run_demo

    settings = QUICK if quick else FULL
    with ShownProgress() as progress:
        evaluations = run_demo(out, settings, progress=progress)
    show(metrics_table(evaluations))
    if settings.note:
        say(settings.note)
    say(f"Report: {(out / REPORT).resolve()}")
