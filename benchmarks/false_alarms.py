"""Whether the share of false alarms that a model states is true: random splits of good images, from 10 to 300.

python benchmarks/false_alarms.py ../data/mvtec_ad/bottle ../data/mvtec_ad/screw --out splits.jsonl

Each split trains on some of a category's good images, of training and test, asks for a share of false alarms and
counts them on the others. A line of JSON a split; those in the file are not run again. At its end the table: how often
the share that was counted lies within the stated interval, how often it is due to, were images independent and the
others like those that judge, and how often its own interval, as there are so few others, meets the stated one. And of
each category whether its good test images are like its good training images, to models that saw neither.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import beta, betabinom

import stadx
from stadx.cli.console import ShownProgress
from stadx.data.layouts import open_category
from stadx.data.source import ImageSource
from stadx.metrics.intervals import independent_number, korn_graubard

SIZES = (10, 20, 40, 80, 160, 300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("categories", nargs="+", type=Path, help="in MVTec AD layout")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines")
    parser.add_argument("--splits", type=int, default=20, help="in all, categories and sizes in turn")
    parser.add_argument("--first", type=int, default=0, help="split to begin with, if others are known from elsewhere")
    parser.add_argument("--image-fpr", type=float, default=0.05)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--scale", type=int, default=33)
    parser.add_argument("--no-cross", action="store_true", help="a tenth held out, as in stadx 0.1")
    given = parser.parse_args()
    settings = {
        "scales": (given.scale,),
        "image_size": given.image_size,
        "steps": given.steps,
        "image_fpr": given.image_fpr,
        "cross": not given.no_cross,
    }
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    known = {(line["category"], line["split"]) for line in done if line["settings"] == _plain(settings)}
    with ShownProgress() as progress:
        for split in range(given.first, given.splits):
            folder = given.categories[split % len(given.categories)]
            if (folder.name, split) in known:
                continue
            line = run(folder, split, settings, lambda s, d, t, f, n=split: progress(f"split {n}: {s}", d, t, f))
            with given.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
    lines = [json.loads(line) for line in given.out.read_text().splitlines()]
    lines = [line for line in lines if line["settings"] == _plain(settings)]
    print(f"{table(lines)}\n\n{table_of_kinds(lines, given.categories)}")


def run(folder: Path, split: int, settings: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Train on some of the good images of a category, and count the alarms on the others."""
    category = open_category(folder)
    good = [*category.train, *(item.path for item in category.test if item.is_good)]
    images, others = ([good[i] for i in part] for part in division(len(good), split))
    detector = stadx.Detector(**settings, seed=split).fit(images, progress=progress)
    source, scores = ImageSource(others, settings["image_size"]), []
    for index in range(len(source)):
        scores.append(float(detector.predict(source[index][None]).image_scores))
        progress("Other good images", index + 1, len(source), {})
    promise = detector.false_alarms()
    flagged = int((np.array(scores) > detector.image_threshold()).sum())
    independent = independent_number(np.array(scores))
    counted = korn_graubard(flagged, len(scores), independent)
    return {
        "category": folder.name,
        "split": split,
        "settings": _plain(settings),
        "images": len(images),
        "stated": [promise.low, promise.high],
        "independent": [promise.independent, independent],
        "flagged": flagged,
        "others": len(scores),
        "within": bool(promise.low <= flagged / len(scores) <= promise.high),
        "possible": bool(promise.low <= counted[1] and counted[0] <= promise.high),
        "judged_scores": np.round(detector.judged_scores(detector.stride), 4).tolist(),
        "scores": np.round(scores, 4).tolist(),
        "versions": {"stadx": stadx.__version__, "torch": torch.__version__},
    }


def division(count: int, split: int) -> tuple[list[int], list[int]]:
    """Numbers of the good images that train and of the others, each rising: as they were taken."""
    order = np.random.default_rng(split).permutation(count).tolist()
    size = min(SIZES[split % len(SIZES)], count - 20)  # at least 20 to count on
    return sorted(order[:size]), sorted(order[size:])


def table(lines: list[dict[str, Any]]) -> str:
    """By number of images: splits, flagged of all others, within the stated interval."""
    heads = ["good images", "splits", "flagged", "of others", "within the stated interval", "due"]
    heads += ["due of the true share", "their intervals meet"]
    rows = [f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}"]
    groups = {str(n): [x for x in lines if x["images"] == n] for n in sorted({x["images"] for x in lines})}
    for name, group in {**groups, "all": lines}.items():
        flagged, others = (sum(line[key] for line in group) for key in ("flagged", "others"))
        within, possible = (sum(line[key] for line in group) for key in ("within", "possible"))
        counted, true = (sum(chances) for chances in zip(*map(chances_within, group), strict=True))
        share = f"{flagged} ({flagged / others:.1%})"
        cells = [name, len(group), share, others, within, f"{counted:.1f}", f"{true:.1f}", possible]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def chances_within(line: dict[str, Any]) -> tuple[float, float]:
    """How likely the counted and the true share lie within the stated interval, were images independent and alike.

    Of n that judge, the threshold at the place t = f (n + 1) of their scores is exceeded by a share of all others that
    is Beta(t, n + 1 - t); of m of these the number is beta-binomial. So with few others a count can miss an interval
    that holds.
    """
    judges, others = line["independent"][0], line["others"]
    place = max(1.0, line["settings"]["image_fpr"] * (judges + 1))
    a, b, (low, high) = place, judges + 1 - place, line["stated"]
    counts = np.arange(others + 1)
    inside = (low <= counts / others) & (counts / others <= high)
    counted = betabinom.pmf(counts, others, a, b)[inside].sum()
    return float(counted), float(beta.cdf(high, a, b) - beta.cdf(low, a, b))


def table_of_kinds(lines: list[dict[str, Any]], folders: list[Path]) -> str:
    """By category: good test images that a threshold flags which flags just the asked share of good training images.

    Of both those that are the others of a split; an image counts in each split in which it is one.
    """
    rows = ["| category | splits | good test images flagged | of | asked |\n|---|---|---|---|---|"]
    for folder in folders:
        category, flagged, tested = open_category(folder), 0, 0
        count = len(category.train) + sum(item.is_good for item in category.test)
        group = [line for line in lines if line["category"] == folder.name]
        for line in group:
            is_test = np.array(division(count, line["split"])[1]) >= len(category.train)
            scores, fpr = np.array(line["scores"]), line["settings"]["image_fpr"]
            above = scores[is_test] > np.quantile(scores[~is_test], 1 - fpr)
            flagged, tested = flagged + int(above.sum()), tested + len(above)
        if tested:
            asked, share = f"{group[0]['settings']['image_fpr']:.0%}", f"{flagged} ({flagged / tested:.1%})"
            rows.append(f"| {folder.name} | {len(group)} | {share} | {tested} | {asked} |")
    return "\n".join(rows)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


if __name__ == "__main__":
    torch.manual_seed(0)
    sys.exit(main())
