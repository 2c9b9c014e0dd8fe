"""The command `stadx ablate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from stadx.detectors.student_teacher.settings import DetectorSettings
from stadx.experiments.ablations.studies import STUDIES
from stadx.networks.choices import PATCH_SIZES

from .console import ShownProgress, show_lines
from .opening import check_device
from .options import KNOWN_SETS, Device, Stride, number, refused
from .setting_options import SCALES, TEACHERS, Given, Written, given_options, settings_options

_SETTINGS = (
    *("scales", "students", "image_size", "steps", "batch", "crop", "focus", "optimizer", "seed"),
    *("teachers",),
)


@settings_options(
    DetectorSettings,
    _SETTINGS,
    scales=replace(SCALES, default=",".join(map(str, PATCH_SIZES))),
    image_size=Written(help="Side in pixels that images are resized to.", at_least=1),
    steps=Written(at_least=4),
    teachers=TEACHERS,
)
def ablate(
    *,
    context: typer.Context,
    study: Annotated[str, typer.Argument(help=f"What to change: {', '.join(STUDIES)}.")],
    category: Annotated[Path, typer.Argument(help=f"Category with test images: {KNOWN_SETS}.")],
    out: Annotated[Path, typer.Option(help="Folder for tables, pictures and the detectors trained for them.")],
    model: Annotated[Path | None, typer.Option(help="Trained detector to take apart, instead of training one.")] = None,
    settings: Given,
    stride: Stride = None,
    photos: Annotated[
        Path | None, typer.Option(help="Of the study teacher: photos that teachers are trained on, as for pretrain.")
    ] = None,
    teacher_steps: Annotated[int, typer.Option(min=1, help="Of the study teacher: how long.")] = 2000,
    row: Annotated[
        list[str] | None, typer.Option(help="Row of the study; several times for several.", show_default="all")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Change one thing at a time and write what it does to AU-PRO. A stopped study goes on when run again."""
    _check_options(context, study)
    from stadx.experiments.ablations.study import Setup, run_study, table

    check_device(device)
    setup = Setup(settings, number(stride), model, device, photos, teacher_steps)
    with ShownProgress() as progress:
        rows = run_study(study, category, out, setup, rows=row or (), progress=progress)
    show_lines(table(rows).rstrip())


def _check_options(context: typer.Context, study: str) -> None:
    """Refuse options that would do nothing."""
    given = set(given_options(context))
    if "model" in given:
        for name in sorted(given - {"study", "category", "model", "out", "row", "stride", "device"}):
            raise refused(name, "means nothing to a detector that is trained already; leave it or --model out")
    if study == "teacher" and "teacher" in given:
        raise refused("teacher", "the study trains its own teachers; leave it out")
    for name in ("photos", "teacher_steps"):
        if study != "teacher" and name in given:
            raise refused(name, 'is for the study "teacher"; leave it out')
