"""Options made of what a settings dataclass says of its fields."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from stadx.core.settings import Setting, settings_of

from .options import refused

Given = Mapping[str, Any]
"""The settings that the command line names, by field."""

Built = TypeVar("Built")


@dataclass(frozen=True)
class Written:
    """How the command line writes a setting, where that differs from what its field says.

    Attributes:
        name: of the option, as of a parameter.
        flags: of a switch, as "--on/--off".
        help, shown: the sentence, and the default in words.
        kind, default: what the command line takes.
        read: from there to the setting's value.
        at_least, at_most: limits.
    """

    name: str = ""
    flags: str = ""
    help: str = ""
    shown: str = ""
    kind: Any = None
    default: Any = ...
    read: Callable[[Any], Any] | None = None
    at_least: float | None = None
    at_most: float | None = None


def settings_options(
    owner: type, only: Sequence[str] = (), **written: Written
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every field of a settings dataclass, in place of its parameter `settings`.

    The command gets as `settings` those that the command line names; the others are for presets and defaults.

    Args:
        owner: the dataclass.
        only: fields that have an option; all by default.
        written: by field, how its option differs from what the field says.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        fields = {name: said for name, said in settings_of(owner).items() if not only or name in only}
        options = {name: _option(said, written.get(name, Written())) for name, said in fields.items()}
        own = inspect.signature(command, eval_str=True).parameters
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters: list[inspect.Parameter] = []
        for name, parameter in own.items():
            parameters += [option for option, _ in options.values()] if name == "settings" else [parameter]
        parameters += [] if "context" in own else [context]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            named = given_options(values["context"])
            if "context" not in own:
                del values["context"]
            found = {name: (option.name, values.pop(option.name), read) for name, (option, read) in options.items()}
            settings = {name: read(value) for name, (option, value, read) in found.items() if option in named}
            command(**values, settings=settings)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _option(said: Setting, written: Written) -> tuple[inspect.Parameter, Callable[[Any], Any]]:
    """A setting as a parameter of a command, and how its value is read."""
    kind, read = written.kind, written.read or (lambda value: value)
    least = said.at_least if written.at_least is None else written.at_least
    most = said.at_most if written.at_most is None else written.at_most
    default = said.default if written.default is ... else written.default
    shown = written.shown or (said.none if default is None else "")
    if kind is None:
        if said.choices:
            kind, default = Literal[tuple(map(str, said.choices))], None if default is None else str(default)
            read = type(said.choices[0])
        else:
            kind = next(one for one in (bool, float, int) if one in said.types)
        if said.none and default is not None and written.at_least is None:  # 0 is written for None
            least, read = 0, lambda value: value or None
    option = typer.Option(
        *([written.flags] if written.flags else []),
        min=least if kind in (int, float) else None,
        max=most if kind in (int, float) else None,
        help=written.help or said.sentence("0" if default is not None else ""),
        show_default=shown or True,
    )
    annotation: Any = Annotated[kind if default is not None else kind | None, option]
    name = written.name or said.name
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation), read


def given_options(context: typer.Context) -> list[str]:
    """The options that the command line names."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def built(owner: Callable[..., Built], settings: Mapping[str, Any]) -> Built:
    """Settings, or a detector with them; one that cannot be is an error of the command line."""
    try:
        return owner(**settings)
    except ValueError as error:
        name = str(error).partition(" ")[0]
        hint = f"--{name.replace('_', '-')}" if name in settings and name not in _RENAMED else None
        raise typer.BadParameter(str(error), param_hint=hint) from error


def patch_sizes(text: str) -> tuple[int, ...]:
    """Read "17,33,65" as patch sizes."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or len(set(sizes)) < len(sizes) or not set(sizes) <= {17, 33, 65}:
        hint = "give one or more of 17, 33 and 65, separated by commas and none twice"
        raise typer.BadParameter(hint, param_hint="--scales")
    return sizes


def image_size(text: str) -> int | tuple[int, int] | None:
    """Read a square's side such as "256", "H,W", or "0" for as images are."""
    try:
        sides = tuple(int(part) for part in text.split(","))
    except ValueError:
        sides = ()
    if sides == (0,):
        return None
    if len(sides) not in (1, 2) or min(sides) < 1:
        hint = f"{text!r} is no size; give a side in pixels such as 256, height and width such as 192,256, or 0"
        raise refused("image_size", hint)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


SCALES = Written(kind=str, read=patch_sizes, help="Receptive fields in pixels, such as 33 or 17,33,65.")


def value_range(text: str) -> tuple[float, float]:
    """Read "0,4095" as lowest and highest value."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        hint = f"{text!r} is not like 0,4095: the lowest and the highest value, separated by a comma"
        raise typer.BadParameter(hint, param_hint="--range")
    return low, high


_BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def byte_count(text: str) -> int:
    """Read "16MB" as a number of bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]B|)", text.strip().upper())
    if found is None:
        hint = f"{text!r} is not like 16MB or 500KB; 0 for none"
        raise typer.BadParameter(hint, param_hint="--memory")
    return int(float(found[1]) * _BYTES[found[2]])


_SECONDS = {"s": 1, "min": 60, "h": 3600}


def duration(text: str) -> float:
    """Read "5min" as a number of seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)", text.strip().lower())
    if found is None or not float(found[1]):
        raise refused("budget", f"{text!r} is not like 5min, 90s or 1.5h")
    return float(found[1]) * _SECONDS[found[2]]


_RENAMED = {"teachers", "value_range", "memory_bytes"}  # their options have other names
MEMORY = Written(
    name="memory",
    kind=str,
    default="0",
    read=byte_count,
    help="How much of the model file may keep training images, such as 16MB: a random sample, as the model sees them, "
    "which stadx update goes on from. 0: the file has no image.",
)
RANGE = Written(name="range", kind=str, read=value_range)
TEACHERS = Written(
    name="teacher",
    kind=list[Path],
    default=None,
    read=tuple,
    help="Teacher file, instead of the one that comes with stadx; once per scale.",
)
