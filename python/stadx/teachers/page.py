"""One self-contained HTML page about a teacher's pretraining, rewritten while it runs."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from stadx.evaluation.report.page import data_uri, settings_list, write_page

from .diagnostics import Diagnosis
from .plots import curves_plot, spectrum_plot

_PATCH_SIDE = 72  # of a patch in the page, in pixels
_CORRELATION_SIDE = 384
_STYLE = """
.pixelated { image-rendering: pixelated; width: 100%; display: block; border-radius: 6px; }
.retrieval { display: grid; grid-template-columns: repeat(auto-fit, minmax(560px, 1fr)); gap: .9rem; }
.retrieval > div { display: grid; grid-template-columns: 1fr .3fr repeat(6, 1fr); gap: .35rem; align-items: start; }
.retrieval figure { margin: 0; } .retrieval figcaption { font-size: .75rem; text-align: center; }
@media (max-width: 640px) { .retrieval { grid-template-columns: 1fr; } }
"""


def write_teacher_page(
    path: str | os.PathLike[str],
    diagnosis: Diagnosis,
    history: Sequence[Mapping[str, float]],
    settings: Mapping[str, object],
) -> None:
    """Write how a training goes as one HTML file that needs nothing else: pictures and plots are inside it.

    Curves of the losses; with P the share of its variance that is explained, in training and on held-out patches; the
    spectrum, effective rank and correlation of the descriptors; nearest neighbours; the settings.

    Args:
        path: the file.
        diagnosis: of the teacher as it is now.
        history: figures by step, as the teacher's card holds them; at least one entry.
        settings: names and values of the training.

    Raises:
        OutputError: `path` cannot be written.
    """
    title = f"stadx: teacher p = {settings.get('patch_size')}"
    steps = f"step {history[-1]['step']:,.0f} of {settings.get('steps'):,}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{steps}; held-out figures are of patches of photos that training never sees.</p>',
        _headline(diagnosis, history[-1]),
        "<h2>Course</h2>",
        f'<div class="plots">{"".join(_card(plot) for plot in _curves(history))}</div>',
        "<h2>Descriptors of held-out patches</h2>",
        '<div class="plots">' + _card(spectrum_plot(diagnosis.spectrum)) + _card(_correlation(diagnosis.correlation)),
        "</div>",
        "<h2>Nearest neighbours</h2>",
        '<p class="soft">Left a held-out patch, right those of other photos whose descriptors are nearest, with the '
        "distance. They should show the same kind of thing.</p>",
        _retrieval(diagnosis),
        settings_list("Settings", settings.items()),
    ]
    write_page(path, title, parts, _STYLE)


def _headline(diagnosis: Diagnosis, last: Mapping[str, float]) -> str:
    size = len(diagnosis.spectrum)
    off = diagnosis.correlation[~np.eye(size, dtype=bool)]
    figures = [
        (f"{diagnosis.effective_rank:.1f}", f"effective rank of {size}"),
        (f"{off.mean() if off.size else 0:.3f}", "mean |correlation| of two dimensions"),
    ]
    if diagnosis.explained is not None:
        figures.insert(0, (f"{diagnosis.explained:.1%}", "of the variance explained, held out"))
    if "explained" in last:
        figures.insert(1, (f"{last['explained']:.1%}", "the same in training, mean of 100 steps"))
    cards = "".join(f'<div class="card"><b>{figure}</b><span>{escape(label)}</span></div>' for figure, label in figures)
    return f'<div class="figures">{cards}</div>'


def _curves(history: Sequence[Mapping[str, float]]) -> list[str]:
    plots = []
    labels = {
        "distillation": "distillation loss Lk",
        "triplet": "triplet loss Lm",
        "compactness": "compactness loss Lc",
    }
    for name, label in labels.items():
        if any(name in entry for entry in history):
            plots.append(curves_plot({"": _series(history, name)}, label, name=name))
    shares = {"training": _series(history, "explained"), "held out": _series(history, "held_out_explained")}
    if any(steps for steps, _ in shares.values()):
        plots.append(curves_plot(shares, "share of P's variance explained", name="explained"))
    ranks = _series(history, "effective_rank")
    if ranks[0]:
        plots.append(curves_plot({"": ranks}, "effective rank, held out", name="rank"))
    return plots


def _series(history: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    entries = [entry for entry in history if name in entry]
    return [entry["step"] for entry in entries], [entry[name] for entry in entries]


def _correlation(matrix: NDArray[np.float64]) -> str:
    colours = (colormaps["magma"](matrix)[:, :, :3] * 255).astype(np.uint8)
    repeat = max(1, _CORRELATION_SIDE // len(matrix))
    return (
        f'<img class="pixelated" src="{_inline(np.kron(colours, np.ones((repeat, repeat, 1), np.uint8)))}" '
        'alt="correlation matrix"><p class="soft">|correlation| of the descriptors\' dimensions: black 0, white 1</p>'
    )


def _retrieval(diagnosis: Diagnosis) -> str:
    rows = []
    for item in diagnosis.neighbours:
        pairs = zip(item.found, item.distances, strict=True)
        found = "".join(_picture(patch, "neighbour", f"{distance:.2f}") for patch, distance in pairs)
        rows.append(f'<div class="card">{_picture(item.query, "query", "")}<span></span>{found}</div>')
    return f'<div class="retrieval">{"".join(rows)}</div>'


def _picture(patch: NDArray[np.uint8], what: str, caption: str) -> str:
    size = (_PATCH_SIDE, _PATCH_SIDE)
    large = np.asarray(Image.fromarray(np.ascontiguousarray(patch)).resize(size, Image.Resampling.BICUBIC))
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img class="pixelated" src="{_inline(large)}" alt="{what}">{below}</figure>'


def _inline(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return data_uri(buffer.getvalue())


def _card(content: str) -> str:
    return f'<div class="card">{content}</div>'
