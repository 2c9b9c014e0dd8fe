"""The commands about data sets: `stadx data check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import ShownProgress, printable, reported, say

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

data_app = typer.Typer(help="Look after data sets.", no_args_is_help=True, rich_markup_mode="rich")


@data_app.command(epilog="Example: [bold]stadx data check mvtec_ad/bottle[/bold]")
@reported()
def check(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Category (MVTec AD, MPDD, BTAD, VisA), folder of such, or folder of good images."),
    ] = None,
    good: GoodPattern = None,
    defects: DefectPattern = None,
    masks: MaskPattern = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write counts, errors and warnings to this file.")
    ] = None,
) -> None:
    """List everything that is wrong with a data set: unreadable files, missing masks, sizes, pictures that come twice.

    Ends with 1 if there are errors; warnings may be meant. With --good, --defects and --masks, the folder, if there is
    one, is what is trained on.
    """
    import json
    from dataclasses import asdict

    from stadx.core.files import check_writable, write_bytes
    from stadx.data.checking import check_listing, check_set
    from stadx.data.layouts import training_images
    from stadx.data.layouts.patterns import list_patterns

    patterns = any(pattern is not None for pattern in (good, defects, masks))
    if json_file is not None:
        check_writable(json_file)
    with ShownProgress() as progress:
        if patterns:
            train = [] if folder is None else training_images(folder)
            categories = [check_listing(list_patterns(good, defects, masks, train=train), progress=progress)]
        elif folder is None:
            raise typer.BadParameter("name one, or give --good, --defects or both", param_hint="FOLDER")
        else:
            categories = check_set(folder, progress=progress)
    for category in categories:
        for severity, message in category.findings:
            typer.echo(printable(f"{severity}: {message}"))
        say(
            f"{category.name}: {category.train} images to train on, {category.test_good} good and "
            f"{category.test_defect} with defects to test; {_plural(category.count('error'), 'error')}, "
            f"{_plural(category.count('warning'), 'warning')}."
        )
    if json_file is not None:
        entries = [
            {**asdict(category), "findings": [finding._asdict() for finding in category.findings]}
            for category in categories
        ]
        write_bytes(json_file, (json.dumps(entries, indent=1) + "\n").encode("ascii"))
        say(f"JSON: {json_file}")
    if any(category.count("error") for category in categories):
        raise typer.Exit(1)


def _plural(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
