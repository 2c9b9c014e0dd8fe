"""The command `stadx one-class`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stadx.experiments.settings import OneClassSettings

from .console import ShownProgress, show_lines
from .opening import check_device
from .options import Device
from .setting_options import Given, Written, built, settings_options


@settings_options(
    OneClassSettings, ("students", "steps", "batch", "patch_size", "seed"), patch_size=Written(name="scale")
)
def one_class(
    *,
    data: Annotated[
        Path,
        typer.Argument(help="MNIST's IDX files, or CIFAR-10: archive, unpacked, or folders of images by class."),
    ],
    out: Annotated[Path, typer.Option(help="JSON file of the results.")],
    normal: Annotated[
        list[str] | None, typer.Option(help="Class to take as good; several times for several.", show_default="all")
    ] = None,
    settings: Given,
    teacher: Annotated[
        Path | None, typer.Option(help="Teacher file, instead of the one that comes with stadx.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Take each class of MNIST or CIFAR-10 as good and tell the others from it: AUROC, as in Tables 6 and 7.

    A stopped run goes on with the next class when the same command is run again.
    """
    from stadx.experiments.one_class import run_one_class, table

    place, chosen = check_device(device), built(OneClassSettings, settings)
    with ShownProgress() as progress:
        results = run_one_class(
            data, out, chosen, normal=normal or (), teacher=teacher, device=place, progress=progress
        )
    show_lines(table(results).rstrip())
