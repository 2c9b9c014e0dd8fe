"""What the JSON of decisions says."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

FORMAT = "stadx review"
VERSION = 1
Decision: TypeAlias = Literal["good", "defect", "unsure"]
DECISIONS: tuple[Decision, ...] = ("good", "defect", "unsure")


class Model(NamedTuple):
    """The model that scored, by the name of its file and its hash."""

    name: str
    sha256: str
