"""Measuring detectors and maps of any tool, scoring image files, and reports of what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .of_detector import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `--help` reads settings beside it, and needs no torch."""
    if name in __all__:
        from . import of_detector

        return getattr(of_detector, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
