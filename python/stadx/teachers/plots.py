"""Plots of a teacher's pretraining, in the style of `plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from numpy.typing import NDArray

from stadx.evaluation.report.plots import CURVE_COLOUR, DEFECT_COLOUR, GOOD_COLOUR, INK, STYLE, new_figure, to_svg

_COLOURS = (CURVE_COLOUR, DEFECT_COLOUR, GOOD_COLOUR)


def curves_plot(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str, *, name: str) -> str:
    """Plot curves (label -> steps, values) over the steps; SVG. `name` keeps ids of several plots in a page apart."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure()
        for colour, (title, (steps, values)) in zip(_COLOURS, series.items(), strict=False):
            axes.plot(steps, values, color=colour, linewidth=1.6, marker=".", markersize=4, label=title or None)
        axes.set(xlabel="step", ylabel=label)
        axes.grid(color=INK, alpha=0.12, linewidth=0.6)
        if any(series):
            axes.legend(fontsize=9)
        return to_svg(figure, name)


def spectrum_plot(spectrum: NDArray[np.float64], *, name: str = "spectrum") -> str:
    """Plot the shares [d] of the descriptors' variance along its principal axes, on a logarithmic scale; SVG."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure()
        axes.plot(np.arange(1, len(spectrum) + 1), np.maximum(spectrum, 1e-8), color=CURVE_COLOUR, linewidth=1.8)
        axes.set_yscale("log")
        axes.set(xlabel="principal axis", ylabel="share of the variance")
        axes.grid(color=INK, alpha=0.12, linewidth=0.6)
        return to_svg(figure, name)
