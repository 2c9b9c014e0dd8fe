"""Whether the share of false alarms that a model states is true: random splits of good images, from 10 to 300.

python benchmarks/false_alarms.py ../data/mvtec_ad/bottle ../data/mvtec_ad/screw --out splits.jsonl

Each split trains on some of a category's good images, of training and test, asks for a share of false alarms and
counts them on the others. A line of JSON a split; those in the file are not run again. At its end the table: how often
the share that was counted lies within the stated interval, how often it is due to, were images independent and the
others like those that judge, and how often its own interval, as there are so few others, meets the stated one. And of
each category whether its good test images are like its good training images, to models that saw neither. SciPy is
needed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import beta, betabinom, mannwhitneyu, rankdata

import stadx
from stadx.cli.console import ShownProgress
from stadx.data.layouts import open_category
from stadx.data.source import ImageSource
from stadx.detectors.thresholds import image_threshold_at
from stadx.metrics.intervals import independent_number, korn_graubard

SIZES = (10, 20, 40, 80, 160, 300)
LEAST_OTHERS = 20  # to count on


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
    folders = [folder.resolve() for folder in given.categories]
    known = {(line["category"], line["split"]) for line in lines_of(given.out, settings)}
    with ShownProgress() as progress:
        for split in range(given.first, given.splits):
            folder = folders[split % len(folders)]
            if (folder.name, split) in known:
                continue
            line = run(folder, split, settings, lambda s, d, t, f, n=split: progress(f"split {n}: {s}", d, t, f))
            with given.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
    lines = lines_of(given.out, settings)
    print(table(lines))
    print(f"\n{table_of_kinds(lines, folders)}")


def lines_of(file: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the splits in a file those of these settings."""
    text = file.read_text() if file.exists() else ""
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [line for line in lines if line["settings"] == _plain(settings)]


def run(folder: Path, split: int, settings: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Train on some of the good images of a category, and count the alarms on the others."""
    category = open_category(folder)
    good = [*category.train, *(item.path for item in category.test if item.is_good)]
    if len(good) < SIZES[0] + LEAST_OTHERS:
        raise SystemExit(f"{folder}: {len(good)} good images are too few; give {SIZES[0] + LEAST_OTHERS} or more")
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
    size = min(SIZES[split % len(SIZES)], count - LEAST_OTHERS)
    return sorted(order[:size]), sorted(order[size:])


def table(lines: list[dict[str, Any]]) -> str:
    """By number of images: what was stated, counted, and due."""
    heads = ["good images", "categories", "splits", "stated, the widest", "flagged", "due", "of others"]
    heads += ["within", "due", "true share within, due", "their intervals meet"]
    rows = [f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}"]
    groups = {str(n): [x for x in lines if x["images"] == n] for n in sorted({x["images"] for x in lines})}
    for name, group in {**groups, "all": lines}.items():
        if not group:
            return "no splits"
        flagged, others, within, possible = (
            sum(x[k] for x in group) for k in ("flagged", "others", "within", "possible")
        )
        low, high = min(x["stated"][0] for x in group), max(x["stated"][1] for x in group)
        dues = [Due.of(line) for line in group]
        mean, variance, counted, true = (sum(values) for values in zip(*dues, strict=True))
        spread = sum(due.within * (1 - due.within) for due in dues) ** 0.5
        cells = [name, ", ".join(sorted({x["category"] for x in group})), len(group), f"{low:.1%} to {high:.1%}"]
        cells += [f"{flagged} ({flagged / others:.1%})", f"{mean:.0f} ± {variance**0.5:.0f}", others]
        cells += [within, f"{counted:.1f} ± {spread:.1f}", f"{true:.1f}", possible]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


class Due(NamedTuple):
    """What is due of a split if all images are independent and of one kind.

    Of n that judge, the threshold at the place t = f (n + 1) of their scores is exceeded by a share of all others that
    is Beta(t, n + 1 - t); of m of these the number is beta-binomial. n is the number of independent images that say as
    much as those that judge. With few others a count can miss an interval that holds.

    Attributes:
        flagged, variance: mean and variance of the number of others flagged.
        within: how likely their share lies within the stated interval.
        true_within: how likely the share of all others does.
    """

    flagged: float
    variance: float
    within: float
    true_within: float

    @classmethod
    def of(cls, line: dict[str, Any]) -> Due:
        judges, others = line["independent"][0], line["others"]
        a = max(1.0, line["settings"]["image_fpr"] * (judges + 1))
        b, (low, high) = judges + 1 - a, line["stated"]
        counts = np.arange(others + 1)
        inside = (low <= counts / others) & (counts / others <= high)
        mean, variance = betabinom.stats(others, a, b, moments="mv")
        within = betabinom.pmf(counts, others, a, b)[inside].sum()
        return cls(*map(float, (mean, variance, within, beta.cdf(high, a, b) - beta.cdf(low, a, b))))


def table_of_kinds(lines: list[dict[str, Any]], folders: list[Path]) -> str:
    """By category: how good test images rank among all good ones, to models that saw none of them; 0.5 is due.

    An image's rank is its mean over the splits in which it is one of the others. P that ranks differ so by chance takes
    images for independent (Mann and Whitney 1947). And how often one is above the threshold that flags the asked share
    of good training images, of how often one is among the others.
    """
    rows = ["| category | splits | test images | rank | P | flagged | due |\n|---|---|---|---|---|---|---|"]
    for folder in folders:
        category = open_category(folder)
        count = len(category.train) + sum(item.is_good for item in category.test)
        ranks: list[list[float]] = [[] for _ in range(count)]
        flagged, tested, due = 0, 0, 0.0
        group = [line for line in lines if line["category"] == folder.name]
        for line in group:
            others = np.array(division(count, line["split"])[1])
            scores, is_test = np.array(line["scores"]), others >= len(category.train)
            for number, rank in zip(others, (rankdata(scores) - 0.5) / len(scores), strict=True):
                ranks[number].append(float(rank))
            fpr, trained = line["settings"]["image_fpr"], scores[~is_test]
            if fpr * (len(trained) + 1) >= 1:  # of fewer no threshold flags so few
                above = scores[is_test] > image_threshold_at(fpr, trained)
                flagged, tested, due = flagged + int(above.sum()), tested + len(above), due + fpr * len(above)
        means = [
            [float(np.mean(r)) for r in part if r]
            for part in (ranks[: len(category.train)], ranks[len(category.train) :])
        ]
        if all(means):
            p = mannwhitneyu(*means).pvalue
            cells = [folder.name, len(group), len(means[1]), f"{np.mean(means[1]):.2f}", f"{p:.1g}"]
            rows.append(f"| {' | '.join(map(str, cells))} | {flagged} of {tested} | {due:.0f} |")
    return "\n".join(rows)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
