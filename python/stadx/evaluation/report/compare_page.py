"""One self-contained HTML page about two models: their metrics, and the images whose verdict changes."""

from __future__ import annotations

import io
import os
from html import escape

from PIL import Image

from stadx.data.value_range import read_shown

from ..compare_models import Change, ModelComparison
from .overlay import TRUTH, outline, overlay, resize_map, resize_mask, resize_to, scale_for
from .page import data_uri, write_page

_SIDE = 240  # of a picture, in pixels
_MOST = 60  # images shown


def write_comparison(path: str | os.PathLike[str], comparison: ModelComparison, names: tuple[str, str]) -> None:
    """Write a comparison as one HTML file: metrics, and of each changed image the truth and both models' maps.

    Raises:
        DataError: a test image is gone by now.
        OutputError: `path` cannot be written.
    """
    rows = []
    for metric, found in comparison.differences.items():
        cells = ["–"] * 4
        if found is not None:
            interval = f"{found.low:+.4f} … {found.high:+.4f}"
            cells = [f"{found.a:.4f}", f"{found.b:.4f}", f"{found.difference:+.4f}", interval]
        rows.append(f"<tr><td>{metric}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "".join(f"<th>{heading}</th>" for heading in ("metric", "A", "B", "A − B", "95 % CI"))
    flagged = "".join(
        f"<p>{name}: {escape(model)}. {escape(evaluation.flagged_sentence())}</p>"
        for name, model, evaluation in zip("AB", names, (comparison.a, comparison.b), strict=True)
    )
    shown, more = comparison.changes[:_MOST], len(comparison.changes) - _MOST
    parts = [
        f"<h1>{escape(comparison.a.name)}: two models</h1>",
        flagged,
        f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>',
        f"<h2>Images whose verdict changes: {len(comparison.changes)}</h2>",
        '<div class="gallery">' + "".join(_shot(comparison, change) for change in shown) + "</div>",
        f"<p>and {more} more</p>" if more > 0 else "",
    ]
    write_page(path, "stadx: two models", parts)


def _shot(comparison: ModelComparison, change: Change) -> str:
    name = f"{change.a.defect}/{change.path.name}"
    pixels = resize_to(read_shown(change.path, comparison.a.value_range), _SIDE)
    shape = (pixels.shape[0], pixels.shape[1])
    pictures = [outline(pixels, resize_mask(change.a.mask, shape), TRUTH, width=2)]
    for image, evaluation in ((change.a, comparison.a), (change.b, comparison.b)):
        scores = resize_map(image.map, shape)
        scale = scale_for(evaluation.threshold)
        pictures.append(overlay(pixels, scores, scale, predicted=scores > evaluation.threshold))
    tags = []
    for picture, what in zip(pictures, ("image", "A", "B"), strict=True):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="JPEG", quality=88)
        tags.append(f'<img src="{data_uri(buffer.getvalue(), "jpeg")}" alt="{escape(f"{name}: {what}")}">')
    scores_told = f"A {change.a.score:.3g}, B {change.b.score:.3g}"
    return (
        f'<figure class="card shot"><div>{"".join(tags)}</div><figcaption><b>{escape(name)}</b>'
        f"<span>{change.what()} · {scores_told}</span></figcaption></figure>"
    )
