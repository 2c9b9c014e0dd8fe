"""Patch networks: their layers, their dense form on a CPU, and what training them takes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .patch_network import PatchNetwork, normalize_images

__all__ = ["PatchNetwork", "normalize_images"]


def __getattr__(name: str) -> Any:
    """Import a network when it is first used: the command line reads `choices` without torch."""
    if name in __all__:
        return getattr(import_module(".patch_network", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
