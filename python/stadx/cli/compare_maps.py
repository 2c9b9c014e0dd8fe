"""The command `stadx compare-maps`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import ShownProgress, check_outputs, say, show, write_json
from .options import json_option
from .tables import comparison_table

if TYPE_CHECKING:
    from stadx.evaluation.compare_maps import ComparedRegion

_LISTED = 10  # regions on the terminal


def compare_maps(
    a: Annotated[Path, typer.Argument(help="Maps of one detector, as for `stadx evaluate-maps`.")],
    b: Annotated[Path, typer.Argument(help="Maps of the other, of the same images.")],
    masks: Annotated[Path, typer.Argument(help="Their masks.")],
    limit: Annotated[float, typer.Option(min=0, max=1, help="False-positive rate up to which AU-PRO is taken.")] = 0.3,
    fpr: Annotated[
        float, typer.Option(min=0, max=1, help="False-positive rate at which regions are found or not.")
    ] = 0.05,
    overlap: Annotated[float, typer.Option(min=0, max=1, help="Share of a region that has to be found.")] = 0.5,
    replicates: Annotated[int, typer.Option(min=2, help="Of the bootstrap over images.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of its draws.")] = 0,
    json_file: Annotated[Path | None, json_option("the differences, and all regions that one alone finds,")] = None,
) -> None:
    """Say how sure the difference between two sets of maps is, and which regions one finds and the other does not.

    A paired bootstrap: both are measured on the same images, drawn again and again.
    """
    check_outputs(json_file)
    from stadx.evaluation.compare_maps import compare_map_files

    with ShownProgress() as progress:
        comparison = compare_map_files(
            a, b, masks, fpr_limit=limit, fpr=fpr, overlap=overlap, replicates=replicates, seed=seed, progress=progress
        )
    show(comparison_table(comparison))
    alone = f"{len(comparison.only_a)} by A alone, {len(comparison.only_b)} by B alone"
    say(f"Regions of which at least {100 * overlap:g} % is found at a false-positive rate of {fpr:g}:")
    say(f"{comparison.both} by both, {alone}, {comparison.neither} by none.")
    for name, regions in (("A", comparison.only_a), ("B", comparison.only_b)):
        for region in regions[:_LISTED]:
            say(f"{name} alone: {_described(region)}")
        if len(regions) > _LISTED:
            say(f"{name} alone: {len(regions) - _LISTED} more, see --json")
    if json_file is not None:
        write_json(json_file, comparison.to_json())


def _described(region: ComparedRegion) -> str:
    found = f"A {100 * region.overlap_a:.0f} %, B {100 * region.overlap_b:.0f} %"
    return f"{region.map}, row {region.row}, column {region.column}, {region.area} pixels: {found}"
