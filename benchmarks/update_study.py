"""Whether students that are updated keep up with students that are trained anew on all images.

python benchmarks/update_study.py ../data/mvtec_ad/bottle --portions 1,2,4 --out updates.jsonl

Trains on a third of a category's good images; the others are changed by a stated shift (brightness, rotation) and
come later, in portions. After them: AU-PRO and image AUROC, false alarms on good test images of the old and of the
changed kind, defects found, and the cost, as time of all cores together, against the model before and one trained anew
on all. Test images of the new kind are the good test images with the same shift. A line of JSON per model; at its end
the table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import stadx
from stadx import Detector
from stadx.cli.console import ShownProgress
from stadx.core.progress import Progress
from stadx.data.images import read_image
from stadx.data.layouts import open_category
from stadx.evaluation.of_detector import evaluate

COLUMNS = ("AU-PRO", "image AUROC", "old flagged", "new flagged", "defects found", "steps", "CPU seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("category", type=Path)
    parser.add_argument("--portions", default="1,2,4", help="in how many the new images come")
    parser.add_argument("--out", type=Path, help="JSON lines to add to")
    parser.add_argument("--models", type=Path, help="where trained models are kept, and taken from by a further run")
    parser.add_argument("--brightness", type=float, default=1.15, help="factor on the values of new images")
    parser.add_argument("--tint", type=float, default=1.0, help="factor on red, and divisor of blue, of new images")
    parser.add_argument("--degrees", type=float, default=4.0, help="that new images are turned by, at most, either way")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--scale", type=int, default=33)
    parser.add_argument("--students", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="of a training")
    parser.add_argument("--update-steps", help="of an update, several after commas; default: the detector's own")
    parser.add_argument("--memory", type=int, default=0, help="bytes that the model keeps; 0: all old images are given")
    parser.add_argument("--most", type=int, help="good training images in all")
    parser.add_argument("--device", default="cpu", help="where models train and score")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ShownProgress() as progress:
        lines = study(given, Path(folder), given.models or Path(folder), progress)
    lamp = f"values x {given.brightness:g}, red x {given.tint:g}, blue / {given.tint:g}"
    print(f"{given.category.name}, new images: {lamp}, turned by up to {given.degrees:g} degrees")
    print(f"{given.image_size} px, p = {given.scale}\n\n{table(lines)}")


def study(given: argparse.Namespace, folder: Path, models: Path, progress: Progress) -> list[dict[str, Any]]:
    """Measure every model; the new images are drawn into `folder`, what is trained is kept in `models`."""
    category = open_category(given.category)
    rng = np.random.default_rng(given.seed)
    train = [category.train[i] for i in rng.permutation(len(category.train))][: given.most]
    old, later = train[: -(-len(train) // 3)], train[-(-len(train) // 3) :]
    new = [changed(path, folder / f"train{i}.png", given, rng) for i, path in enumerate(later)]
    good = [item.path for item in category.test if item.is_good]
    shifted = [changed(path, folder / f"test{i}.png", given, rng) for i, path in enumerate(good)]
    settings = {
        "scales": (given.scale,),
        "image_size": given.image_size,
        "students": given.students,
        "steps": given.steps,
        "memory_bytes": given.memory,
        "seed": given.seed,
    }
    said = {name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items()}
    versions = {"stadx": stadx.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
    lines: list[dict[str, Any]] = []

    def measured(name: str, detector: Detector, seconds: float, steps: int) -> None:
        evaluation = evaluate(detector, category, progress=_named(name, progress))
        threshold = detector.image_threshold()
        flagged = sum(float(detector.predict(path).image_scores) > threshold for path in map(str, shifted))
        line = {
            "model": name,
            "AU-PRO": evaluation.au_pro,
            "image AUROC": evaluation.image_auroc,
            "old flagged": f"{evaluation.flagged['good']}/{len(good)}",
            "new flagged": f"{flagged}/{len(shifted)}",
            "defects found": f"{evaluation.flagged['defect']}/{int(evaluation.labels.sum())}",
            "steps": steps,
            "CPU seconds": round(seconds, 1),
        }
        lines.append(line)
        if given.out is not None:
            with given.out.open("a") as file:
                file.write(json.dumps({**line, "settings": said, "versions": versions}) + "\n")

    def trained(name: str, images: list[Path], file: Path) -> Path:
        """Anew, or as a previous run with the same settings and images left it."""
        # the paths of changed images are other ones in each run
        made_of = [settings, given.category.name, given.most, given.brightness, given.tint, given.degrees]
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:8]
        file = file.with_name(f"{file.stem}-{digest}{file.suffix}")
        took = file.with_suffix(".seconds")
        if not took.exists():
            begun = time.process_time()
            detector = Detector(**settings).to(given.device).fit(images, progress=_named(name, progress))
            detector.save(file)
            took.write_text(str(time.process_time() - begun))
        detector = Detector.load(file).to(given.device)
        measured(name, detector, float(took.read_text()), given.steps)
        return file

    models.mkdir(parents=True, exist_ok=True)
    first_file = trained("old alone", old, models / "first.safetensors")
    trained("anew on all", [*old, *new], models / "anew.safetensors")
    first = Detector.load(first_file).to(given.device)
    begun = time.process_time()
    first.memory_ = type(first.memory_)()
    first.update(new)
    measured("thresholds alone", first, time.process_time() - begun, 0)
    for steps in [int(n) for n in given.update_steps.split(",")] if given.update_steps else [None]:
        for portions in map(int, given.portions.split(",")):
            detector = Detector.load(first_file).to(given.device)
            begun, known = time.process_time(), list(old)
            for part in np.array_split(np.arange(len(new)), portions):
                portion = [new[i] for i in part]
                name = f"{portions} portions"
                kept = None if given.memory else known
                detector.update(portion, old=kept, steps=steps, progress=_named(name, progress))
                known += portion
            taken = sum(entry["steps"] for entry in detector.lineage_[1:])
            measured(f"updated, {portions} portions", detector, time.process_time() - begun, taken)
    return lines


def changed(path: Path, place: Path, given: argparse.Namespace, rng: np.random.Generator) -> Path:
    """An image brighter, in another light and turned, the border continued by mirroring; written to `place`."""
    pixels = read_image(path)
    margin = [min(length // 4, length - 1) for length in pixels.shape[:2]]
    wide = np.pad(pixels, [(m, m) for m in margin] + [(0, 0)], "reflect")
    angle = float(rng.uniform(-given.degrees, given.degrees))
    turned = np.asarray(Image.fromarray(wide).rotate(angle, Image.Resampling.BICUBIC), np.float32)
    inside = turned[margin[0] : turned.shape[0] - margin[0], margin[1] : turned.shape[1] - margin[1]]
    lamp = given.brightness * np.array([given.tint, 1, 1 / given.tint], np.float32)
    Image.fromarray((inside * lamp).clip(0, 255).round().astype(np.uint8)).save(place)
    return place


def table(lines: list[dict[str, Any]]) -> str:
    """Of all models."""
    rows = ["| model | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for line in lines:
        cells = [f"{line[c]:.3f}" if c in COLUMNS[:2] and line[c] is not None else str(line[c]) for c in COLUMNS]
        rows.append(f"| {line['model']} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _named(name: str, progress: Progress) -> Progress:
    return lambda stage, done, total, figures: progress(f"{name}: {stage}", done, total, figures)


if __name__ == "__main__":
    sys.exit(main())
