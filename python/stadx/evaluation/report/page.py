"""What all HTML pages share: the frame and its style, pictures inside it, settings to unfold."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from html import escape
from importlib import resources

from stadx.core.files import write_bytes


def write_page(path: str | os.PathLike[str], title: str, parts: Iterable[str], style: str = "") -> None:
    """Write one HTML file that needs nothing else.

    Args:
        path: the file.
        title: of the window.
        parts: HTML of the body; empty ones are left out.
        style: CSS beyond that of all pages.

    Raises:
        OutputError: `path` cannot be written.
    """
    shared = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{shared}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )
    # A file name can hold bytes that are no UTF-8; the page shows them as "?".
    write_bytes(path, page.encode("utf-8", "replace"))


def data_uri(content: bytes, kind: str = "png") -> str:
    """An image file as the address of an `<img>`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def settings_list(summary: str, pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values that a click on `summary` shows."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(_shown(value))}</dd>" for name, value in pairs)
    return f"<details><summary>{escape(summary)}</summary><dl>{rows}</dl></details>"


def _shown(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
