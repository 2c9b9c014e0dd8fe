"""Settings as dataclasses: what a field says is checked, and told to others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from stadx.core.settings import check, documented, like, papers, read_from_json, setting, settings_of

NAN, INFINITY = float("nan"), float("inf")


@documented
@dataclass
class Some:
    """Some settings."""

    count: int = setting(3, "How many.", at_least=1, at_most=9, paper=1_000)
    share: float = setting(0.5, "Which part.", above=0, below=1)
    side: int | tuple[int, int] | None = setting(8, "How wide.", none="as it is", at_least=1, paper=None)
    kind: Literal["a", "b"] = setting("a", "Which kind.", paper="b")
    rate: float | Literal["auto"] = setting("auto", "How fast.", above=0)
    sizes: Sequence[int] = setting((17,), "Which sizes.", choices=(17, 33))
    on: bool = setting(False, "Whether.", paper=True)
    paths: Sequence[str] = setting((), "Which files.")
    file: str | os.PathLike[str] | None = setting(None, "Which file.", none="none")
    files: Sequence[str | os.PathLike[str]] = setting((), "Which others.")
    name: str = "no setting"

    def __post_init__(self) -> None:
        check(self)


@dataclass
class Other(Some):
    """Others."""

    count: int = like(Some, "count", 2, at_most=None)


@pytest.mark.parametrize(
    "right",
    [
        {"count": 9},
        {"count": np.int64(2)},
        {"share": np.float32(0.5)},
        {"side": None},
        {"side": (3, 4)},
        {"side": [3, 4]},
        {"rate": 7},
        {"sizes": [17, 33]},
        {"on": np.True_},
        {"paths": ["a"]},
        {"paths": (Path("a"), "b")},
    ],
    ids=str,
)
def test_values_are_kept_unchanged(right: dict[str, Any]) -> None:
    ((name, value),) = right.items()
    assert getattr(Some(**right), name) is value


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": 0}, "count is 0; it must be a whole number, at least 1 and at most 9"),
        ({"count": 2.0}, "count is 2.0; it must be a whole number"),
        ({"count": NAN}, "count is nan"),
        ({"count": None}, "count is None"),
        ({"count": True}, "count is True; it must be a whole number"),
        ({"sizes": (17.0,)}, r"sizes is \(17.0,\)"),
        ({"paths": ("a", 3)}, r"paths is \('a', 3\)"),
        ({"count": "3"}, "count is '3'"),
        ({"share": 0}, "share is 0; it must be a number, above 0 and below 1"),
        ({"share": INFINITY}, "share is inf"),
        ({"side": 0}, "side is 0; it must be None or a whole number, at least 1"),
        ({"side": (3, 0)}, r"side is \(3, 0\)"),
        ({"kind": "c"}, r"kind is 'c'; choose one of \('a', 'b'\)"),
        ({"kind": ("a", "b")}, "kind is"),
        ({"rate": "slow"}, "rate is 'slow'; it must be 'auto' or a number, above 0"),
        ({"rate": -1}, "rate is -1"),
        ({"sizes": (17, 18)}, r"sizes is \(17, 18\); choose one of \(17, 33\)"),
        ({"sizes": 17}, r"sizes is 17; give a tuple, such as \(17,\)"),
        ({"side": (3,)}, r"side is \(3,\); it must be None or a whole number, at least 1, or 2 of them"),
        ({"side": (3, 4, 5)}, "side is"),
        ({"on": "no"}, "on is 'no'; it must be True or False"),
        ({"on": None}, "on is None; it must be True or False"),
        ({"file": 5}, "file is 5; it must be None or a path"),
        ({"files": ("a", 5)}, r"files is \('a', 5\); it must be paths"),
        ({"paths": "a"}, r"paths is 'a'; give a tuple, such as \(\)"),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Some(**wrong)


def test_a_field_like_another() -> None:
    assert Other().count == 2 and Other(count=10).count == 10
    count = settings_of(Other)["count"]
    assert (count.help, count.at_least, count.default) == ("How many.", 1, 2)
    assert [*settings_of(Other)] == ["count", "share", "side", "kind", "rate", "sizes", "on", "paths", "file", "files"]


def test_what_is_told() -> None:
    assert papers(Some) == {"count": 1_000, "side": None, "kind": "b", "on": True}
    assert papers(Other) == {"side": None, "kind": "b", "on": True}
    said = settings_of(Some)
    assert said["count"].sentence() == "How many; in the paper 1,000."
    assert said["side"].sentence("0") == "How wide; 0: as it is, as in the paper."
    assert said["side"].sentence("") == "How wide; in the paper as it is."
    assert said["on"].sentence() == "Whether."
    assert Some.__doc__ is not None and Some.__doc__.startswith("Some settings.\n\nArgs:\n    count: How many; in")
    assert read_from_json({"sizes": [17, 33], "kind": "a"}) == {"sizes": (17, 33), "kind": "a"}
