"""The command `stadx plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import ShownProgress, check_outputs, say
from .options import refused


def plot(
    maps: Annotated[list[Path], typer.Argument(help="Maps of one or more detectors, as for `stadx evaluate-maps`.")],
    masks: Annotated[Path, typer.Option(help="Masks of the images, the same for all detectors.")],
    out: Annotated[Path, typer.Option(help="Picture to write, .png or .svg.")],
    names: Annotated[
        str | None, typer.Option(help="What to call the detectors: a,b,…", show_default="the folders' names")
    ] = None,
    curves: Annotated[str, typer.Option(help="Which curves: pro, roc, pr.")] = "pro,roc,pr",
    limit: Annotated[float, typer.Option(min=0, max=1, help="False-positive rate up to which AU-PRO is taken.")] = 0.3,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Replicates of a bootstrap over images, whose 95 % are shaded; 0 for none.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of its draws.")] = 0,
) -> None:
    """Draw exact PRO, ROC and precision-recall curves of several detectors' maps into one picture."""
    called = [path.resolve().name for path in maps] if names is None else names.split(",")
    if len(called) != len(maps) or len(set(called)) != len(called):
        raise refused("names", f"gives {', '.join(called)} for {len(maps)} sets of maps; give each a name of its own")
    check_outputs(out)
    from stadx.evaluation.report.curves_plot import CURVES, measure_all, write_curves

    asked = [part.strip() for part in curves.split(",")]
    wanted = [curve for curve in CURVES if curve in asked]
    if len(wanted) != len(asked):
        raise refused("curves", f"is {curves}; give some of {', '.join(CURVES)}, each once")
    if bootstrap == 1:
        raise refused("bootstrap", "is 1; give 0 or at least 2")
    with ShownProgress() as progress:
        metrics = measure_all(dict(zip(called, maps, strict=True)), masks, progress=progress)
        write_curves(out, metrics, curves=wanted, fpr_limit=limit, replicates=bootstrap, seed=seed)
    say(f"Curves: {out}")
