"""The command `stadx info`."""

from __future__ import annotations

from .console import show
from .tables import facts_table


def info() -> None:
    """Print versions, the instruction set in use, compiled CUDA architectures, and devices."""
    from stadx.core.devices import facts

    show(facts_table(facts()))
