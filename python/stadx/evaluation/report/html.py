"""One self-contained HTML page about one or more evaluations."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from stadx.data.value_range import read_shown

from ..of_detector import DefectResult, Evaluation, TestScore
from ..spro import SproEvaluation
from .overlay import COLOURS, PREDICTED, TRUTH, Scale, outline, overlay, resize_map, resize_mask, resize_to, scale_for
from .page import data_uri, settings_list, write_page
from .plots import image_histogram, pixel_histogram, pro_plot

SHOWN = 4  # images in each row of the gallery
_LONGEST_SIDE = 320  # of a picture in the page, in pixels
_METRICS = ("image AUROC", "pixel AUROC", "AU-PRO")


def write_report(
    path: str | os.PathLike[str],
    evaluations: Sequence[Evaluation],
    *,
    title: str = "stadx report",
    intro: str = "",
    shown: int = SHOWN,
) -> None:
    """Write `evaluations` as one HTML file that needs nothing else: images and plots are inside it.

    Per category: the metrics, overall and per defect type, the score histograms, the PRO curve, and a gallery:
    the defects found best and worst, and the good images with the highest scores (`shown` of each).

    Raises:
        DataError: a test image is gone by now.
        OutputError: `path` cannot be written.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(intro)}</p>' if intro else "",
        _headline(evaluations),
        "<h2>Results</h2>",
        _table(evaluations),
        *(_category(evaluation, shown) for evaluation in evaluations),
        "<footer>Image AUROC ranks images by their score, pixel AUROC ranks pixels. AU-PRO is "
        "the area under the per-region overlap curve up to the false-positive rate limit, divided by that "
        "limit; it is exact: every distinct score is a threshold.</footer>",
    ]
    write_page(path, title, parts)


def _headline(evaluations: Sequence[Evaluation]) -> str:
    """The mean of each metric over the categories that have it, as large figures."""
    cards = []
    for label, attribute in zip(_METRICS, ("image_auroc", "pixel_auroc", "au_pro"), strict=True):
        values = [v for v in (getattr(e, attribute) for e in evaluations) if v is not None]
        figure = f"{np.mean(values):.3f}" if values else "–"
        over = f", mean of {len(values)} categories" if len(values) > 1 else ""
        cards.append(f'<div class="card"><b>{figure}</b><span>{_metric_name(label, evaluations)}{over}</span></div>')
    return f'<div class="figures">{"".join(cards)}</div>'


def _metric_name(label: str, evaluations: Sequence[Evaluation]) -> str:
    limits = {evaluation.fpr_limit for evaluation in evaluations}
    return f"{label}@{limits.pop():g}" if label == "AU-PRO" and len(limits) == 1 else label


