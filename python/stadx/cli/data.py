"""The commands about data sets: `stadx data check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import ShownProgress, check_outputs, printable, say, write_json
from .options import KNOWN_SETS, DefectPattern, GoodPattern, MaskPattern, json_option


def check(
    folder: Annotated[
        Path | None, typer.Argument(help=f"Category ({KNOWN_SETS}), folder of such, or of good images.")
    ] = None,
    good: GoodPattern = None,
    defects: DefectPattern = None,
    masks: MaskPattern = None,
    json_file: Annotated[Path | None, json_option("counts, errors and warnings")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with pictures of what is wrong to this file.")
    ] = None,
) -> None:
    """List everything that is wrong with a data set: unreadable files, missing masks, sizes, pictures that come twice.

    Ends with 1 if there are errors; warnings may be meant. With --good, --defects and --masks, the folder, if there is
    one, is what is trained on.
    """
    from stadx.data.checking import check_listing, check_set
    from stadx.data.layouts import training_images
    from stadx.data.layouts.category import Listing
    from stadx.data.layouts.patterns import list_patterns

    patterns = any(pattern is not None for pattern in (good, defects, masks))
    check_outputs(json_file, html)
    with ShownProgress() as progress:
        if patterns:

            def listed() -> Listing:
                train = [] if folder is None else training_images(folder)
                return list_patterns(good, defects, masks, train=train)

            categories = [check_listing(listed, progress=progress)]
        elif folder is None:
            raise typer.BadParameter("name one, or give --good, --defects or both", param_hint="FOLDER")
        else:
            categories = check_set(folder, progress=progress)
    for category in categories:
        for severity, message, _ in category.findings:
            typer.echo(printable(f"{severity}: {message}"))
        validation = f"{category.validation} to validate, " if category.validation else ""
        say(
            f"{category.name}: {category.train} images to train on, {validation}{category.test_good} good and "
            f"{category.test_defect} with defects to test; {_plural(category.count('error'), 'error')}, "
            f"{_plural(category.count('warning'), 'warning')}."
        )
        if category.depth:
            say(f"{category.name}: {category.depth}.")
    if json_file is not None:
        entries = [
            {**vars(category), "findings": [finding.to_json() for finding in category.findings]}
            for category in categories
        ]
        write_json(json_file, entries, indent=1)
    if html is not None:
        from stadx.evaluation.report.check_page import write_check

        write_check(html, categories)
        say(f"Page: {html}")
    if any(category.count("error") for category in categories):
        raise typer.Exit(1)


def _plural(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
