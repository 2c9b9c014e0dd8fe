"""What settings of a detector do to accuracy, to the alarm and to the time of training, on several sets and seeds.

    python benchmarks/settings_study.py DATA/bottle DATA/screw --vary steps=300,700,1500 --out steps.jsonl
    python benchmarks/settings_study.py DATA/bottle --set scales=17,33,65 --seeds 0,1,2 --out three.jsonl

Trains a detector for every set, seed and combination of the values to vary, and evaluates it on the test images. A
line of JSON for each; those in the file are not run again, and with `--models` a stopped training goes on. At its end
the table: means over the seeds. "Alarm": defect images found at the detector's own threshold, over those found where
the asked share of the good test images would be flagged. Times are processor seconds of all threads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import stadx
from stadx.cli.console import ShownProgress
from stadx.core.progress import Progress
from stadx.data.layouts import open_category
from stadx.evaluation import evaluate

COLUMNS = ("image AUROC", "AU-PRO", "defects found", "good flagged", "alarm", "train s", "judge s", "score ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("categories", nargs="+", type=Path, help="with test images, in any layout that stadx reads")
    parser.add_argument("--vary", action="append", default=[], metavar="NAME=A,B", help="values of a setting")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting for all")
    parser.add_argument("--seeds", default="0", help="after commas")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines")
    parser.add_argument("--models", type=Path, help="folder that keeps models, and where trainings stand")
    given = parser.parse_args()
    fixed = {name: value_of(name, text) for name, text in map(split, given.set)}
    varied = {name: [value_of(name, part) for part in text.split(",")] for name, text in map(split, given.vary)}
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    known = {json.dumps(line["key"]) for line in done}
    with ShownProgress() as progress:
        for seed in map(int, given.seeds.split(",")):
            for values, folder in itertools.product(itertools.product(*varied.values()), given.categories):
                settings = {**fixed, **dict(zip(varied, values, strict=True)), "seed": seed}
                key = [folder.name, {name: settings[name] for name in sorted(settings)}]
                if json.dumps(key) in known:
                    continue
                line = {"key": key, **run(folder, settings, given.models, progress)}
                with given.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    print(table([json.loads(line) for line in given.out.read_text().splitlines()]))


def split(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals:
        raise SystemExit(f"{text}: give NAME=VALUE, such as steps=300,700")
    return name, value


def value_of(name: str, text: str) -> Any:
    """Of a setting; `scales` has several numbers, after commas or +."""
    if name == "scales":
        return [int(part) for part in text.replace("+", ",").split(",")]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def run(folder: Path, settings: dict[str, Any], models: Path | None, progress: Progress) -> dict[str, Any]:
    """Train and evaluate one detector."""
    category, times = open_category(folder), StageTimes(progress)
    name = "-".join([folder.name, *(f"{n}={str(v).replace(' ', '')}" for n, v in sorted(settings.items()))])
    place = None if models is None else models / f"{name}.stadx"
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
    if place is not None and place.exists():
        detector = stadx.Detector.load(place)
    else:
        detector = stadx.Detector(**settings)
        detector.fit(category.train, progress=times, checkpoint=None if place is None else f"{place}.part")
        times.end()
        if place is not None:
            detector.save(place)
    begun = time.process_time()
    evaluation = evaluate(detector, category, progress=progress)
    took = time.process_time() - begun
    scores, labels = evaluation.image_scores, evaluation.labels
    true = np.quantile(scores[~labels], 1 - detector.image_fpr) if (~labels).any() else np.inf
    promise = detector.false_alarms()
    return {
        "image_auroc": evaluation.image_auroc,
        "au_pro": evaluation.au_pro,
        "per_defect": {name: result.au_pro for name, result in evaluation.per_defect.items()},
        "good": int((~labels).sum()),
        "defects": int(labels.sum()),
        "flagged": evaluation.flagged,
        "found_at_true_share": int((scores[labels] > true).sum()),
        "stated": [promise.low, promise.high],
        "seconds": {name: round(value, 1) for name, value in times.seconds.items()},
        "score_ms": round(1000 * took / len(labels), 1),
        "threads": torch.get_num_threads(),
        "versions": {"stadx": stadx.__version__, "torch": torch.__version__, "machine": platform.machine()},
    }


class StageTimes:
    """A progress that notes the processor time between its calls, by stage; of a resumed run: what was left."""

    def __init__(self, inner: Progress) -> None:
        self.inner, self.seconds = inner, defaultdict[str, float](float)
        self._stage, self._since = "", time.process_time()

    def __call__(self, stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        self.end(stage)
        self.inner(stage, done, total, figures)

    def end(self, stage: str = "") -> None:
        """Time until now belongs to `stage`, or, without one, to that before."""
        now = time.process_time()
        self.seconds[stage or self._stage] += now - self._since
        self._stage, self._since = stage or self._stage, now


def table(lines: list[dict[str, Any]]) -> str:
    """Means over seeds, a row for each set and settings."""
    groups = defaultdict[str, list[dict[str, Any]]](list)
    for line in lines:
        name, settings = line["key"]
        shown = ", ".join(f"{k} {v}" for k, v in settings.items() if k != "seed")
        groups[f"{name} | {shown or 'defaults'}"].append(line)
    rows = ["| set | settings | seeds | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 3) + "|"]
    for name, group in sorted(groups.items()):
        rows.append(f"| {name} | {len(group)} | {' | '.join(cells(group))} |")
    return "\n".join(rows)


def cells(group: list[dict[str, Any]]) -> list[str]:
    """Of a row."""

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    found, true = (
        sum(x) for x in zip(*((g["flagged"]["defect"], g["found_at_true_share"]) for g in group), strict=True)
    )
    students = [sum(v for k, v in g["seconds"].items() if k.startswith("Students")) for g in group]
    others = [sum(g["seconds"].values()) for g in group]
    return [
        f"{mean([g['image_auroc'] for g in group]):.3f}",
        f"{mean([g['au_pro'] for g in group]):.3f}",
        f"{found} of {sum(g['defects'] for g in group)}",
        f"{sum(g['flagged']['good'] for g in group)} of {sum(g['good'] for g in group)}",
        f"{found / true:.2f}" if true else "–",
        f"{mean(students):.0f}",
        f"{mean(others) - mean(students):.0f}",
        f"{mean([g['score_ms'] for g in group]):.0f}",
    ]


if __name__ == "__main__":
    main()
