"""The command `stadx evaluate-maps`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import ShownProgress, check_outputs, say, show, write_json
from .options import IgnoreValue, json_option
from .tables import maps_table


def evaluate_maps(
    maps: Annotated[Path, typer.Argument(help="Folder of maps (TIFF, NPY, PNG), or one .npy stack [N, H, W].")],
    masks: Annotated[
        Path, typer.Argument(help="Folder of masks with the same sub-folders and names, or one .npy stack.")
    ],
    limits: Annotated[str, typer.Option(help="False-positive rates up to which AU-PRO is taken.")] = "0.3,0.05",
    compare: Annotated[
        bool, typer.Option("--compare", help="Also print what common shortcuts report on the same maps.")
    ] = False,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Replicates of a bootstrap over images, for a 95 % interval; 0 for none.")
    ] = 0,
    connectivity: Annotated[
        Literal["8", "4"], typer.Option(help="Neighbours that make defect pixels one region.")
    ] = "8",
    ignore_value: IgnoreValue = None,
    json_file: Annotated[Path | None, json_option("the metrics")] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Write a CSV line for every region: area, overlap, AU-PRO of its own.")
    ] = None,
) -> None:
    """Measure anomaly maps of any tool: exact AU-PRO, AUROC, AUPR, F1, AUPIMO.

    A map DEFECT/NAME.tiff belongs to the mask DEFECT/NAME_mask.png; maps in a folder "good" have none. Maps from
    `stadx predict` fit if it was run for each folder of test images with its own --out.
    """
    check_outputs(json_file, regions)
    from stadx.core.files import write_bytes
    from stadx.evaluation.of_maps import evaluate_map_files, read_limits

    numbers = read_limits(limits)
    with ShownProgress() as progress:
        evaluation = evaluate_map_files(
            maps,
            masks,
            limits=numbers,
            connectivity=int(connectivity),
            compare=compare,
            replicates=bootstrap,
            ignore_value=ignore_value,
            progress=progress,
        )
    show(maps_table(evaluation))
    for note in evaluation.notes:
        say(note)
    if json_file is not None:
        write_json(json_file, evaluation.to_json())
    if regions is not None:
        write_bytes(regions, evaluation.regions_csv().encode("utf-8", "replace"))
        say(f"Regions: {regions}")
