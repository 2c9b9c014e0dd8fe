"""The command `stadx predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import BAD_INPUT, ShownProgress, fail, listing, say
from .options import (
    ModelFile,
    OtherImageFpr,
    OtherTargetFpr,
    Region,
    ScoringDevice,
    Stride,
    apply_region,
    built,
    number,
    open_model,
)


def predict(
    model: ModelFile,
    images: Annotated[list[Path], typer.Argument(help="Image files, folders of them, and patterns in quotes.")],
    out: Annotated[Path, typer.Option(help="Folder for overlays, maps, masks and scores.jsonl.")],
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", help="Also score the images in sub-folders of folders.")
    ] = True,
    target_fpr: OtherTargetFpr = None,
    image_fpr: OtherImageFpr = None,
    roi: Region = None,
    stride: Stride = None,
    min_area: Annotated[
        float, typer.Option(min=0, help="Drop regions of the mask with a smaller area: pixels, with --pixel-size mm².")
    ] = 0,
    pixel_size: Annotated[
        float | None, typer.Option(metavar="MM", help="Edge of a pixel in millimetres, to tell areas in mm².")
    ] = None,
    export: Annotated[
        str,
        typer.Option(
            metavar="FORMATS",
            help="Write the regions as csv, coco or labelme too, or as several of them, such as csv,coco.",
            show_default="none",
        ),
    ] = "",
    device: ScoringDevice = "cpu",
) -> None:
    """Score images: a heat-map overlay, the raw map, the mask and a line in scores.jsonl for each.

    The line lists the connected regions of the mask, the largest peak first.
    """
    from stadx.evaluation.prediction import SCORES_FILE, collect_images, predict_files
    from stadx.evaluation.regions import RegionSettings

    chosen = {"min_area": min_area, "pixel_size": pixel_size, "exports": tuple(filter(None, export.split(",")))}
    regions = built(RegionSettings, chosen)
    with listing():
        paths = collect_images(images, recursive=recursive, without=[out])
    detector = open_model(model, device, target_fpr, image_fpr)
    given: dict[str, Any] = {"stride": number(stride), "roi": apply_region(detector, roi)}
    with ShownProgress() as progress:
        lines, failures = predict_files(detector, paths, out, **given, regions=regions, progress=progress)
    above = sum(line["is_anomalous"] for line in lines)
    say(f"{above} of {len(lines)} images are anomalous.")
    say(f"Scores: {out / SCORES_FILE}")
    if failures:
        for failure in failures:
            fail(failure.message)
        fail(f"{len(failures)} of {len(paths)} images could not be scored; the others are done")
        raise typer.Exit(BAD_INPUT)
