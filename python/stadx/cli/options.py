"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stadx.data.layout_registry import layout_names

Device = Annotated[str, typer.Option(help="Where to train and score: cpu, cuda, cuda:1, …")]
ScoringDevice = Annotated[
    str, typer.Option(help="Where to score: cpu, cuda, cuda:1, … Images read by strips are scored on the CPU.")
]
Stride = Annotated[
    Literal["1", "2", "4", "8"] | None,
    typer.Option(help="Score every n-th pixel of every n-th row, and interpolate.", show_default="the model's own"),
]
ModelFile = Annotated[Path, typer.Argument(help="Model file from `stadx train`.")]
OtherTargetFpr = Annotated[
    float | None, typer.Option(min=0, max=1, help="Use another threshold than the model's, for this share.")
]
OtherImageFpr = Annotated[
    float | None, typer.Option(min=0, max=1, help="Let this share of good images count as anomalous, not the model's.")
]
GoodPattern = Annotated[
    str | None,
    typer.Option("--good", metavar="PATTERN", help="Good test images in any folder, as in 'photos/ok_*.png'."),
]
DefectPattern = Annotated[
    str | None, typer.Option("--defects", metavar="PATTERN", help="Test images with defects, as in 'photos/ng_*.png'.")
]
MaskPattern = Annotated[
    str | None,
    typer.Option(
        "--masks",
        metavar="PATTERN",
        help="Their masks, without which image AUROC alone is measured: {name} is the image's name without suffix, "
        "{folder} that of its folder, as in 'masks/{name}.png'.",
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        "--roi",
        metavar="MASK",
        help="Look only where this mask is white: an image for all, resized to each, or a folder with NAME.png or "
        "NAME_mask.png for every image NAME, at its size. 'none': look everywhere.",
        show_default="the model's own, if it has one",
    ),
]
IgnoreValue = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65535,
        help="Pixels of masks with this value, such as 255 or 128, are neither defect nor background.",
        show_default="none",
    ),
]


KNOWN_SETS = ", ".join(layout_names())
"""The data sets whose layouts are known."""


def json_option(content: str) -> Any:
    """The option --json, which writes `content`."""
    return typer.Option("--json", help=f"Write {content} to this file.")


def category_argument(instead: str) -> Any:
    """The data set of a command, or what may be given `instead`."""
    return typer.Argument(help=f"Category with test images ({KNOWN_SETS}); or give {instead}.")


def share_option(content: str, shown: str | bool = True) -> Any:
    """An option whose value is a share, from 0 to 1; `shown` is its default in words."""
    return typer.Option(min=0, max=1, help=content, show_default=shown)


def recursive_option(verb: str) -> Any:
    """The option --recursive of a command that takes folders of images, on by default."""
    return typer.Option("--recursive/--no-recursive", help=f"Also {verb} the images in sub-folders.")


def images_option(content: str, shown: str | bool = True) -> Any:
    """An option that takes images, once or several times; `shown` is its default in words."""
    return typer.Option(metavar="IMAGES", help=f"{content}; several times for several.", show_default=shown)


def formats_option(content: str) -> Any:
    """An option that takes formats, after commas; none by default."""
    return typer.Option(metavar="FORMATS", help=content, show_default="none")


def number(stride: str | None) -> int | None:
    """What `Stride` means; None: the model's own."""
    return None if stride is None else int(stride)


def refused(parameter: str, why: str) -> typer.BadParameter:
    """That an option is given where it cannot be."""
    return typer.BadParameter(why, param_hint=f"--{parameter.replace('_', '-')}")
