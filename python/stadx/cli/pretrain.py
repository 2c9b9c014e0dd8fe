"""The command `stadx pretrain`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import ShownProgress, check_device, say

if TYPE_CHECKING:
    from stadx.teachers.settings import PretrainSettings

# None: the preset decides; what it says by default is shown in the help.


def pretrain(
    photos: Annotated[
        Path,
        typer.Argument(help="Folder of natural photos, sub-folders and .tar files in it included; or a .tar file."),
    ],
    out: Annotated[Path, typer.Option(help="Teacher file to write.")],
    preset: Annotated[
        Literal["default", "paper"],
        typer.Option(
            help="Where options that are not given come from. paper: ResNet-18 at 224 pixels, 50,000 steps of 64, Adam "
            "at 2e-4 throughout, weight decay 1e-5, λk = λc = 1, λm = 0."
        ),
    ] = "default",
    patch_size: Annotated[Literal["17", "33", "65"], typer.Option(help="p, the receptive field in pixels.")] = "33",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.", show_default="10000")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Patches per step.", show_default="256")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=0, help="Highest learning rate.", show_default="1.2e-3 for adam, 2e-3 for muon"),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0, help="Of the weights.", show_default="1e-5")] = None,
    optimizer: Annotated[
        Literal["muon", "adam"] | None, typer.Option(help="Adam in the paper.", show_default="adam")
    ] = None,
    schedule: Annotated[
        Literal["cosine", "constant"] | None,
        typer.Option(help="Course of the learning rate; constant in the paper.", show_default="cosine"),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Of every choice.", show_default="0")] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"] | None,
        typer.Option(help="Of the convolutions; auto: bfloat16 where the CPU has it.", show_default="auto"),
    ] = None,
    distillation_weight: Annotated[
        float | None,
        typer.Option(min=0, help="λk, of the distillation loss; 0 needs no pretrained network.", show_default="1"),
    ] = None,
    triplet_weight: Annotated[
        float | None, typer.Option(min=0, help="λm, of the triplet loss; 0 makes no triplets.", show_default="0")
    ] = None,
    triplet_margin: Annotated[
        float | None, typer.Option(min=0, help="δ of the triplet loss.", show_default="1")
    ] = None,
    compactness_weight: Annotated[
        float | None, typer.Option(min=0, help="λc, of the descriptors' correlation.", show_default="0.04")
    ] = None,
    compactness_reduction: Annotated[
        Literal["sum", "mean"] | None,
        typer.Option(help="Of the squared correlations of all pairs.", show_default="sum"),
    ] = None,
    pretrained_network: Annotated[
        Literal["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "resnet18", "resnet50"] | None,
        typer.Option(help="P, the network to distil.", show_default="efficientnet-lite0"),
    ] = None,
    pretrained_input: Annotated[
        int | None, typer.Option(min=1, help="Side in pixels of a patch as P sees it.", show_default="64")
    ] = None,
    targets: Annotated[
        Literal["pooled", "dense"] | None,
        typer.Option(
            help="pooled: P sees each patch alone. dense: P sees crops of 4 × 4 patches, its inner map is the target; "
            "efficientnet-lite0 has one.",
            show_default="dense",
        ),
    ] = None,
    descriptor_size: Annotated[
        int | None, typer.Option(min=2, help="d, numbers in a descriptor.", show_default="128")
    ] = None,
    conv3_channels: Annotated[
        int | None, typer.Option(min=1, help="Of the third convolution for p = 65.", show_default="128")
    ] = None,
    last_activation: Annotated[
        bool | None,
        typer.Option(
            "--last-activation/--linear",
            help="Whether an activation follows the last convolution.",
            show_default="linear",
        ),
    ] = None,
    padding: Annotated[
        Literal["reflect", "zeros", "replicate"] | None,
        typer.Option(help="How images go on beyond their border when they are scored.", show_default="reflect"),
    ] = None,
    zoom: Annotated[
        str | None,
        typer.Option(help="Photos are zoomed to that many p x p patches a side, at random.", show_default="2,16"),
    ] = None,
    enlarge: Annotated[
        bool | None,
        typer.Option(
            "--enlarge/--sharp", help="Whether photos may be zoomed beyond their own size.", show_default="sharp"
        ),
    ] = None,
    grey: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of patches without colour.", show_default="0.1")
    ] = None,
    luminance: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Largest change of brightness of x⁺ in a triplet.", show_default="0.1"),
    ] = None,
    noise: Annotated[
        float | None, typer.Option(min=0, help="Deviation of the noise on x⁺ in a triplet.", show_default="0.1")
    ] = None,
    distinct_batches: Annotated[
        int | None,
        typer.Option(min=0, help="Go through that many batches again and again; 0: always new ones.", show_default="0"),
    ] = None,
    feature_cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps P's features for other trainings on the same patches, as float16."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode photos; 0 is one thread. The result is the same.")
    ] = 0,
    start: Annotated[Path | None, typer.Option(help="Teacher file to go on from, instead of random weights.")] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, …")] = "cpu",
    report: Annotated[
        Path | None,
        typer.Option(help="HTML file about the training, rewritten at every twentieth of it."),
    ] = None,
) -> None:
    """Train a teacher on natural photos. A stopped run resumes when the same command is run again.

    Several processes share the work when started by torchrun: torchrun --nproc-per-node 4 -m stadx pretrain …
    """
    given = {
        "steps": steps,
        "batch": batch,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "seed": seed,
        "precision": precision,
        "distillation_weight": distillation_weight,
        "triplet_weight": triplet_weight,
        "triplet_margin": triplet_margin,
        "compactness_weight": compactness_weight,
        "compactness_reduction": compactness_reduction,
        "pretrained_network": pretrained_network,
        "pretrained_input": pretrained_input,
        "targets": targets,
        "descriptor_size": descriptor_size,
        "conv3_channels": conv3_channels,
        "last_activation": last_activation,
        "padding": padding,
        "zoom": None if zoom is None else _multiples(zoom),
        "enlarge": enlarge,
        "grey": grey,
        "luminance": luminance,
        "noise": noise,
        "distinct_batches": distinct_batches,
    }
    import os

    from stadx.core.files import check_writable

    for file in (out, report):
        if file is not None and os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first writes
            check_writable(file)
    from stadx.teachers.distributed import is_first, process_group
    from stadx.teachers.pretraining import pretrain
    from stadx.teachers.settings import PRESETS, PretrainSettings

    given = {name: value for name, value in given.items() if value is not None}
    chosen = {**PRESETS[preset], **given}
    try:
        settings = PretrainSettings(patch_size=int(patch_size), **chosen)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    _check_options([*given, *(["feature_cache"] if feature_cache is not None else [])], settings)
    place = check_device(device)
    with process_group(), ShownProgress() as progress:
        card = pretrain(
            photos,
            settings,
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
        idle["conv3_channels"] = (
            "means nothing for other patches than of 65 pixels; leave it out, or give --patch-size 65"
        )
    for name in given:
        if name in idle:
            raise typer.BadParameter(idle[name], param_hint=f"--{name.replace('_', '-')}")


def _multiples(text: str) -> tuple[int, int]:
    """Read "4,16" as the range of the zoom."""
    try:
        least, most = (int(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter("give two whole numbers, such as 4,16", param_hint="--zoom") from error
    return least, most
