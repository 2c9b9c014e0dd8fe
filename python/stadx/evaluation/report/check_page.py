"""One self-contained HTML page about what is wrong with a data set."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from stadx.core.errors import DataError
from stadx.data.checking import CheckedCategory, Finding
from stadx.data.depths import range_of_files
from stadx.data.value_range import read_shown

from .overlay import resize_to
from .page import data_uri, write_page

_SIDE = 160  # of a picture, in pixels
_SHOWN = 6  # pictures of a finding
_MOST = 300  # pictures of the page
_STYLE = """
.finding { margin-bottom: .9rem; } .finding p { overflow-wrap: anywhere; max-width: none; margin: 0; }
.finding b.error { color: var(--bad); } .finding b.warning { color: var(--accent); }
.small { display: flex; flex-wrap: wrap; gap: .7rem; margin-top: .7rem; } .small figure { margin: 0; width: 160px; }
.small img { max-width: 160px; display: block; border: 1px solid var(--line); border-radius: 6px; }
.small figcaption { font-size: .8rem; overflow-wrap: anywhere; }
"""


def write_check(path: str | os.PathLike[str], categories: Sequence[CheckedCategory]) -> None:
    """Write what `check_set` found as one HTML file: errors first, with small pictures of the images and masks.

    Raises:
        OutputError: `path` cannot be written.
    """
    left = [_MOST]
    parts = ["<h1>Check of the data</h1>"]
    for category in categories:
        errors, warnings = category.count("error"), category.count("warning")
        parts.append(
            f"<h2>{escape(category.name)}</h2><p>{category.train} images to train on, {category.test_good} good and "
            f"{category.test_defect} with defects to test; errors: {errors}, warnings: {warnings}.</p>"
        )
        findings = sorted(category.findings, key=lambda finding: finding.severity != "error")
        parts += [_card(finding, left) for finding in findings]
    write_page(path, "stadx: check of the data", parts, _STYLE)


def _card(finding: Finding, left: list[int]) -> str:
    pictures = "".join(_pictures(finding.files, left))
    more = len(finding.files) - _SHOWN
    told = f'<p class="soft">and {more} more</p>' if more > 0 else ""
    return (
        f'<div class="card finding"><p><b class="{finding.severity}">{finding.severity}</b> {escape(finding.message)}'
        f'</p><div class="small">{pictures}</div>{told}</div>'
    )


def _pictures(files: Sequence[Path], left: list[int]) -> Iterator[str]:
    """Those that can be read, as long as there are some `left` for the page."""
    for file in files[:_SHOWN]:
        if left[0] < 1:
            return
        try:
            pixels = resize_to(read_shown(file, range_of_files([file])), _SIDE)
        except DataError:  # the message says why
            continue
        left[0] -= 1
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        name = escape(str(file))
        picture = f'<img src="{data_uri(buffer.getvalue())}" alt="{name}">'
        yield f"<figure>{picture}<figcaption>{name}</figcaption></figure>"
