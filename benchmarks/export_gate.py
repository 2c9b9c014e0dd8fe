"""Does every export pass its gate? All scales, strides and formats, on real images of several data sets.

python benchmarks/export_gate.py DATA/bottle DATA/screw DATA/magnetic_tile --out gate.jsonl

Of each category the three scales are trained once, for a few steps on a few images at a small image size: whether two
programs compute the same does not depend on how well a network learned. Each export is that of `stadx export`, compared
on good and defective test images; a stopped run continues with the same command.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from stadx import Detector
from stadx.core.files import write_bytes
from stadx.data.layouts import open_category
from stadx.data.source import read_batch
from stadx.detectors.export import FORMATS, ParityError, export_detector
from stadx.detectors.thresholds import HeldOutScores

SCALES = (17,), (33,), (65,), (17, 33, 65)
STRIDES = 1, 2, 4, 8
Row = dict[str, Any]


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """At most so many of a list, from all along it."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def variants(trained: Detector, good: Sequence[Path]) -> Iterator[Detector]:
    """The trained scales alone and together, at every stride, with thresholds of good images at that stride."""
    parts = {e.teacher.patch_size: (e, n) for e, n in zip(trained.ensembles_, trained.normalizations_, strict=True)}
    pixels = read_batch(list(good))
    for scales in SCALES:
        ensembles, normalizations = zip(*(parts[p] for p in scales), strict=True)
        for stride in STRIDES:
            settings = {**trained.settings, "scales": scales, "stride": stride, "image_fpr": 0.5}
            detector = Detector.from_parts(settings, ensembles, normalizations, HeldOutScores.of([torch.zeros(1, 1)]))
            detector.calibrate(list(detector.score(pixels)))
            yield detector


def figures(detector: Detector, to: str, images: Sequence[Path], folder: Path) -> Row:
    """Of one export: the gate's figures, or why it was refused."""
    height, width = read_batch(images[0]).shape[2:]
    file = folder / ("export.xml" if to == "openvino" else "export.bin")
    try:
        exported = export_detector(detector, file, to, size=(height, width), check=list(images))  # type: ignore[arg-type]
    except ParityError as error:
        return {"refused": str(error)}
    return exported.parity.to_json()


def table(rows: Sequence[Row]) -> str:
    """The worst of all categories for each scale, stride and format, in thousandths of a map's standard deviation."""
    lines = [f"| scales | stride | {' | '.join(FORMATS)} |", f"|---|---|{'---|' * len(FORMATS)}"]
    for scales in SCALES:
        for stride in STRIDES:
            cells = []
            for to in FORMATS:
                found = [r for r in rows if (r["scales"], r["stride"], r["to"]) == (list(scales), stride, to)]
                passed = [r for r in found if "refused" not in r]
                refused = f", {len(found) - len(passed)} refused" if len(passed) < len(found) else ""
                worst = max((r["map_difference"] for r in passed), default=float("nan"))
                cells.append(f"{1e3 * worst:.3f}{refused}" if found else "")
            lines.append(f"| {', '.join(map(str, scales))} | {stride} | {' | '.join(cells)} |")
    passed = [row for row in rows if "refused" not in row]
    images = sum(row["images"] for row in passed)
    verdicts, wrong = (sum(row[name] for row in passed) for name in ("verdicts", "wrong_verdicts"))
    direct = sum(row["compared_with"] == "direct" for row in passed)
    return "\n".join(lines) + (
        f"\n\n{len(rows)} exports, {len(rows) - len(passed)} refused; {verdicts} of {images} verdicts differ, {wrong} "
        f"of them beyond the allowed difference; {direct} compared with PyTorch's convolutions, as the engine's own "
        "rounding is above the limit"
    )


def main() -> None:
    """Train, export, and print the worst differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("categories", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="lines of JSON, one for each export")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=30, help="of training, for each scale")
    parser.add_argument("--train", type=int, default=6, help="good images to train on, and for the thresholds")
    parser.add_argument("--images", type=int, default=1, help="good images, and as many with defects, to compare on")
    options = parser.parse_args()
    rows: list[Row] = []
    if options.out.exists():
        rows = [json.loads(line) for line in options.out.read_text().splitlines()]
    done = {(r["category"], *r["scales"], r["stride"], r["to"]) for r in rows}
    for folder in options.categories:
        if sum(row["category"] == folder.name for row in rows) == len(SCALES) * len(STRIDES) * len(FORMATS):
            continue
        category = open_category(folder)
        good = spread(category.train, options.train)
        test = [[item.path for item in category.test if item.is_good is kind] for kind in (True, False)]
        images = [image for kind in test for image in spread(kind, options.images)]
        trained = Detector((17, 33, 65), 2, options.image_size, steps=options.steps).fit(good)
        for detector in variants(trained, good):
            for to in FORMATS:
                key = {"category": folder.name, "scales": list(detector.scales), "stride": detector.stride, "to": to}
                if (folder.name, *detector.scales, detector.stride, to) in done:
                    continue
                with tempfile.TemporaryDirectory() as place:
                    rows.append({**key, **figures(detector, to, images, Path(place))})
                write_bytes(options.out, "".join(json.dumps(row) + "\n" for row in rows).encode())
                told = rows[-1].get("refused") or f"{1e3 * rows[-1]['map_difference']:.3f} thousandths"
                print(*key.values(), told, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
