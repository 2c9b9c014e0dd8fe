"""How many images a person reviews until a model's false alarms are halved, by the order that the images come in.

python benchmarks/rank_study.py ../data --out rank_study

A model learns some good images of a category. A pool arrives: as many of the same kind, half as many of new kinds (the
lamp brighter or darker, the camera turned), and half as many with defects. A reviewer looks at the first k of an order,
says which are good, and the model learns these (`Detector.update`). For growing k, until half is reached: the share of
false alarms on other good images, as many of new kinds as of the old one, and the share of other defects that are
found. Orders: `Detector.rank`, random, highest image score, highest mean e, highest mean v. With --copies N each image
of a new kind comes N times, with another noise each time, as from a line that goes on making the same part. With
--first N nothing is learned: it is only counted what the first N images of each order are.

A line of JSON per model in OUT.jsonl; the same command goes on where it was stopped, and draws OUT.png.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

import stadx
from rank_pool import Images, images_of
from stadx import Detector
from stadx.core.files import write_bytes
from stadx.evaluation.report.plots import STYLE, to_png

SETS = {"bottle": "mvtec_ad/bottle", "screw": "mvtec_ad/screw", "tile": "magnetic_tile_ad/magnetic_tile"}
MODEL = "first.safetensors"
REVIEWED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
ORDERS = {"rank": "stadx rank", "random": "random", "score": "highest image score", "e": "highest e", "v": "highest v"}
COLOURS = {"rank": "#0f766e", "random": "#64748b", "score": "#b91c1c", "e": "#b45309", "v": "#7c3aed"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("STADX_DATA"), help="default: STADX_DATA")
    parser.add_argument("--out", type=Path, default=Path("rank_study"), help="prefix of what is written")
    parser.add_argument("--sets", default=",".join(SETS), help="names, or folders in the data folder, after commas")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--copies", type=int, default=1, help="how often each image of a new kind is in the pool")
    parser.add_argument("--first", type=int, help="count what so many images at the front are, and update no model")
    parser.add_argument("--draws", type=int, default=2, help="random orders per set and seed")
    parser.add_argument("--images", type=int, default=20, help="half of what is learned; of new kinds, of defects")
    parser.add_argument("--brightness", default="2,0.5", help="factors on the values of new kinds")
    parser.add_argument("--degrees", type=float, default=15.0, help="that new kinds are turned by, at most, either way")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--scale", type=int, default=33)
    parser.add_argument("--students", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="of a training; an update takes a tenth")
    parser.add_argument("--quick", action="store_true", help="64 px, two students, 120 steps")
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the data folder, or set STADX_DATA")
    if given.quick:
        given.image_size, given.students, given.steps = 64, 2, 120
    if given.copies < 1:
        parser.error("--copies must be 1 or more")
    places = ("data", "out", "sets", "seeds", "first_seed", "first", "draws", "quick")
    settings = {name: value for name, value in vars(given).items() if name not in places}
    given.brightness = [float(factor) for factor in given.brightness.split(",")]
    if given.first:
        tell_first(given)
        return
    file = given.out.with_suffix(".jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    lines = [line for line in lines if line["settings"] == settings]
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for name in given.sets.split(","):
            with tempfile.TemporaryDirectory() as folder, file.open("a") as out:
                for line in run(name, seed, given, Path(folder), lines):
                    line |= {"settings": settings, "stadx": stadx.__version__, "torch": torch.__version__}
                    lines.append(line)
                    out.write(json.dumps(line) + "\n")
                    out.flush()
                    told = ("set", "seed", "order", "reviewed", "learned", "false_alarms", "found")
                    print(*(line[key] for key in told), flush=True)
    draw(lines, given.out.with_suffix(".png"))
    print(table(lines))


def run(
    name: str, seed: int, given: argparse.Namespace, folder: Path, done: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The lines of a set and a seed that are not done yet."""
    own = [line for line in done if (line["set"], line["seed"]) == (name, seed)]
    orders = [order for order in orders_of(given) if not _is_finished([line for line in own if line["order"] == order])]
    if not orders:
        return
    first, images, places_of = ordered(name, seed, given, folder, orders)
    model = folder / MODEL
    start = measured(first, images)
    known: dict[frozenset[int], dict[str, float]] = {frozenset(): start}
    for order in orders:
        places = places_of[order]
        for reviewed in (0, *REVIEWED, len(places)):
            learned = frozenset(i for i in places[:reviewed] if images.is_good[i])
            if learned not in known:
                detector = Detector.load(model)
                detector.update([images.pool[i] for i in sorted(learned)], old=images.learned)
                known[learned] = measured(detector, images)
            new = sum(images.is_new[i] for i in learned)
            told = {"set": name, "seed": seed, "order": order, "reviewed": reviewed, "learned": len(learned)}
            line = {**told, "of_new_kinds": new, **known[learned], "pool": len(places)}
            own.append(line)
            yield line
            if _is_finished([line for line in own if line["order"] == order]):
                break


def ordered(
    name: str, seed: int, given: argparse.Namespace, folder: Path, orders: Sequence[str]
) -> tuple[Detector, Images, dict[str, list[int]]]:
    """The model, which is written to `folder`, the images, and of each order the numbers in the pool."""
    images = images_of(given.data / SETS.get(name, name), folder, seed, given)
    settings = {"image_size": given.image_size, "students": given.students, "steps": given.steps, "seed": seed}
    # with few images that judge one outlier would set the pixel threshold, and that the image threshold
    first = Detector((given.scale,), target_fpr=0.02, **settings).fit(images.learned)
    first.save(folder / MODEL)
    ranked = first.rank(images.pool).images
    by_index = sorted(ranked)
    keys = {
        "rank": [-ranked.index(item) for item in by_index],
        "score": [item.image_score for item in by_index],
        "e": [item.e for item in by_index],
        "v": [item.v for item in by_index],
    }
    places: dict[str, list[int]] = {}
    for order in orders:
        key = keys.get(order, np.random.default_rng([seed, 13, *map(ord, order)]).random(len(by_index)))
        places[order] = np.argsort(-np.asarray(key), kind="stable").tolist()
    return first, images, places


