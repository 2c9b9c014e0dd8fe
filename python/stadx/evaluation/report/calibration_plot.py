"""A picture of the choice of an image threshold."""

from __future__ import annotations

import os

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stadx.core.files import write_bytes

from ..calibration import Calibration
from ..calibration_curve import CalibrationCurve
from .plots import CURVE_COLOUR, DEFECT_COLOUR, GOOD_COLOUR, INK, STYLE, score_axis, to_png

_CHOSEN, _PREVIOUS = (0, (4, 3)), (0, (1, 2))  # line styles


def write_calibration_plot(path: str | os.PathLike[str], calibration: Calibration, previous: float) -> None:
    """Draw the defects found against the good images flagged for all thresholds, and below it the scores.

    Args:
        path: the PNG file to write.
        calibration: what to show.
        previous: the model's image threshold until then.

    Raises:
        OutputError: if the file cannot be written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 6.0), layout="constrained")
        above, below = figure.subplots(2, height_ratios=(3, 1))
        _draw_curve(above, calibration, previous)
        _draw_scores(below, calibration, previous)
        write_bytes(path, to_png(figure))


def _draw_curve(axes: Axes, calibration: Calibration, previous: float) -> None:
    curve = calibration.curve
    across, up = curve.flagged / curve.good, curve.found / curve.defects
    axes.plot(across, up, color=CURVE_COLOUR, linewidth=1.8, clip_on=False)
    found, flagged = calibration.at(previous)
    axes.plot(
        flagged.k / flagged.n,
        found.k / found.n,
        "o",
        markersize=11,
        markerfacecolor="none",
        color=INK,
        label=f"previous threshold, {previous:.3g}: {found} found, {flagged} flagged",
        clip_on=False,
    )
    axes.plot(
        calibration.flagged.k / curve.good,
        calibration.found.k / curve.defects,
        "o",
        markersize=7,
        color=DEFECT_COLOUR,
        label=f"threshold, {calibration.threshold:.3g}: {calibration.found} found, {calibration.flagged} flagged",
        clip_on=False,
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="share of the good images flagged")
    axes.set_ylabel("share of the defects found")
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.legend(fontsize=9, loc="lower right")


def _draw_scores(axes: Axes, calibration: Calibration, previous: float) -> None:
    rows = ((calibration.good, GOOD_COLOUR, "good"), (calibration.defects, DEFECT_COLOUR, "defect"))
    for row, (scores, colour, _) in enumerate(rows):
        axes.plot(scores, np.full(len(scores), row), "|", color=colour, markersize=16, markeredgewidth=1.2, alpha=0.7)
    axes.axvline(previous, color=INK, linewidth=1.0, linestyle=_PREVIOUS, label="previous threshold")
    axes.axvline(calibration.threshold, color=INK, linewidth=1.0, linestyle=_CHOSEN, label="threshold")
    low, high = _limits(calibration.curve, previous)
    score_axis(axes, low, high, calibration.threshold)
    axes.set_ylim(-0.6, 1.6)
    axes.set_yticks(range(len(rows)), [f"{name} ({len(scores)})" for scores, _, name in rows])
    axes.set_xlabel("image score (maximum of the map)")
    axes.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _limits(curve: CalibrationCurve, previous: float) -> tuple[float, float]:
    """From 0 or the lowest to the highest of all scores and thresholds."""
    ends = (0.0, previous, float(curve.thresholds[-1]), float(curve.thresholds[0]))
    return min(ends), max(ends)
