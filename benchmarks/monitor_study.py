"""How often `stadx monitor` says that a line has drifted though it has not, and after how many images it finds a drift.

python benchmarks/monitor_study.py --out study.jsonl

Image scores are drawn, as gamma values that lie as those of good images do; nothing is trained. A shift is told in
standard deviations of good images' scores. A line of JSON a case; those in the file are not drawn again. At its end
tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stadx.evaluation.monitor import Drift, DriftState
from stadx.evaluation.monitor.drift import FEWEST
from stadx.metrics.intervals import clopper_pearson, percent

JUDGED = (20, 60, 300)
SHIFTS = (0.25, 0.5, 1.0, 2.0, 4.0, -1.0)
DEFECTS = (0.02, 0.1, 0.3)
SHAPE = 9.0  # of the gamma distribution: its standard deviation is a third of its mean
TOP = 8.0  # standard deviations that defects lie higher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines")
    parser.add_argument("--lines", type=int, default=500, help="without a drift, of each case")
    parser.add_argument("--drifts", type=int, default=50, help="with one, of each case")
    parser.add_argument("--images", type=int, default=400, help="of a line without a drift")
    parser.add_argument("--alpha", type=float, default=0.01)
    given = parser.parse_args()
    settings = {name: value for name, value in vars(given).items() if name != "out"}
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    done = [line for line in done if line["settings"] == settings]
    known = {json.dumps(line["case"]) for line in done}
    for case in cases():
        if json.dumps(case) in known:
            continue
        line = {"case": case, "settings": settings, **run(case, given)}
        done.append(line)
        with given.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), file=sys.stderr)
    print(tables(done))


def cases() -> list[dict[str, Any]]:
    """Lines without a drift; photos of one part after the other; and lines that change, at once or after 200 images."""
    found: list[dict[str, Any]] = [{"kind": "none", "judged": n, "defects": 0.0} for n in JUDGED]
    found += [{"kind": "none", "judged": n, "defects": 0.01} for n in JUDGED]
    for photos, judged in ((4, 60), (4, 300), (10, 60), (10, 300)):
        groups = (1, None, photos)[: 3 if judged >= FEWEST * photos else 2]
        found += [{"kind": "parts", "judged": judged, "photos": photos, "group": g} for g in groups]
    for after in (0, 200):
        found += [{"kind": "shift", "judged": n, "by": by, "after": after} for n in JUDGED for by in SHIFTS]
    found += [{"kind": "burst", "judged": n, "defects": share, "after": 200} for n in JUDGED for share in DEFECTS]
    return found


def run(case: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """All lines of a case: how many were said to differ, when, and as what."""
    rng = np.random.default_rng([json.dumps(case).encode()[i] for i in range(len(json.dumps(case)))])
    is_changed = case["kind"] in ("shift", "burst")
    lines, after = given.drifts if is_changed else given.lines, case.get("after", given.images)
    said: list[DriftState] = []
    for _ in range(lines):
        photos = case.get("photos", 1)
        judged = good(rng, case["judged"], photos)
        scores = good(rng, after + 300 if is_changed else given.images, photos)
        scores[after:] += case.get("by", 0.0)
        hit = rng.uniform(size=len(scores)) < case.get("defects", 0.0)
        hit[: after if is_changed else 0] = False
        scores[hit] += TOP
        drift = Drift(judged, alpha=given.alpha, group=case.get("group", 1))
        states = [drift.update(score) for score in scores]
        said.append(states[-1])
    wrong = sum(s.said_at is not None and is_changed and s.said_at <= after for s in said)
    found = [s for s in said if s.said_at is not None and not (is_changed and s.said_at <= after)]
    delays = sorted([s.said_at - after for s in found if s.said_at] + [10**6] * (lines - wrong - len(found)))
    begins = sorted(s.since - after - 1 for s in found if s.since is not None)
    return {
        "lines": lines,
        "before": wrong,
        "said": len(found),
        "level": sum(s.verdict == "level" for s in found),
        "delay": delays[len(delays) // 2] if is_changed and delays else None,
        "delay90": delays[int(0.9 * len(delays))] if is_changed and delays else None,
        "since": [begins[int(q * (len(begins) - 1))] for q in (0.1, 0.5, 0.9)] if begins else None,
    }


def good(rng: np.random.Generator, images: int, photos: int) -> NDArray[np.float64]:
    """Standardised scores of good images, `photos` of each part after the other, of which the part explains 70 %."""

    def drawn(count: int) -> NDArray[np.float64]:
        return (rng.gamma(SHAPE, size=count) - SHAPE) / SHAPE**0.5

    if photos == 1:
        return drawn(images)
    parts = np.repeat(drawn(-(-images // photos)), photos)[:images]
    return 0.7**0.5 * parts + 0.3**0.5 * drawn(images)


def tables(done: list[dict[str, Any]]) -> str:
    """One for lines without a drift, one for those with photos of parts, one for shifts, one for bursts of defects."""
    rows = ["| images that judged | defects | lines said to drift |", "|---|---|---|"]
    for line in of(done, "none"):
        rows.append(f"| {line['case']['judged']} | {percent(line['case']['defects'])} | {share(line)} |")
    rows += ["", "| photos of a part | images that judged | --group | lines said to drift |", "|---|---|---|---|"]
    for line in of(done, "parts"):
        case = line["case"]
        rows.append(f"| {case['photos']} | {case['judged']} | {case['group'] or 'not given'} | {share(line)} |")
    rows += ["", "| shift | " + " | ".join(f"{n} judged, from image {after + 1}" for after, n in columns(done)) + " |"]
    rows.append("|---" * (1 + len(columns(done))) + "|")
    for by in dict.fromkeys(line["case"]["by"] for line in of(done, "shift")):
        cells = {(x["case"]["after"], x["case"]["judged"]): x for x in of(done, "shift") if x["case"]["by"] == by}
        found = (cells.get(column) for column in columns(done))
        shown = ("" if line is None else f"{told(line)}: {delays(line)}" for line in found)
        rows.append(f"| {by:+g} σ | {' | '.join(shown)} |")
    clear = [line for line in of(done, "shift") if abs(line["case"]["by"]) >= 1 and line["since"]]
    if clear:
        low, high = min(line["since"][0] for line in clear), max(line["since"][2] for line in clear)
        level, said = (sum(line[key] for line in clear) for key in ("level", "said"))
        rows += [
            "",
            f"Of 1 σ and more: {level} of {said} told as a drift of the level; in each case the begin of eight",
        ]
        rows += [f"lines in ten lies between {low:+d} and {high:+d} images."]
    rows += ["", "| defects | images that judged | told: half, 90 % | as level |", "|---" * 4 + "|"]
    for line in of(done, "burst"):
        case = line["case"]
        rows.append(
            f"| {percent(case['defects'])} | {case['judged']} | {told(line)}: {delays(line)} | {line['level']} |"
        )
    return "\n".join(rows)


def columns(done: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """After how many images lines shift, and how many judged."""
    return list(dict.fromkeys((line["case"]["after"], line["case"]["judged"]) for line in of(done, "shift")))


def of(done: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in done if line["case"]["kind"] == kind]


def share(line: dict[str, Any]) -> str:
    low, high = clopper_pearson(line["said"], line["lines"])
    return f"{line['said']} of {line['lines']} ({percent(low)} … {percent(high)})"


def told(line: dict[str, Any]) -> str:
    return f"{line['said']} of {line['lines'] - line['before']}"


def delays(line: dict[str, Any]) -> str:
    """Images until half of the lines, and nine tenths, are said to differ."""
    return ", ".join("–" if line[k] is None or line[k] >= 10**6 else str(line[k]) for k in ("delay", "delay90"))


if __name__ == "__main__":
    main()
