"""A Griffe extension: fields that `setting` or `like` declare have their default and sentence in the API reference."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))


class SettingFields(griffe.Extension):
    """Reads what a field says of itself from its class."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Replace the call that declares a field by the field's default."""
        call = attr.value
        if isinstance(call, griffe.ExprCall) and str(call.function) in ("setting", "like") and attr.parent:
            from stadx.core.settings import settings_of

            owner = getattr(import_module(attr.parent.module.path), attr.parent.name)
            said = settings_of(owner)[attr.name]
            attr.value = repr(said.default)
            attr.docstring = griffe.Docstring(said.sentence(), parent=attr)
