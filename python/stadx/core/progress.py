"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

# called as progress(stage, done, total, figures), e.g. ("Students", 120, 2000, {"loss": 31.5}); a total of 0: it has
# begun, and tells nothing until it is done
Progress = Callable[[str, int, int, Mapping[str, float]], None]


def silent(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    """Tell nobody."""
