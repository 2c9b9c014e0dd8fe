"""The command `stadx evaluate-maps`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import ShownProgress, check_outputs, say, show, write_json
from .options import IgnoreValue, json_option, refused
from .tables import maps_table, spro_table


def evaluate_maps(
    maps: Annotated[Path, typer.Argument(help="Folder of maps (TIFF, NPY, PNG), or one .npy stack [N, H, W].")],
    masks: Annotated[
        Path, typer.Argument(help="Folder of masks with the same sub-folders and names, or one .npy stack.")
    ],
    limits: Annotated[
        str | None,
        typer.Option(
            help="False-positive rates up to which AU-PRO is taken.",
            show_default="0.3,0.05; with --spro 0.01,0.05,0.1,0.3,1",
        ),
    ] = None,
    spro: Annotated[
        Path | None,
        typer.Option(
            metavar="CONFIG",
            help="AU-sPRO as MVTec LOCO AD has it: MASKS has TYPE/NAME/000.png, …, each one region, and this "
            "defects_config.json says when one is found.",
        ),
    ] = None,
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

    if spro is not None:
        for name, given in {"compare": compare, "bootstrap": bootstrap, "connectivity": connectivity == "4"}.items():
            if given:
                raise refused(name, "is of masks whose regions are connected, not of --spro")
        for name, value in {"ignore_value": ignore_value, "regions": regions}.items():
            if value is not None:
                raise refused(name, "is not there with --spro")
        _evaluate_spro(maps, masks, spro, limits, json_file)
        return
    numbers = read_limits(limits or "0.3,0.05")
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


def _evaluate_spro(maps: Path, masks: Path, config: Path, limits: str | None, json_file: Path | None) -> None:
    from stadx.evaluation.of_maps import read_limits
    from stadx.evaluation.spro import evaluate_spro_files
    from stadx.metrics import SPRO_LIMITS

    numbers = SPRO_LIMITS if limits is None else read_limits(limits)
    with ShownProgress() as progress:
        evaluation = evaluate_spro_files(maps, masks, config, limits=numbers, progress=progress)
    show(spro_table(evaluation))
    for note in evaluation.notes:
        say(note)
    if json_file is not None:
        write_json(json_file, evaluation.to_json())
