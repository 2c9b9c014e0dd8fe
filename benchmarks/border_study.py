"""What becomes of pixels whose patch reaches beyond the image: five ways, on several sets.

    python benchmarks/border_study.py DATA/bottle DATA/screw --scale 65 --models models --out border.jsonl

Of each set two detectors are trained, one on pixels whose patch lies inside (`border="inside"`), one on all of the
images continued by reflection (`"reflect"`). Their errors make maps in five ways. By distance: at each distance from
the border e is normalised by mean and deviation of the training images at that distance, the deviation never below that
of the inside. Image AUROC, AU-PRO, the mean of it over defects that lie mostly where patches reach beyond the image
("border") and over the others, and defects found where 5 % of the good test images are flagged. A line of JSON for each
set; those in the file are not run again. At its end the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import stadx
from stadx.cli.console import ShownProgress
from stadx.core.progress import Progress
from stadx.data.layouts import open_category
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.cpu_scorer import CpuScorer
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.normalization import Normalization
from stadx.metrics import auroc, evaluate_maps
from stadx.metrics.image_score import image_scores
from stadx.networks.border import Computed
from stadx.networks.upsampling import upsample
from stadx.networks.windows import TensorRows
from stadx.ops import label_regions
from truth import masks_of

MOST_TRAINED = 60  # images whose errors tell mean and deviation
Maps = list[Tensor]
FIGURES = ("image AUROC", "AU-PRO", "border", "others", "found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("categories", nargs="+", type=Path, help="with test images, in any layout that stadx reads")
    parser.add_argument("--scale", type=int, default=65)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--students", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--models", type=Path, required=True, help="folder that keeps models and trainings")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines")
    given = parser.parse_args()
    given.models.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    settings = {"scales": [given.scale], "steps": given.steps, "students": given.students, "size": given.image_size}
    with ShownProgress() as progress:
        for folder in given.categories:
            key = {"set": folder.name, **settings}
            if all(line["key"] != key for line in lines):
                lines.append({"key": key, "ways": study(folder, settings, given.models, progress)})
                with given.out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    print(table(lines))


def study(folder: Path, settings: dict[str, Any], models: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """The figures of each way on one set."""
    inside = trained(folder, "inside", settings, models, progress)
    reflect = trained(folder, "reflect", settings, models, progress)
    category = open_category(folder)
    test = [item.path for item in category.test]
    train = category.train[:: max(1, len(category.train) // MOST_TRAINED)][:MOST_TRAINED]
    height, width = ImageSource(test[:1], inside.working_size)[0].shape[1:]
    masks = masks_of(category.test, height, width)
    good = torch.tensor([item.is_good for item in category.test])
    stride, margin = inside.stride, settings["scales"][0] // 2
    at_border = mostly_at_border(masks, margin)

    def figures(maps: Maps) -> dict[str, Any]:
        whole = torch.stack([upsample(m[None], height, width, stride)[0] for m in maps])
        scores = image_scores(whole, inside.top_share)
        found = evaluate_maps(list(zip(whole, masks, strict=True))).region_au_pro()
        limit = torch.quantile(scores[good].double(), 0.95)
        parts = (float(p.mean()) if p.size else float("nan") for p in (found, found[at_border], found[~at_border]))
        numbers = [auroc(scores.numpy(), ~good.numpy()), *parts, int((scores[~good] > limit).sum())]
        counts = {"regions": [int(at_border.sum()), len(found)], "defects": int((~good).sum())}
        return {**dict(zip(FIGURES, numbers, strict=True)), **counts}

    ways = {}
    for name, detector in (("inside", inside), ("reflect", reflect)):
        (ensemble,) = detector.ensembles_
        everywhere = replace(ensemble, inside=False)
        trained_e = errors(detector, everywhere, train, partial(_told, progress, f"{name}: training images"))
        test_e = errors(detector, everywhere, test, partial(_told, progress, f"{name}: test images"))
        place = replace(ensemble, inside=True).computed(TensorRows(torch.zeros(3, height, width)), stride)
        maps = partial(scored, trained_e, test_e, detector.level, stride)
        if name == "reflect":
            ways["reflected in training, as it is"] = figures(maps(None, None))
        ways[f"{name}, the nearest inside"] = figures(maps(place, None))
        ways[f"{name}, by distance"] = figures(maps(place, margin // stride))
    return ways


def _told(progress: Progress, stage: str, done: int, total: int) -> None:
    progress(stage, done, total, {})


def trained(folder: Path, border: str, settings: dict[str, Any], models: Path, progress: Progress) -> stadx.Detector:
    """A detector, from its file if there is one."""
    size, given = settings["size"], {name: settings[name] for name in ("scales", "steps", "students")}
    scale, students, steps = settings["scales"][0], settings["students"], settings["steps"]
    file = models / f"{folder.name}-{border}-{scale}-{students}-{steps}-{size}.stadx"
    if file.exists():
        found = stadx.Detector.load(file)
        assert isinstance(found, stadx.Detector)
        return found
    detector = stadx.Detector(**given, image_size=size, border=border)  # type: ignore[arg-type]
    detector.fit(open_category(folder).train, progress=progress, checkpoint=f"{file}.part")
    detector.save(file)
    return detector


def mostly_at_border(masks: Tensor, margin: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Of each region of masks [N, H, W], in the order of the metrics: whether half of it or more lies in the margin."""
    middle = torch.zeros(masks.shape[1:], dtype=torch.bool)
    middle[margin:-margin, margin:-margin] = True
    labels, counts = label_regions(masks)
    regions = [labels[i] == k for i, n in enumerate(counts.tolist()) for k in range(1, n + 1)]
    return np.array([float((~middle)[region].double().mean()) >= 0.5 for region in regions])


