"""The command `stadx reproduce`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from stadx.experiments.settings import BudgetName, Item

from .cluster import Cluster, Workers, tasks_on
from .console import BAD_INPUT, ShownProgress, fail, say, show_lines
from .opening import check_device
from .options import refused
from .tables import show_reproduction


def reproduce(
    item: Annotated[
        Item,
        typer.Argument(
            help="Table 1: systems on MVTec AD; 2: means of 6 and 7; 3: receptive fields on MVTec AD; 6: MNIST; "
            "7: CIFAR-10. Figure 1: a defect of each category; 4: descriptors of MNIST; 5: receptive fields; 6: all "
            "types of defect. Ablations: all studies of `stadx ablate` but teacher."
        ),
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder of categories, or one category; several times for several. For tables 2, "
            "6, 7 and figure 4 MNIST or CIFAR-10, for table 2 both."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables, pictures and detectors.")] = Path("stadx-tables"),
    budget: Annotated[
        BudgetName,
        typer.Option(
            help="How much work: quick; stadx's own settings, baselines as in the paper; or the paper's for all. On a "
            "CPU the last takes days, and so does the default for SSIM-AE and AnoGAN: choose columns with --system."
        ),
    ] = "default",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Optimiser steps of all students, instead of the budget's.", show_default="budget's"),
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(
            help="Category or class, as it is printed or as its folder is named; several times for several.",
            show_default="all there",
        ),
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of the table, or ablation; several times for several. OCGAN, which with its authors' "
            "settings takes more than a day of CPU time for each class, runs only where it is named; else the paper's "
            "figures of it are shown alone.",
            show_default="all but OCGAN",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, for mean and standard deviation.")] = 1,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="For tables 2, 6 and 7: λk,λm,λc=FILE, a teacher for p = 33 from `stadx pretrain`, for the column of "
            "these weights: 1,1,1 or 0,1,1 or 1,0,0; 1,0,1 comes with stadx.",
            show_default="1,0,1 alone",
        ),
    ] = None,
    at: Annotated[
        Literal["original", "model"],
        typer.Option(
            help="Size to compare maps and masks at: the images' own, or the students' image size (256, as the paper "
            "zooms images), for all systems alike. For tables 1 and 3 and figures 1, 5 and 6."
        ),
    ] = "original",
    texture: Annotated[
        list[str] | None,
        typer.Option(
            help="For table 1: a row that SSIM-AE, AnoGAN and the feature dictionary take their settings for textures "
            "for, as for MVTec AD's five; several times for several."
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes of one thread each, over categories, classes and seeds: of no use to figure4, or to one "
            "category or class with one seed.",
        ),
    ] = 1,
    device: Annotated[str, typer.Option(help="Where students train and score: cpu, cuda, cuda:1, …")] = "cpu",
    cluster: Cluster = None,
    workers: Workers = None,
) -> None:
    """Run a table or figure of the paper anew, beside what is printed: terminal, Markdown, CSV, LaTeX and HTML.

    A run that was stopped goes on when the same command is run again. The files hold all that was measured with the
    same settings, for other rows and systems too. What fails is told, and does not keep the rest from being done.
    """
    from stadx.experiments.reproduce import reproduce
    from stadx.experiments.request import BUDGETS, Request

    if cluster is None:
        check_device(device)
    if texture and item != "table1":
        raise refused("texture", f"means nothing to {item}; leave it out")
    teachers = dict(_teacher(text) for text in teacher or ())
    work = BUDGETS[budget].with_textures(texture or ())
    work = work if steps is None else work.of_steps(steps)
    request = Request(tuple(data), out, work, tuple(row or ()), tuple(system or ()), seeds, device, jobs, teachers, at)
    with tasks_on(cluster, workers, device), ShownProgress() as progress:
        outcome = reproduce(item, request, progress)
    if outcome.table is not None:
        show_reproduction(outcome.table)
    elif outcome.text:
        show_lines(outcome.text)
    say(f"Files: {', '.join(map(str, outcome.files))}")
    if outcome.failures:
        for failure in outcome.failures:
            fail(failure)
        fail("what failed is tried again when the same command is run again; all else is done")
        raise typer.Exit(BAD_INPUT)


def _teacher(text: str) -> tuple[str, Path]:
    """A column of Tables 6 and 7, and its teacher's file."""
    weights, _, file = text.partition("=")
    found = re.fullmatch(r"([01]),([01]),([01])", weights.replace(" ", ""))
    if found is None or not file:
        raise refused("teacher", f"{text!r} is not like 0,1,1=FILE")
    return f"Ours ({', '.join(found.groups())})", Path(file)