def _table(evaluations: Sequence[Evaluation]) -> str:
    head = "".join(f"<th>{_metric_name(label, evaluations)}</th>" for label in _METRICS)
    rows = []
    for evaluation in evaluations:
        good = sum(image.is_good for image in evaluation.images)
        defects = len(evaluation.images) - good
        whole = DefectResult(defects, evaluation.image_auroc, evaluation.pixel_auroc, evaluation.au_pro)
        rows.append(_row("whole", evaluation.name, f"{good} + {defects}", whole))
        rows += [
            _row("part", name, f"{good} + {result.count}", result) for name, result in evaluation.per_defect.items()
        ]
    notes = "".join(f'<p class="note">{escape(n)}</p>' for evaluation in evaluations for n in evaluation.notes)
    return (
        f'{notes}<div class="card scroll"><table><thead><tr><th>category</th><th>good + defect</th>{head}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(kind: str, name: str, count: str, result: DefectResult) -> str:
    cells = [f"<td>{escape(name)}</td><td>{count}</td>"]
    cells += map(_metric, (result.image_auroc, result.pixel_auroc, result.au_pro))
    return f'<tr class="{kind}">{"".join(cells)}</tr>'


def _metric(value: float | None) -> str:
    return "<td>–</td>" if value is None else f'<td class="metric" style="--share:{value:.3f}">{value:.3f}</td>'


def _category(evaluation: Evaluation, shown: int) -> str:
    marked = [image for image in evaluation.images if image.marked]
    name, threshold = evaluation.name, evaluation.threshold
    plots = [
        image_histogram(evaluation.image_scores, evaluation.labels, evaluation.image_threshold, name=f"{name}-images"),
    ]
    if marked:
        maps, masks = zip(*(image.counted for image in marked), strict=True)
        plots.append(pixel_histogram(maps, masks, threshold, name=f"{name}-pixels"))
    if evaluation.curve is not None and evaluation.au_pro is not None:
        plots.append(pro_plot(evaluation.curve, evaluation.au_pro, evaluation.fpr_limit, name=f"{name}-pro"))
    cards = "".join(f'<div class="card">{plot}</div>' for plot in plots)
    scale = scale_for(threshold, _typical(evaluation))
    return "\n".join(
        [
            f"<h2>{escape(name)}</h2>",
            f"<p>{escape(evaluation.flagged_sentence())}</p>",
            f"<p>{escape(evaluation.promise)}</p>",
            *(f"<p>{escape(sentence)}</p>" for sentence in evaluation.f1_sentences()),
            "" if evaluation.spro is None else _spro(evaluation.spro),
            '<div class="plots">' + cards + "</div>",
            _gallery(evaluation, scale, shown),
            _settings(evaluation),
        ]
    )


def _spro(found: SproEvaluation) -> str:
    """AU-sPRO by limit, of each type of anomaly and their mean."""
    columns = {**{name: result.au_spro for name, result in found.types.items()}, "mean": found.mean}
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = (
        f"<tr><td>AU-sPRO@{limit:g}</td>{''.join(_metric(areas[limit]) for areas in columns.values())}</tr>"
        for limit in found.mean
    )
    return (
        f'<div class="card scroll"><table><thead><tr><th>metric</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


def _typical(evaluation: Evaluation) -> float:
    """The median score of the good test images' pixels; without any 0, the mean of normalised scores."""
    good = [image.counted[0].ravel() for image in evaluation.images if image.is_good]
    return float(np.median(np.concatenate(good))) if good else 0.0


def _gallery(evaluation: Evaluation, scale: Scale, shown: int) -> str:
    defects = [image for image in evaluation.images if not image.is_good]
    defects.sort(key=lambda i: (-1.0 if i.pixel_auroc is None else i.pixel_auroc, i.score), reverse=True)
    good = sorted((image for image in evaluation.images if image.is_good), key=lambda image: image.score, reverse=True)
    best, worst = defects[:shown], defects[shown:][-shown:][::-1]
    rows = [
        ("Found best", "defect images by pixel AUROC within the image, or their score, highest first", best),
        ("Found worst", "the same order from its other end", worst),
        ("Good images with the highest scores", "candidates for false alarms", good[:shown]),
    ]
    parts = [_key(scale, evaluation.threshold)]
    for heading, explanation, images in rows:
        if images:
            shots = "".join(_shot(image, scale, evaluation) for image in images)
            parts.append(f'<h3>{heading}<small>{explanation}</small></h3><div class="gallery">{shots}</div>')
    return "\n".join(parts)


def _key(scale: Scale, threshold: float) -> str:
    """Explain the colours and lines of the gallery."""
    steps = (colormaps[COLOURS](np.linspace(0, 1, 9))[:, :3] * 255).round().astype(int)
    ramp = ", ".join(f"rgb({r} {g} {b})" for r, g, b in steps)
    lines = "".join(
        f'<span><i class="line" style="color:rgb{colour};{extra}"></i>{text}</span>'
        for colour, text, extra in (
            (PREDICTED, f"score above the threshold of {threshold:.3g}", "outline:1px solid var(--soft)"),
            (TRUTH, "ground truth", ""),
        )
    )
    return (
        "<h3>Gallery<small>image, anomaly map, ground truth</small></h3>"
        f'<div class="key"><span>{scale.low:.3g}'
        f'<i class="ramp" style="background:linear-gradient(90deg, {ramp})"></i>'
        f"{scale.high:.3g} or more</span>{lines}</div>"
    )


def _shot(image: TestScore, scale: Scale, evaluation: Evaluation) -> str:
    """One card of the gallery: the image, its map laid over it, and the ground truth."""
    pixels = resize_to(read_shown(image.path, evaluation.value_range), _LONGEST_SIDE)
    shape = (pixels.shape[0], pixels.shape[1])
    scores, truth = resize_map(image.map, shape), resize_mask(image.mask, shape)
    heat = overlay(pixels, scores, scale, predicted=scores > evaluation.threshold)
    known = ("ground truth" if truth.any() else "no defect") if image.marked else "defect not marked"
    pictures = (
        (pixels, "image"),
        (heat, "anomaly map"),
        (outline(pixels, truth, TRUTH, width=2), known),
    )
    name = f"{image.defect}/{Path(str(image.path)).name}"  # with the page, if there are several
    tags = "".join(f'<img src="{_inline(p)}" alt="{escape(f"{name}: {what}")}">' for p, what in pictures)
    side = "over" if image.score > evaluation.image_threshold else "under"
    figures = f'score <span class="{side}">{image.score:.3g}</span>'
    if image.pixel_auroc is not None:
        figures += f" · AUROC {image.pixel_auroc:.3f}"
    return (
        f'<figure class="card shot"><div>{tags}</div>'
        f"<figcaption><b>{escape(name)}</b><span>{figures}</span></figcaption></figure>"
    )


def _inline(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=88)
    return data_uri(buffer.getvalue(), "jpeg")


def _settings(evaluation: Evaluation) -> str:
    folder = os.path.commonpath([image.path.resolve().parent.parent for image in evaluation.images])
    sizes = {"original": "the images' own size", "model": "the size of the model's input"}
    pairs: Iterable[tuple[str, object]] = [
        ("test images", Path(folder)),
        ("pixel threshold", f"{evaluation.threshold:.6g}"),
        ("image threshold", f"{evaluation.image_threshold:.6g}"),
        *([] if evaluation.value_range is None else [("value range", evaluation.value_range.sentence())]),
        ("maps compared at", sizes.get(str(evaluation.at), f"{evaluation.at} pixels a side")),
        *evaluation.settings.items(),
        *evaluation.versions.items(),
    ]
    return settings_list("Settings and versions", pairs)
