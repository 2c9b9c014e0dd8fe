"""Layouts of data sets by the names of the sets: stadx's own, and those that other packages bring.

Another package declares a `stadx.data.layouts.category.Layout` as an entry point of the group `stadx.layouts`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stadx.core.errors import DataError
from stadx.core.registry import Registry

if TYPE_CHECKING:
    from .layouts.category import Layout

_LAYOUTS = Registry(
    "layout",
    "stadx.layouts",
    {
        "MVTec AD": "stadx.data.layouts.mvtec:LAYOUT",
        "MPDD": "stadx.data.layouts.mvtec:LAYOUT",
        "BTAD": "stadx.data.layouts.btad:LAYOUT",
        "VisA": "stadx.data.layouts.visa:LAYOUT",
        "MVTec LOCO AD": "stadx.data.layouts.loco:LAYOUT",
        "MVTec AD 2": "stadx.data.layouts.mvtec_ad2:LAYOUT",
        "Real-IAD": "stadx.data.layouts.real_iad:LAYOUT",
        "KolektorSDD": "stadx.data.layouts.beside:KOLEKTOR",
        "KolektorSDD2": "stadx.data.layouts.beside:KOLEKTOR2",
        "DAGM 2007": "stadx.data.layouts.beside:DAGM",
    },
)


def layout_names() -> list[str]:
    """The data sets whose layouts are known; no layout is imported for it."""
    return _LAYOUTS.names()


def layouts() -> list[Layout]:
    """All layouts, the more special ones first: those of other packages, then stadx's own.

    One of another package that cannot be imported is left out, with a warning: every data set asks all layouts.
    """
    from .layouts.category import Layout

    found = []
    for name in reversed(layout_names()):
        try:
            layout = _LAYOUTS.get(name)
        except DataError as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        if isinstance(layout, Layout):
            found.append(layout)
        else:
            warnings.warn(f"the layout {name!r} is {layout!r}; it must be a {Layout.__module__}.Layout", stacklevel=2)
    return list(dict.fromkeys(found))


def layout_of(root: Path) -> Layout | None:
    """The layout that a category's folder has; None for any other folder.

    One that fails to tell is passed over, with a warning.
    """
    return next((layout for layout in layouts() if _tells(layout, root)), None)


def _tells(layout: Layout, root: Path) -> bool:
    try:
        return layout.is_category(root)
    except Exception as error:  # of another package
        function = layout.is_category
        warnings.warn(f"{root}: {function.__module__}.{function.__qualname__} failed: {error!r}", stacklevel=2)
        return False


def in_words(names: Sequence[str]) -> str:
    """The names as a sentence has them: "A, B or C"."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
