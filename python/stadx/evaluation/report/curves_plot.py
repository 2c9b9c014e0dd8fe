"""PRO, ROC and precision-recall curves of several detectors in one picture, with bootstrap intervals."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stadx.core.errors import DataError
from stadx.core.files import write_bytes
from stadx.core.progress import Progress, silent
from stadx.data.maps import open_map_set
from stadx.metrics import FPR_LIMIT, PixelMetrics, evaluate_maps

from .plots import INK, STYLE, thin, to_png, to_svg

Curve = Literal["pro", "roc", "pr"]
CURVES: tuple[Curve, ...] = ("pro", "roc", "pr")
COLOURS = ("#4c78dd", "#e76f51", "#2a9d8f", "#b279a2", "#8a6d3b", "#4a4a4a")
_AXES = {
    "pro": ("false-positive rate of background pixels", "per-region overlap (PRO)"),
    "roc": ("false-positive rate of background pixels", "recall of defect pixels"),
    "pr": ("recall of defect pixels", "precision"),
}
_POINTS = 201  # of an interval's edge


def measure_all(maps: Mapping[str, Path], masks: Path, *, progress: Progress = silent) -> dict[str, PixelMetrics]:
    """The metrics of each detector's maps, by its name."""
    found = {}
    for name, folder in maps.items():
        source = open_map_set(folder, masks)

        def told(stage: str, done: int, total: int, figures: Mapping[str, float], name: str = name) -> None:
            progress(f"{name}: {stage}", done, total, figures)

        found[name] = evaluate_maps(source, names=source.names, progress=told)
    return found


def write_curves(
    path: str | os.PathLike[str],
    metrics: Mapping[str, PixelMetrics],
    *,
    curves: Sequence[Curve] = CURVES,
    fpr_limit: float = FPR_LIMIT,
    replicates: int = 200,
    seed: int = 0,
) -> None:
    """Draw the curves of several detectors, one panel for each kind.

    Args:
        path: .png or .svg.
        metrics: by name.
        curves: which, in that order.
        fpr_limit: marked in the PRO panel; AU-PRO up to it is in the legend.
        replicates: of the bootstrap over images whose 95 % the shades show; 0 for none.
        seed: of its draws, the same for all.

    Raises:
        DataError: there are more detectors than colours, or the file is of another kind.
        OutputError: it cannot be written.
    """
    path = Path(path)
    if len(metrics) > len(COLOURS):
        raise DataError(f"{len(metrics)} detectors are more than a picture can tell apart; give up to {len(COLOURS)}")
    if path.suffix.lower() not in (".png", ".svg"):
        raise DataError(f"{path}: is neither .png nor .svg; give one of them")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4 * len(curves), 3.9), layout="constrained")
        panels: dict[Curve, Axes] = dict(zip(curves, np.atleast_1d(figure.subplots(1, len(curves))), strict=True))
        for (name, measured), colour in zip(metrics.items(), COLOURS, strict=False):
            _draw(panels, name, measured, colour, fpr_limit, replicates, seed)
        for kind, axes in panels.items():
            across, up = _AXES[kind]
            axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=across, ylabel=up)
            axes.grid(color=INK, alpha=0.12, linewidth=0.6)
            axes.legend(fontsize=9, loc="lower left" if kind == "pr" else "lower right")
        if "pro" in panels:
            panels["pro"].axvline(fpr_limit, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.6)
        content = to_png(figure) if path.suffix.lower() == ".png" else _standalone(to_svg(figure, "curves"))
    write_bytes(path, content)


def _draw(
    panels: Mapping[Curve, Axes],
    name: str,
    metrics: PixelMetrics,
    colour: str,
    fpr_limit: float,
    replicates: int,
    seed: int,
) -> None:
    bands = metrics.bands(np.linspace(0, 1, _POINTS), replicates=replicates, seed=seed) if replicates else None
    pro = metrics.pro_curve()
    lines = {
        "pro": ((pro.fpr, pro.pro), f"{name}: AU-PRO@{fpr_limit:g} {metrics.au_pro(fpr_limit):.3f}"),
        "roc": (metrics.roc_curve(), f"{name}: AUROC {metrics.auroc:.3f}"),
        "pr": (metrics.pr_curve(), f"{name}: AUPR {metrics.aupr:.3f}"),
    }
    for kind, axes in panels.items():
        (x, y), label = lines[kind]
        axes.plot(*thin(x, y), color=colour, linewidth=1.6, label=label)
        if bands is not None:
            axes.fill_between(bands.at, *getattr(bands, kind), color=colour, alpha=0.16, linewidth=0)


def _standalone(svg: str) -> bytes:
    """A file of its own: black on white wherever it is shown."""
    return svg.replace("<svg ", '<svg style="color: black; background: white" ', 1).encode()
