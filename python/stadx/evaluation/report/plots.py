"""Plots of an evaluation as SVG that takes its text colour from the page around it; any figure as PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from stadx.metrics import ProCurve

GOOD_COLOUR = "#2a9d8f"
DEFECT_COLOUR = "#e76f51"
CURVE_COLOUR = "#4c78dd"
# Drawn in place of the page's text colour and replaced by `currentColor` afterwards.
INK = "#010203"
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it takes the page's font and can be searched
    "svg.hashsalt": "stadx",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
MOST_POINTS = 600  # of a curve in the file; a screen shows no more


def image_histogram(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], threshold: float, *, name: str = "images"
) -> str:
    """Plot how the scores [N] of good and of defective images (labels bool [N]) are spread; SVG.

    The dashed line is the threshold. `name` keeps the ids of several plots in a page apart.
    """
    good, defect = scores[~labels], scores[labels]
    bins = _bins([good, defect], _linear_width(threshold), 26)
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure()
        for values, colour, label in ((good, GOOD_COLOUR, "good"), (defect, DEFECT_COLOUR, "defect")):
            if values.size:
                axes.hist(values, bins=bins.tolist(), color=colour, alpha=0.75, label=f"{label} ({values.size})")
        _finish(axes, "image score (maximum of the map)", "images", bins, threshold)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        return to_svg(figure, name)


def pixel_histogram(
    maps: Sequence[NDArray[np.float32]],
    masks: Sequence[NDArray[np.bool_]],
    threshold: float,
    *,
    name: str = "pixels",
) -> str:
    """Plot how the scores of background and of defect pixels are spread (maps and masks of one shape each); SVG.

    Each adds up to 1, on a logarithmic axis: few pixels are in the tail that decides.
    """
    background = np.concatenate([scores[~mask] for scores, mask in zip(maps, masks, strict=True)])
    marked = np.concatenate([scores[mask] for scores, mask in zip(maps, masks, strict=True)])
    bins = _bins([background, marked], _linear_width(threshold), 80)
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure()
        for values, colour, label in (
            (background, GOOD_COLOUR, "background"),
            (marked, DEFECT_COLOUR, "defect"),
        ):
            if values.size:
                counts, _ = np.histogram(values, bins=bins)
                axes.stairs(counts / values.size, bins, color=colour, fill=True, alpha=0.25)
                axes.stairs(counts / values.size, bins, color=colour, label=label, linewidth=1.4)
        axes.set_yscale("log")
        _finish(axes, "pixel score", "share of pixels", bins, threshold)
        return to_svg(figure, name)


def pro_plot(curve: ProCurve, area: float, fpr_limit: float, *, name: str = "pro") -> str:
    """Plot the PRO curve and shade the area up to `fpr_limit` that AU-PRO measures; SVG."""
    fpr, pro = thin(curve.fpr, curve.pro)
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure()
        at_limit = float(np.interp(fpr_limit, fpr, pro))
        inside = fpr <= fpr_limit
        x, y = np.append(fpr[inside], fpr_limit), np.append(pro[inside], at_limit)
        axes.fill_between(x, y, color=CURVE_COLOUR, alpha=0.2, linewidth=0)
        axes.plot(fpr, pro, color=CURVE_COLOUR, linewidth=1.8)
        axes.axvline(fpr_limit, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.6)
        axes.text(
            fpr_limit / 2,
            0.42,
            f"AU-PRO\n{area:.3f}",
            ha="center",
            va="center",
            fontsize=12,
            fontweight="bold",
        )
        axes.text(fpr_limit + 0.015, 0.03, f"FPR limit {fpr_limit:g}", va="bottom", alpha=0.75)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="false-positive rate of background pixels")
        axes.set_ylabel("per-region overlap (PRO)")
        axes.grid(color=INK, alpha=0.12, linewidth=0.6)
        return to_svg(figure, name)


def new_figure() -> tuple[Figure, Axes]:
    """Return an empty plot of the size that all plots have."""
    figure = Figure(figsize=(4.4, 3.1), layout="constrained")
    return figure, figure.subplots()


def _bins(groups: Sequence[NDArray[np.floating]], width: float, count: int) -> NDArray[np.float64]:
    """Return `count` + 1 bin edges over the scores, evenly spaced on the axis that `_finish` sets."""
    values = [float(edge) for group in groups if group.size for edge in (group.min(), group.max())] or [0.0]
    low, high = min(*values, 0.0), max(*values, width)
    edges = np.arcsinh(np.array([low, high]) / width)
    margin = 0.01 * (edges[1] - edges[0])
    return np.asarray(np.sinh(np.linspace(edges[0] - margin, edges[1] + margin, count + 1)) * width)


def _linear_width(threshold: float) -> float:
    """Return the score below which the axes are about linear, and above which they are logarithmic.

    Scores are squared errors: those of defects reach hundreds of times the threshold, those of good pixels
    crowd below it, and both should be seen.
    """
    return abs(threshold) or 1.0


def _finish(axes: Axes, across: str, up: str, bins: NDArray[np.float64], threshold: float) -> None:
    axes.axvline(threshold, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.75, label="threshold")
    score_axis(axes, bins[0], bins[-1], threshold)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.4)


def score_axis(axes: Axes, low: float, high: float, threshold: float) -> None:
    """Let scores from `low` to `high` go across; the axis is about linear up to the threshold, see `_linear_width`."""
    width = _linear_width(threshold)
    axes.set_xscale("asinh", linear_width=width)
    axes.set_xlim(low, high)
    axes.set_xticks(_ticks(low, high, width))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _ticks(low: float, high: float, width: float) -> list[float]:
    """Return 0 and round numbers far enough apart on the axis not to run into each other."""
    magnitudes = [m * 10.0**k for k in range(-12, 16) for m in (1.0, 2.0, 5.0)]
    apart = (np.arcsinh(high / width) - np.arcsinh(low / width)) / 7
    ticks = [0.0]
    for sign, end in ((1.0, high), (-1.0, -low)):
        last = 0.0
        for magnitude in magnitudes:
            place = np.arcsinh(magnitude / width)
            if magnitude <= end and place - last >= apart:
                ticks.append(sign * magnitude)
                last = place
    return sorted(ticks)


def thin(fpr: NDArray[np.float64], pro: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep at most MOST_POINTS points, evenly along the length of the curve so that steep parts stay."""
    if len(fpr) <= MOST_POINTS:
        return fpr, pro
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(fpr)) + np.abs(np.diff(pro)))])
    picked = np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], MOST_POINTS)).clip(0, len(fpr) - 1))
    return fpr[picked], pro[picked]


def to_svg(figure: Figure, name: str) -> str:
    """Render as an SVG element for use inside HTML: no XML header, ids of its own, the page's text colour."""
    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    prefix = re.sub(r"[^a-z0-9]+", "-", name.lower())
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)


def to_png(figure: Figure) -> bytes:
    """Render as a PNG file on white, 100 pixels an inch."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
