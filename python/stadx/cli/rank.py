"""The command `stadx rank`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import BAD_INPUT, ShownProgress, check_outputs, fail, listing, say, show, write_json
from .opening import apply_region, move
from .options import ModelFile, Region, ScoringDevice, Stride, json_option, number, recursive_option
from .tables import ranking_table

UNKNOWN_IMAGES = (
    "The model does not know which images it was trained on, as files of stadx 0.1 do not say it: they are not left "
    "out, though they would teach it nothing new. stadx update with --old, the folder of these images, or a training "
    "anew writes a model that knows them."
)
_FIGURES = ("image_score", "is_anomalous", "e", "v", "everywhere", "novelty", "gain")


def rank(
    model: ModelFile,
    images: Annotated[list[Path], typer.Argument(help="Image files, folders of them, and patterns in quotes.")],
    *,
    top: Annotated[int, typer.Option(min=1, help="How many images to choose.")] = 20,
    recursive: Annotated[bool, recursive_option("rank")] = True,
    out: Annotated[Path | None, typer.Option(help="Write the chosen images as CSV to this file.")] = None,
    json_file: Annotated[Path | None, json_option("the chosen images and their figures")] = None,
    roi: Region = None,
    stride: Stride = None,
    device: ScoringDevice = "cpu",
) -> None:
    """Choose the unlabelled images that a person should look at, so that the model learns most from the good ones.

    First come likely false alarms, and of each kind one before more of the same. Give the good ones to stadx update.
    """
    from stadx.core.errors import DataError
    from stadx.core.files import write_bytes
    from stadx.data.pages import entry_of
    from stadx.detectors.registry import load_model
    from stadx.detectors.student_teacher.detector import Detector
    from stadx.evaluation.prediction import collect_images
    from stadx.evaluation.score_tables import csv_row

    check_outputs(out, json_file)
    with listing():
        paths = collect_images(images, recursive=recursive)
    detector = load_model(model)
    if not isinstance(detector, Detector):
        raise DataError(f"{model}: a {detector.method} model cannot learn further images, so none is ranked for it")
    move(detector, device)
    region = apply_region(detector, roi)
    with ShownProgress() as progress:
        ranking = detector.rank(paths, top=top, stride=number(stride), roi=region, progress=progress)
    show(ranking_table(ranking.images))
    notes = [UNKNOWN_IMAGES] if ranking.known is None else []
    for note in notes:
        say(note)
    if ranking.known:
        say(f"Left out, as the model has learned from them: {ranking.known}.")
    lines: list[dict[str, Any]] = [
        {"rank": place, **entry_of(paths[item.number]), **{name: getattr(item, name) for name in _FIGURES}}
        for place, item in enumerate(ranking.images, 1)
    ]
    if out is not None:
        columns = ("rank", "path", "page", *_FIGURES)
        rows = [csv_row(*(line.get(column, "") for column in columns)) for line in lines]
        write_bytes(out, b"".join([csv_row(*columns), *rows]))
        say(f"CSV: {out}")
    if json_file is not None:
        failures = [{**entry_of(paths[index]), "error": why} for index, why in ranking.failures.items()]
        write_json(json_file, {"images": lines, "known": ranking.known, "notes": notes, "failures": failures})
    for why in ranking.failures.values():
        fail(why)
    if ranking.failures:
        fail(f"{len(ranking.failures)} of {len(paths)} images could not be scored; the others are ranked")
        raise typer.Exit(BAD_INPUT)
