"""What can be looked up by name: stadx's own, and what other packages declare as entry points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import DataError


class Registry:
    """Objects by name, imported when they are first asked for.

    Args:
        what: what messages call one of them.
        group: of entry points; one with the name of stadx's own does not replace it.
        own: stadx's own, as "module:object".
    """

    def __init__(self, what: str, group: str, own: Mapping[str, str]) -> None:
        self._what, self._group, self._own = what, group, dict(own)

    def names(self) -> list[str]:
        """Stadx's own first; nothing is imported for it."""
        return [*self._own, *sorted(self._others)]

    def get(self, name: str) -> Any:
        """What has that name.

        Raises:
            DataError: if there is none, or the package that declares it cannot be imported.
        """
        if name in self._own:
            module, _, attribute = self._own[name].partition(":")
            return getattr(import_module(module), attribute)
        others = self._others
        if name not in others:
            raise DataError(f"there is no {self._what} {name!r}; choose one of {', '.join(self.names())}")
        try:
            return others[name].load()
        except Exception as error:  # whatever another package's code does when it is imported
            why = f"{others[name].value} ({type(error).__name__}: {error})"
            raise DataError(
                f"the {self._what} {name!r} cannot be imported from {why}; install its package anew, or remove it"
            ) from error

    @cached_property
    def _others(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self._group) if point.name not in self._own}