def tell_first(given: argparse.Namespace) -> None:
    """Print what the first images of each order are."""
    print("set seed order: images of new kinds, further copies of these, images as learned, defects", flush=True)
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for name in given.sets.split(","):
            with tempfile.TemporaryDirectory() as folder:
                _, images, places = ordered(name, seed, given, Path(folder), orders_of(given))
            for order, numbers in places.items():
                front = numbers[: given.first]
                new = [images.part[i] for i in front if images.is_new[i]]
                good = sum(images.is_good[i] for i in front)
                counts = len(set(new)), len(new) - len(set(new)), good - len(new), len(front) - good
                print(f"{name} {seed} {order}: {', '.join(map(str, counts))}", flush=True)


def orders_of(given: argparse.Namespace) -> list[str]:
    """Of all orders the names, a random one for each draw."""
    return [f"random {draw}" if draw else order for order in ORDERS for draw in _draws(order, given)]


def _draws(order: str, given: argparse.Namespace) -> Sequence[int]:
    return range(1, given.draws + 1) if order == "random" else (0,)


def measured(detector: Detector, images: Images) -> dict[str, float]:
    """Shares of images above the threshold: good ones of both kinds together, of each, and defects."""
    threshold = detector.image_threshold()
    groups = {"old": images.old_kind, "new": images.new_kind, "found": images.defects}
    shares = {
        group: float(np.mean([float(detector.predict(path).image_scores) > threshold for path in paths]))
        for group, paths in groups.items()
    }
    return {"false_alarms": (shares["old"] + shares["new"]) / 2, **shares}


def _is_finished(lines: Sequence[dict[str, Any]]) -> bool:
    """Whether an order has halved the false alarms, or all of the pool is reviewed."""
    last = max((line["reviewed"] for line in lines), default=-1)
    return halved(lines) is not None or any(last == line["pool"] for line in lines)


def halved(lines: Sequence[dict[str, Any]]) -> int | None:
    """Images reviewed until false alarms are at most half of those at first, of one order; None: never."""
    by_reviewed = {line["reviewed"]: line["false_alarms"] for line in lines}
    return next((k for k in sorted(by_reviewed) if by_reviewed[k] <= by_reviewed[0] / 2 + 1e-9), None)


def curves(lines: Sequence[dict[str, Any]]) -> dict[str, dict[tuple[str, int, str], list[dict[str, Any]]]]:
    """Lines by order, and of each by set, seed and draw, by images reviewed."""
    found: dict[str, dict[tuple[str, int, str], list[dict[str, Any]]]] = {order: {} for order in ORDERS}
    for line in sorted(lines, key=lambda line: int(line["reviewed"])):
        runs = found[line["order"].split()[0]]
        runs.setdefault((line["set"], line["seed"], line["order"]), []).append(line)
    return found


def draw(lines: Sequence[dict[str, Any]], file: Path) -> None:
    """Above the false alarms against images reviewed, of every run until they are halved; below where that was."""
    names = list(dict.fromkeys(line["set"] for line in lines))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        axes = figure.subplots(2, len(names), squeeze=False, sharex=True, height_ratios=(2, 1))
        for row, (order, runs) in enumerate(curves(lines).items()):
            for (name, _, _), points in runs.items():
                above, below = axes[:, names.index(name)]
                reviewed = [line["reviewed"] for line in points]
                above.plot(reviewed, [100 * line["false_alarms"] for line in points], ".-", color=COLOURS[order], lw=1)
                marker = "o" if halved(points) else ">"  # an arrow: not yet
                below.plot([halved(points) or points[-1]["reviewed"]], [-row], marker, color=COLOURS[order], alpha=0.6)
        for column, name in enumerate(names):
            above, below = axes[:, column]
            above.set(title=name, xscale="symlog", ylim=(0, None))
            below.set(xlabel="images reviewed", ylim=(0.6 - len(ORDERS), 0.6))
            below.set_xticks([0, 1, 2, 4, 8, 16, 32, 64], ["0", "1", "2", "4", "8", "16", "32", "64"])
            below.set_yticks([-row for row in range(len(ORDERS))], list(ORDERS.values()) if column == 0 else [])
        axes[0, 0].set_ylabel("false alarms, % of good images")
        axes[1, 0].set_ylabel("halved after")
        write_bytes(file, to_png(figure))


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Images reviewed to halve false alarms, of each order and set: of every seed and draw."""
    names = list(dict.fromkeys(line["set"] for line in lines))
    rows = ["| order | " + " | ".join(names) + " | defects found, at first → halved |", "|---" * (len(names) + 2) + "|"]
    for order, runs in curves(lines).items():
        cells = []
        for name in names:
            own = [points for (of, _, _), points in runs.items() if of == name]
            counts = [halved(points) for points in own]
            pairs = zip(counts, own, strict=True)
            each = ", ".join(f"> {points[-1]['reviewed']}" if k is None else str(k) for k, points in pairs)
            cells.append(each or "–")
        found = [[points[i]["found"] for points in runs.values()] for i in (0, -1)]
        rows.append(f"| {ORDERS[order]} | {' | '.join(cells)} | {np.mean(found[0]):.2f} → {np.mean(found[1]):.2f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
