"""Settings as dataclasses: a field says its default, limits and meaning once; checks, commands and pages read them.

@dataclass
class Settings:
    students: int = setting(3, "Students per scale.", at_least=1)

    def __post_init__(self) -> None:
        check(self)
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import types
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

_UNSAID: Any = ...
Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a field says of itself.

    Attributes:
        help: a sentence or two.
        none: what None stands for; "" where None is no value.
        paper: the paper's value, where it is told beside the help.
        at_least, above, at_most, below: limits of a number, or of each of several.
        choices: all values that there are; those of a Literal need not be told.
        name, default, types: of the field: its name, default, and the types of a value or of each of several.
        is_single, is_many: whether it may be one value, and several.
        is_number: whether it may be any number within the limits.
        length: how many values it has, if it has several and just so many.
    """

    help: str
    none: str = ""
    paper: Any = _UNSAID
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    name: str = ""
    default: Any = None
    types: tuple[Any, ...] = ()
    is_single: bool = True
    is_many: bool = False
    is_number: bool = False
    length: int | None = None

    def allows(self, value: Any) -> bool:
        """Whether the setting may have this value."""
        if value is None:
            return type(None) in self.types
        if isinstance(value, tuple | list):
            return self.is_many and self.length in (None, len(value)) and all(map(self._allows, value))
        return self.is_single and self._allows(value)

    def _allows(self, value: Any) -> bool:
        if bool in self.types:
            return _is_switch(value)
        if _is_switch(value):
            return False
        if any(value == choice and isinstance(value, Integral) == isinstance(choice, int) for choice in self.choices):
            return True
        if not self.is_number:
            return not self.choices and isinstance(value, str | os.PathLike)
        is_number = isinstance(value, Real if float in self.types else Integral)
        if not is_number or not math.isfinite(value):
            return False
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def values(self) -> str:
        """What it may be, in words; "" for what has no limits."""
        limits = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        told = [f"{name} {limit}" for name, limit in limits.items() if limit is not None]
        words = [repr(choice) for choice in self.choices] + ["None"] * (type(None) in self.types)
        words += ["True", "False"] * (bool in self.types)
        if any(kind is os.PathLike or get_origin(kind) is os.PathLike for kind in self.types):
            words.append("a path" if self.is_single else "paths")
        if self.is_number:
            words.append(f"a {'' if float in self.types else 'whole '}number{', ' * bool(told)}{' and '.join(told)}")
        of_length = ""
        if self.length:
            of_length = f", or {self.length} of them" if self.is_single else f": {self.length} of them"
        return " or ".join(words) + of_length

    def sentence(self, none: str = "None") -> str:
        """The help, what None stands for, or what is written instead of it, and the paper's value."""
        more = [f"{none}: {self.none}"] if self.none and none else []
        if self.paper is None and more:
            more[0] += ", as in the paper"
        elif self.paper is None:
            more.append(f"in the paper {self.none or None}")
        elif self.paper is not _UNSAID and not isinstance(self.paper, bool):
            more.append(f"in the paper {_figure(self.paper)}")
        return "; ".join([self.help.removesuffix("."), *more]) + "."


def setting(
    default: Any,
    help: str,
    *,
    none: str = "",
    paper: Any = _UNSAID,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Sequence[Any] = (),
) -> Any:
    """A field of a settings dataclass; arguments as in `Setting`."""
    said = Setting(help, none, paper, at_least, above, at_most, below, tuple(choices))
    return dataclasses.field(default=default, metadata={"setting": said})


def like(owner: type, name: str, default: Any = _UNSAID, **changes: Any) -> Any:
    """A field that says what another class's says, but for the default and `changes`."""
    said = settings_of(owner)[name]
    changed = dataclasses.replace(said, **{"paper": _UNSAID, **changes})
    return dataclasses.field(default=said.default if default is _UNSAID else default, metadata={"setting": changed})


def settings_of(owner: type) -> Mapping[str, Setting]:
    """The settings of a dataclass by name, in the order of its constructor."""
    annotations: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        if "__dataclass_fields__" in vars(base):
            annotations |= inspect.get_annotations(base, eval_str=True)
    found = {}
    for field in dataclasses.fields(owner):
        if (said := field.metadata.get("setting")) is not None:
            kind = annotations[field.name]
            parts = _members(kind)
            several = [part for part in parts if get_origin(part) in (Sequence, tuple)]
            single = [part for part in parts if part not in several and part is not type(None)]
            leaves = (*parts, *(leaf for part in several for one in get_args(part) for leaf in _members(one)))
            tuples = [get_args(part) for part in several if get_origin(part) is tuple]
            lengths = [len(members) for members in tuples if ... not in members]
            literals = [choice for leaf in leaves if get_origin(leaf) is Literal for choice in get_args(leaf)]
            found[field.name] = dataclasses.replace(
                said,
                name=field.name,
                default=field.default,
                types=leaves,
                choices=said.choices or tuple(literals),
                is_single=bool(single),
                is_many=bool(several),
                is_number=not said.choices and (int in leaves or float in leaves),
                length=lengths[0] if lengths else None,
            )
    return found


def check(settings: object) -> None:
    """Check all settings of an instance by what their fields say.

    Raises:
        ValueError: naming the first that cannot be, and what it must be.
    """
    for name, said in settings_of(type(settings)).items():
        value = getattr(settings, name)
        if not said.allows(value):
            if said.is_many and not said.is_single and not isinstance(value, tuple | list):
                hint = f"give a tuple, such as {said.default}"
            elif said.choices and not said.is_number:
                hint = f"choose one of {said.choices}"
            else:
                hint = f"it must be {said.values()}"
            raise ValueError(f"{name} is {value!r}; {hint}")


def papers(owner: type) -> dict[str, Any]:
    """The paper's values, of the settings that tell them."""
    return {name: said.paper for name, said in settings_of(owner).items() if said.paper is not _UNSAID}


def documented(owner: type[Settings]) -> type[Settings]:
    """A settings dataclass, its docstring completed by what its fields say."""
    lines = [f"    {name}: {said.sentence()}" for name, said in settings_of(owner).items()]
    owner.__doc__ = "\n".join([inspect.cleandoc(owner.__doc__ or ""), "", "Args:", *lines])
    return owner


def read_from_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they were before JSON made lists of tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _is_switch(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")  # Python's or NumPy's, which `--help` need not import


def _figure(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_figure, value))
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
