"""One self-contained HTML page about a line: scores, share flagged and evidence of a drift over time."""

from __future__ import annotations

import os
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stadx.metrics.intervals import clopper_pearson, percent

from ..monitor.monitoring import HEADINGS, Monitoring
from .page import settings_list, write_page
from .plots import CURVE_COLOUR, DEFECT_COLOUR, GOOD_COLOUR, INK, MOST_POINTS, STYLE, to_svg

_MOST_DOTS = 3000  # a screen shows no more
_MOST_EVIDENCE = 12.0  # log10; beyond it nothing is more certain
_DASHED = (0, (4, 3))


def write_monitoring(path: str | os.PathLike[str], found: Monitoring, title: str) -> None:
    """Write what was found of a line as one HTML file.

    Raises:
        OutputError: `path` cannot be written.
    """
    state = found.state
    kind = "" if state.verdict == "none" else ' class="note"'
    notes = "".join(f"<p>{escape(note)}</p>" for note in found.notes)
    pairs = {
        "image threshold": f"{found.threshold:.6g}",
        "false-alarm rate": f"{percent(found.settings.alpha)} over all time, half for each of the two tests",
        "images that count as one": found.group,
        "window": f"{found.settings.window} images",
    }
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p{kind}>{escape(found.sentence())}</p><p>{escape(found.advice())}</p>{notes}",
        f'<div class="card plots">{_over_time(found)}</div>',
        f'<div class="card scroll" style="margin-top:.9rem">{_table(found)}</div>',
        f'<div class="card plots" style="max-width:560px;margin-top:.9rem">{_distribution(found)}</div>',
        settings_list("Settings", pairs.items()),
    ]
    write_page(path, f"stadx: {title}", parts)


def _table(found: Monitoring) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in ("", *HEADINGS))
    rows = "".join(
        f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in figures.cells())}</tr>"
        for name, figures in found.rows().items()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _over_time(found: Monitoring) -> str:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 8.4), layout="constrained")
        scores, flagged, evidence = figure.subplots(3, sharex=True, height_ratios=(4, 2, 3))
        _draw_scores(scores, found)
        _draw_flagged(flagged, found)
        _draw_evidence(evidence, found)
        for axes in (scores, flagged, evidence):
            axes.grid(color=INK, alpha=0.12, linewidth=0.6)
            if found.settings.baseline:
                axes.axvspan(0.5, found.settings.baseline + 0.5, color=GOOD_COLOUR, alpha=0.1, linewidth=0)
            if found.state.since is not None:
                axes.axvline(found.state.since, color=DEFECT_COLOUR, linewidth=1.2)
        evidence.set_xlim(0.5, len(found.scores) + 0.5)
        evidence.xaxis.set_major_locator(MaxNLocator(integer=True))
        evidence.set_xlabel("image")
        return to_svg(figure, "line")


def _draw_scores(axes: Axes, found: Monitoring) -> None:
    numbers, is_flagged = np.arange(1, len(found.scores) + 1), found.scores > found.threshold
    for chosen, colour, name in ((~is_flagged, GOOD_COLOUR, "image"), (is_flagged, DEFECT_COLOUR, "flagged")):
        shown = np.flatnonzero(chosen)
        shown = shown[:: max(1, -(-len(shown) // _MOST_DOTS))]
        axes.plot(numbers[shown], found.scores[shown], ".", color=colour, markersize=3.5, alpha=0.6, label=name)
    known = found.figures["reference"]
    name = f"middle half of the {found.reference_name}"
    axes.axhspan(known.lower, known.upper, color=INK, alpha=0.08, linewidth=0, label=name)
    at = _thinned(len(found.scores))
    running = [float(np.median(found.scores[max(0, i + 1 - found.settings.window) : i + 1])) for i in at]
    axes.plot(at + 1, running, color=CURVE_COLOUR, linewidth=1.6, label=f"median of {found.settings.window}")
    axes.axhline(found.threshold, color=INK, linewidth=1.0, linestyle=_DASHED, label="threshold")
    low, high = found.scores.min(), found.scores.max()
    if low > 0 and high > 20 * np.median(found.scores):
        axes.set_yscale("log")
    axes.set_ylabel("image score")
    _legend(axes)


def _draw_flagged(axes: Axes, found: Monitoring) -> None:
    at = _thinned(len(found.scores))
    before = np.concatenate([[0], np.cumsum(found.scores > found.threshold)])
    shares, lows, highs = [], [], []
    for i in at:
        first = max(0, i + 1 - found.settings.window)
        k, n = int(before[i + 1] - before[first]), int(i + 1 - first)
        low, high = clopper_pearson(k, n)
        shares.append(k / n)
        lows.append(low)
        highs.append(high)
    low, high = found.figures["reference"].interval
    axes.axhspan(100 * low, 100 * high, color=INK, alpha=0.08, linewidth=0, label="what the model promises")
    axes.fill_between(at + 1, 100 * np.array(lows), 100 * np.array(highs), color=CURVE_COLOUR, alpha=0.2, linewidth=0)
    name = f"flagged of {found.settings.window}, 95 % CI"
    axes.plot(at + 1, 100 * np.array(shares), color=CURVE_COLOUR, linewidth=1.6, label=name)
    axes.set_ylim(0, 100 * min(1.0, max(0.1, 1.1 * max(*shares, high))))
    axes.set_ylabel("flagged (%)")
    _legend(axes)


def _draw_evidence(axes: Axes, found: Monitoring) -> None:
    at = _thinned(len(found.scores))
    for values, colour, name in (
        (found.log10_level, CURVE_COLOUR, "level of ordinary images"),
        (found.log10_high, DEFECT_COLOUR, "high scores"),
    ):
        axes.plot(at + 1, values[at], color=colour, linewidth=1.6, label=name)
    name = f"2 / α = {10**found.log10_limit:g}"
    axes.axhline(found.log10_limit, color=INK, linewidth=1.0, linestyle=_DASHED, label=name)
    highest = float(max(found.log10_level.max(), found.log10_high.max()))
    axes.set_ylim(-1.2, max(1.15 * found.log10_limit, min(_MOST_EVIDENCE, highest)))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"$10^{{{value:.0f}}}$")
    axes.set_ylabel("evidence (martingale)")
    _legend(axes)


def _distribution(found: Monitoring) -> str:
    """How the scores of the reference and of the last images, or those since the change, are spread."""
    names, since = list(found.rows()), found.state.since
    begin = max(found.settings.baseline, len(found.scores) - found.settings.window) if since is None else since - 1
    groups = ((names[0], found.reference, GOOD_COLOUR), (names[-1], found.scores[begin:], DEFECT_COLOUR))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 2.8), layout="constrained")
        axes = figure.subplots()
        for name, values, colour in groups:
            ordered = np.sort(values)
            shares = np.arange(1, len(ordered) + 1) / len(ordered)
            axes.step(ordered, shares, where="post", color=colour, label=name)
        axes.axvline(found.threshold, color=INK, linewidth=1.0, linestyle=_DASHED, label="threshold")
        axes.set(xlabel="image score", ylabel="share of the images below", ylim=(0, 1.02))
        _legend(axes)
        return to_svg(figure, "spread")


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5, handlelength=1.4)


def _thinned(count: int) -> NDArray[np.int64]:
    """Which of so many places a curve is drawn through, the last one among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(np.int64))