def errors(
    detector: stadx.Detector, ensemble: Ensemble, paths: Sequence[Path], told: Callable[[int, int], None]
) -> Maps:
    """e of images at every stride-th pixel, [h, w]."""
    source = ImageSource(paths, detector.working_size, value_range=detector.settings["value_range"])
    scorer, maps = CpuScorer([ensemble]), []
    for index in range(len(source)):
        ((e, _),) = scorer.errors(source[index][None], detector.stride)
        maps.append(e[0].clone())
        told(index + 1, len(source))
    return maps


def scored(good: Maps, found: Maps, strength: float, stride: int, place: Computed | None, rings: int | None) -> Maps:
    """Scores from errors: everywhere alike (no `place`), of the inside continued, or by distance from the border."""

    def computed(e: Tensor) -> Tensor:
        if place is None:
            return e
        rows, columns = (slice(s.before, s.before + s.count) for s in place)
        return e[rows, columns]

    usual = Normalization.of([(computed(e), torch.zeros_like(computed(e))) for e in good], strength, stride)
    factors = [usual.factor(computed(e), stride) for e in (*good, *found)]
    scaled = [e * factor for e, factor in zip((*good, *found), factors, strict=True)]
    good, found = scaled[: len(good)], scaled[len(good) :]
    if place is None or rings is None:
        maps = [(computed(e) - usual.e_mean) / usual.e_std for e in found]
        return maps if place is None else [place.continued(m) for m in maps]
    distance = ring_numbers(good[0].shape, rings)
    stack, shift, scale = torch.stack(good), torch.empty(rings + 1), torch.empty(rings + 1)
    for ring in range(rings + 1):
        here = stack[:, distance == ring].double()
        shift[ring], scale[ring] = here.mean(), max(float(here.std(correction=0)), usual.e_std)
    return [(e - shift[distance]) / scale[distance] for e in found]


def ring_numbers(shape: Sequence[int], rings: int) -> Tensor:
    """Distance of each scored pixel [h, w] from the border, in strides; that of the inside is `rings`."""
    rows, columns = (torch.minimum(torch.arange(n), n - 1 - torch.arange(n)) for n in shape)
    return torch.minimum(rows[:, None], columns[None]).clamp_max(rings)


def table(lines: Sequence[dict[str, Any]]) -> str:
    """A row for each way and set."""
    rows = [f"| set, p | way | {' | '.join(FIGURES)} |", "|---|---|" + "---|" * len(FIGURES)]
    for line in lines:
        key = line["key"]
        for way, figures in line["ways"].items():
            cells = ["–" if np.isnan(figures[name]) else f"{figures[name]:.3f}" for name in FIGURES[:-1]]
            cells.append(f"{figures['found']} of {figures['defects']}")
            rows.append(f"| {key['set']}, {key['scales'][0]} | {way} | {' | '.join(cells)} |")
        border, count = next(iter(line["ways"].values()))["regions"]
        rows.append(f"| | {border} of {count} regions lie mostly at the border | | | | | |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
