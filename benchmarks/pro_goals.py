"""The speed that exact AU-PRO and region labels are to have, and what a run of pro.py has reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FASTER_THAN = {"definition": 130.0, "torch sort": 110.0, "adeval, 1,000 bins": 12.0}  # times
IN_ANY_ROUND = {"definition": 100.0, "torch sort": 80.0, "adeval, 1,000 bins": 10.0}  # the same of the worst round
FASTER_LABELS = 1.2  # times the best peer, for each mask
GROWTH = 1.2  # time of a map in the largest set over that in the smallest
SPRO = 2.0  # time over that of PRO


@dataclass(frozen=True)
class Goal:
    """A ratio that was measured, and what it is to be."""

    name: str
    ratio: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def reached(found: Mapping[str, Any]) -> list[Goal]:
    """The goals whose sections are among the figures of a run."""
    return [*_of_au_pro(found), *_of_labels(found), *_of_growth(found), *_of_spro(found)]


def _of_au_pro(found: Mapping[str, Any]) -> Iterator[Goal]:
    for row in found.get("au_pro", []):
        name = row["name"]
        if name in FASTER_THAN and row["to_stadx"] is not None:
            yield Goal(f"{name} / stadx, {row['case']}", row["to_stadx"], FASTER_THAN[name], True)
            yield Goal(f"{name} / stadx, worst round, {row['case']}", row["worst_round"], IN_ANY_ROUND[name], True)


def _of_labels(found: Mapping[str, Any]) -> Iterator[Goal]:
    ratios = {row["case"]: row["best_peer"] for row in found.get("labels", []) if row["best_peer"] is not None}
    for batch in (False, True):
        some = {case: ratio for case, ratio in ratios.items() if ("batch" in case) == batch}
        if some:
            worst = min(some, key=lambda case: some[case])
            yield Goal(f"best labeller / stadx, worst of {len(some)}: {worst}", some[worst], FASTER_LABELS, True)


def _of_growth(found: Mapping[str, Any]) -> Iterator[Goal]:
    if rows := found.get("growth"):
        first, last = rows[0], rows[-1]
        ratio = last["milliseconds_per_map"] / first["milliseconds_per_map"]
        yield Goal(f"a map among {last['maps']} / among {first['maps']}", ratio, GROWTH, False)


def _of_spro(found: Mapping[str, Any]) -> Iterator[Goal]:
    for row in found.get("spro", []):
        if row["name"] == "AU-PRO" and row["to_stadx"]:
            yield Goal("AU-sPRO / AU-PRO", 1 / row["to_stadx"], SPRO, False)
