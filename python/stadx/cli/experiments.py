"""The commands for research: `stadx ablate`, `stadx one-class` and `stadx reproduce`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import BAD_INPUT, ShownProgress, check_device, fail, say, show_lines, show_reproduction
from .train import given_options, patch_sizes

# of experiments.studies, which would import torch: help should not take seconds
STUDIES = (
    *("scales", "students", "terms", "stride", "smoothing", "level"),
    *("image-size", "padding", "steps", "optimizer", "focus", "seed", "teacher"),
)
# of experiments.reproduce, for the same reason
Item = Literal[
    "table1", "table2", "table3", "table6", "table7", "figure1", "figure4", "figure5", "figure6", "ablations"
]


def ablate(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help=f"What to change: {', '.join(STUDIES)}.")],
    category: Annotated[Path, typer.Argument(help="Category with test images: MVTec AD, MPDD, BTAD, VisA.")],
    out: Annotated[Path, typer.Option(help="Folder for tables, pictures and the detectors trained for them.")],
    model: Annotated[Path | None, typer.Option(help="Trained detector to take apart, instead of training one.")] = None,
    scales: Annotated[str, typer.Option(help="Receptive fields of the detector that is trained.")] = "17,33,65",
    students: Annotated[int, typer.Option(min=1, help="Students per scale.")] = 3,
    steps: Annotated[int, typer.Option(min=4, help="Optimiser steps per scale.")] = 1500,
    batch: Annotated[int, typer.Option(min=1, help="Images per step.")] = 3,
    crop: Annotated[int, typer.Option(min=0, help="Side in pixels of the part that a step sees; 0: all of it.")] = 64,
    focus: Annotated[float, typer.Option(min=0, max=1, help="Share of these that lie where the loss is high.")] = 0.8,
    optimizer: Annotated[Literal["muon", "adam"], typer.Option(help="Of the students.")] = "muon",
    image_size: Annotated[int, typer.Option(min=1, help="Side in pixels that images are resized to.")] = 256,
    stride: Annotated[Literal["1", "2", "4", "8"], typer.Option(help="Score every n-th pixel and interpolate.")] = "1",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of every random choice.")] = 0,
    teacher: Annotated[list[Path] | None, typer.Option(help="Teacher file, once per scale.")] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Of the study teacher: photos that teachers are trained on, as for pretrain.")
    ] = None,
    teacher_steps: Annotated[int, typer.Option(min=1, help="Of the study teacher: how long.")] = 2000,
    row: Annotated[
        list[str] | None, typer.Option(help="Row of the study; several times for several.", show_default="all")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train and score: cpu, cuda, cuda:1, …")] = "cpu",
) -> None:
    """Change one thing at a time and write what it does to AU-PRO. A stopped study goes on when run again."""
    sizes = patch_sizes(scales)
    _check_options(context, study)
    from stadx.experiments.ablations.study import Setup, run_study, table

    check_device(device)
    shared = {"batch": batch, "crop": crop or None, "focus": focus, "optimizer": optimizer, "teachers": teacher or ()}
    setup = Setup(sizes, students, steps, image_size, seed, int(stride), model, shared, device, photos, teacher_steps)
    with ShownProgress() as progress:
        rows = run_study(study, category, out, setup, rows=row or (), progress=progress)
    show_lines(table(rows).rstrip())


def _check_options(context: typer.Context, study: str) -> None:
    """Refuse options that would do nothing."""
    given = set(given_options(context))
    if "model" in given:
        for name in sorted(given - {"study", "category", "model", "out", "row", "stride", "device"}):
            raise typer.BadParameter(
                "means nothing to a detector that is trained already; leave it or --model out", param_hint=_option(name)
            )
    if study == "teacher" and "teacher" in given:
        raise typer.BadParameter("the study trains its own teachers; leave it out", param_hint="--teacher")
    for name in ("photos", "teacher_steps"):
        if study != "teacher" and name in given:
            raise typer.BadParameter('is for the study "teacher"; leave it out', param_hint=_option(name))


def _option(parameter: str) -> str:
    return f"--{parameter.replace('_', '-')}"


def one_class(
    data: Annotated[
        Path,
        typer.Argument(help="MNIST's IDX files, or CIFAR-10: archive, unpacked, or folders of images by class."),
    ],
    out: Annotated[Path, typer.Option(help="JSON file of the results.")],
    normal: Annotated[
        list[str] | None, typer.Option(help="Class to take as good; several times for several.", show_default="all")
    ] = None,
    students: Annotated[int, typer.Option(min=1, help="M.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps for each class.")] = 500,
    batch: Annotated[int, typer.Option(min=1, help="Images per step.")] = 64,
    scale: Annotated[Literal["17", "33", "65"], typer.Option(help="p, to which images are zoomed.")] = "33",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of every random choice.")] = 0,
    teacher: Annotated[
        Path | None, typer.Option(help="Teacher file, instead of the one that comes with stadx.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, …")] = "cpu",
) -> None:
    """Take each class of MNIST or CIFAR-10 as good and tell the others from it: AUROC, as in Tables 6 and 7.

    A stopped run goes on with the next class when the same command is run again.
    """
    from stadx.experiments.one_class import OneClassSettings, run_one_class, table

    place = check_device(device)
    settings = OneClassSettings(int(scale), students, steps, batch, seed=seed)
    with ShownProgress() as progress:
        results = run_one_class(
            data, out, settings, normal=normal or (), teacher=teacher, device=place, progress=progress
        )
    show_lines(table(results).rstrip())


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
        Literal["quick", "default", "paper"],
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
) -> None:
    """Run a table or figure of the paper anew, beside what is printed: terminal, Markdown, CSV, LaTeX and HTML.

    A run that was stopped goes on when the same command is run again. The files hold all that was measured with the
    same settings, for other rows and systems too. What fails is told, and does not keep the rest from being done.
    """
    from stadx.experiments.reproduce import reproduce
    from stadx.experiments.request import BUDGETS, Request

    check_device(device)
    if texture and item != "table1":
        raise typer.BadParameter(f"means nothing to {item}; leave it out", param_hint="--texture")
    teachers = dict(_teacher(text) for text in teacher or ())
    work = BUDGETS[budget].with_textures(texture or ())
    work = work if steps is None else work.of_steps(steps)
    request = Request(tuple(data), out, work, tuple(row or ()), tuple(system or ()), seeds, device, jobs, teachers, at)
    with ShownProgress() as progress:
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
        raise typer.BadParameter(f"{text!r} is not like 0,1,1=FILE", param_hint="--teacher")
    return f"Ours ({', '.join(found.groups())})", Path(file)
