"""Write the review page: images and maps inside it, or, where they are many, beside it."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stadx.core.errors import DataError, OutputError
from stadx.core.files import check_writable, write_bytes
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.core.version import package_version
from stadx.data.pages import entry_of, page_of
from stadx.data.roi import Roi
from stadx.data.value_range import BYTES
from stadx.networks.engine import watched_weights

from ..image_scores import ImageScorer
from ..looked_at import region_for
from ..measured_detector import range_of, stride_of
from ..prediction import Failure
from ..report.overlay import Scale, heat_map
from ..report.page import write_page
from .format import FORMAT, VERSION, Model
from .looking import STEPS, Levels, look

PAGE = "review.html"
IMAGES = "images"  # folder beside the page
EMBEDDED_BYTES = 24_000_000  # of images and maps in the page itself; more lie beside it


class ReviewedDetector(ImageScorer, Protocol):
    """What this module needs of a detector."""

    def image_threshold(self, stride: int = 1) -> float: ...


@keep_freed_memory()
@watched_weights()
def write_review(
    detector: ReviewedDetector,
    folder: Path,
    paths: Sequence[Path],
    out: Path,
    *,
    model: Model,
    stride: int | None = None,
    roi: Roi | None = None,
    ordered: bool = False,
    progress: Progress = silent,
) -> tuple[Path, list[Failure]]:
    """Score images and write a page to judge them, which needs neither a server nor a network.

    Args:
        detector: what scores.
        folder: where the images are; decisions name them by their path from there.
        paths: the images.
        out: folder of the page.
        model: what the decisions say that they are about.
        stride, roi: as in `predict_files`.
        ordered: whether the page has the order of `paths`; else the highest image score comes first.
        progress: told how far it is.

    Returns:
        The page, and the images that could not be scored.

    Raises:
        DataError: if none could be scored.
        OutputError: if `out` has a review already, or cannot be written.
    """
    page = out / PAGE
    if os.path.lexists(page):
        raise OutputError(
            f"{page}: is there already, and a browser may keep decisions that belong to it; name another folder"
        )
    check_writable(page)
    stride, roi = stride_of(detector, stride), region_for(detector, roi)
    levels, threshold = Levels.of(float(detector.threshold_)), float(detector.image_threshold(stride))
    store = _Store(out)
    entries: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for done, path in enumerate(paths):
        progress("Images", done, len(paths), {})
        try:
            found = look(detector, path, levels, stride, roi)
        except DataError as error:
            failures.append(Failure(path, str(error)))
            continue
        store.add({"picture": found.picture, "levels": found.levels, "block": found.block})
        entries.append(
            {
                **entry_of(path),
                "path": os.path.relpath(path.__fspath__(), folder).replace(os.sep, "/"),
                "sha256": found.sha256,
                "score": found.score,
                "flagged": found.score > threshold,
                "size": found.size,
                "shown": found.shown,
                "data": len(entries),
            }
        )
    progress("Images", len(paths), len(paths), {})
    if not entries:
        first = failures[0].message if failures else f"{folder}: no images"
        raise DataError(f"none of the {len(paths)} images could be scored; the first: {first}")
    if not ordered:
        entries.sort(key=lambda entry: entry["score"], reverse=True)
    value_range = range_of(detector) or BYTES
    head = {
        "format": FORMAT,
        "version": VERSION,
        "stadx": package_version(),
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": model._asdict(),
        "folder": os.path.abspath(folder),
        "stride": stride,
        "image_threshold": threshold,
        "pixel_threshold": levels.threshold,
        "value_range": value_range.to_json(),
    }
    identity = json.dumps([head, entries]).encode()
    content = {
        "head": head,
        "id": hashlib.sha256(identity).hexdigest()[:16],
        "levels": {"base": levels.base, "step": levels.step, "steps": STEPS},
        "colours": heat_map(np.arange(256) / 255, Scale(0, 1)).tolist(),
        "beside": store.is_beside,
        "images": entries,
    }
    _write(page, content, store, failures)
    return page, failures


def read_order(file: Path, folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Those of `paths` that a CSV names in its column "path" and, for files of several pages, "page", in its order.

    Args:
        file: the table. Its paths are from the working folder, from `folder`, or from the table's own.
        folder: of the images.
        paths: the images to choose from.

    Raises:
        DataError: if it cannot be read, has no such column, or names none of the images.
    """
    known = {(path.resolve(), page_of(path) or 0): path for path in paths}
    found: dict[Path, None] = {}
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            table = csv.DictReader(lines)
            if "path" not in (table.fieldnames or ()):
                raise DataError(
                    f"{file}: has no column path; the first line of the CSV must name one that has the images"
                )
            for row in table:
                page = int(row.get("page") or 0)
                places = (start / (row["path"] or "") for start in (Path(), folder, file.parent))
                image = next((known[key] for p in places if (key := (p.resolve(), page)) in known), None)
                if image is not None:
                    found.setdefault(image)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error}); give a table with a column path") from error
    if not found:
        raise DataError(f"{file}: names no image of {folder}; its column path must have them, as from there")
    return list(found)


class _Store:
    """Holds what the page shows of images, until it is too much to be inside: then each has a file beside it."""

    def __init__(self, out: Path) -> None:
        self._out, self._held, self._bytes, self._count = out, list[str](), 0, 0
        self.is_beside = False

    def add(self, shown: Mapping[str, Any]) -> None:
        self._held.append(json.dumps(shown))
        self._bytes += len(self._held[-1])
        self._count += 1
        if self.is_beside or self._bytes > EMBEDDED_BYTES:
            self.is_beside = True
            for number, text in enumerate(self._held, self._count - len(self._held)):
                # A page that is opened as a file may load scripts from beside it, but read no other files.
                write_bytes(self._out / IMAGES / f"{number}.js", f"stadxShown({number}, {text});\n".encode("ascii"))
            self._held = []

    def scripts(self) -> list[str]:
        """What is in the page."""
        return [f'<script type="application/json" id="data-{n}">{text}</script>' for n, text in enumerate(self._held)]


def _write(page: Path, content: Mapping[str, Any], store: _Store, failures: Sequence[Failure]) -> None:
    files = resources.files(__package__)
    text = {
        name: files.joinpath(name).read_text(encoding="utf-8")
        for name in ("body.html", "style.css", "view.js", "page.js")
    }
    head = content["head"]
    notes = "".join(f"<li>{escape(failure.message)}</li>" for failure in failures)
    left_out = (
        f'<details class="note"><summary>{len(failures)} images could not be shown</summary><ul>{notes}</ul></details>'
    )
    told = json.dumps(content).replace("<", "\\u003c")  # no name of a file ends the script
    body = (
        text["body.html"]
        .replace("%FAILURES%", left_out if failures else "")
        .replace("%MODEL%", escape(f"{head['model']['name']}, {head['model']['sha256'][:12]}"))
        .replace("%FOLDER%", escape(head["folder"]))
    )
    parts = [
        body,
        f'<script type="application/json" id="review">{told}</script>',
        *store.scripts(),
        f"<script>\n{text['view.js']}</script>",
        f"<script>\n{text['page.js']}</script>",
    ]
    write_page(page, "stadx: review", parts, text["style.css"])
