"""The command `stadx pretrain`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import typer

from stadx.teachers.settings import PRESETS, PretrainSettings

from .console import ShownProgress, check_outputs, say
from .opening import check_device
from .options import Device, refused
from .setting_options import Given, Written, built, settings_options


def _multiples(text: str) -> tuple[int, int]:
    """Read "4,16" as the range of the zoom."""
    try:
        least, most = (int(part) for part in text.split(","))
    except ValueError as error:
        raise refused("zoom", "give two whole numbers, such as 4,16") from error
    return least, most


@settings_options(
    PretrainSettings,
    zoom=Written(kind=str, default=",".join(map(str, PretrainSettings.zoom)), read=_multiples),
    last_activation=Written(flags="--last-activation/--linear"),
    enlarge=Written(flags="--enlarge/--sharp"),
)
def pretrain(
    *,
    photos: Annotated[
        Path, typer.Argument(help="Folder of photos with its sub-folders and .tar files, or a .tar file.")
    ],
    out: Annotated[Path, typer.Option(help="Teacher file to write.")],
    preset: Annotated[
        Literal["default", "paper"],
        typer.Option(
            help="Where options that are not given come from. paper: ResNet-18 at 224 pixels, 50,000 steps of 64, Adam "
            "at 2e-4 throughout, weight decay 1e-5, λk = λc = 1, λm = 0."
        ),
    ] = "default",
    settings: Given,
    feature_cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps P's features for other trainings on the same patches, as float16."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode photos; 0 is one thread. The result is the same.")
    ] = 0,
    start: Annotated[Path | None, typer.Option(help="Teacher file to go on from, instead of random weights.")] = None,
    device: Device = "cpu",
    report: Annotated[
        Path | None,
        typer.Option(help="HTML file about the training, rewritten at every twentieth of it."),
    ] = None,
) -> None:
    """Train a teacher on natural photos. A stopped run resumes when the same command is run again.

    Several processes share the work when started by torchrun: torchrun --nproc-per-node 4 -m stadx pretrain …
    """
    import os

    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first writes
        check_outputs(out, report)
    from stadx.teachers.distributed import is_first, process_group
    from stadx.teachers.pretraining import pretrain

    chosen = built(PretrainSettings, {**PRESETS[preset], **settings})
    _check_options([*settings, *(["feature_cache"] if feature_cache is not None else [])], chosen)
    place = check_device(device)
    with process_group(), ShownProgress() as progress:
        card = pretrain(
            photos,
            chosen,
            out,
            progress=progress,
            workers=workers,
            feature_cache=feature_cache,
            report=report,
            start=start,
            device=place,
        )
        if not is_first():
            return
    explained = card["explained_held_out"]
    share = "" if explained is None else f" (explains {explained:.1%} of the variance on photos it never saw)"
    say(f"Teacher: {out}{share}")
    if report is not None:
        say(f"Report: {report.resolve()}")


def _check_options(given: Collection[str], settings: PretrainSettings) -> None:
    """Refuse options that would do nothing; a preset's settings may."""
    idle: dict[str, str] = {}
    if settings.triplet_weight == 0:
        why = "means nothing where λm is 0: no triplets are made; leave it out, or give --triplet-weight above 0"
        idle |= dict.fromkeys(("triplet_margin", "luminance", "noise"), why)
    if settings.distillation_weight == 0:
        why = "means nothing where λk is 0: nothing is distilled; leave it out, or give --distillation-weight above 0"
        idle |= dict.fromkeys(("pretrained_network", "pretrained_input", "targets", "feature_cache"), why)
    if settings.patch_size != 65:
        why = "means nothing for other patches than of 65 pixels; leave it out, or give --patch-size 65"
        idle["conv3_channels"] = why
    for name in given:
        if name in idle:
            raise refused(name, idle[name])
