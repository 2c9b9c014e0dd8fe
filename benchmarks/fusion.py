"""How the scales of a detector are best made one map: a row of a table for each way, at each strength of the level.

python benchmarks/fusion.py screw3.safetensors DATA/screw
python benchmarks/fusion.py screw33.safetensors screw65.safetensors DATA/screw

Image AUROC / AU-PRO / share of the defects found where 5 % of the good test images are flagged. What scales are divided
by comes from up to 60 training images. The model has two scales or more, or there are several, of the error alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import stadx
from stadx.cli.console import ShownProgress
from stadx.core.progress import Progress
from stadx.data.layouts import open_category
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.cpu_scorer import CpuScorer
from stadx.detectors.student_teacher.normalization import Normalization
from stadx.metrics import au_pro, auroc
from stadx.metrics.image_score import image_scores
from stadx.networks.border import Computed
from stadx.networks.upsampling import upsample
from stadx.networks.windows import TensorRows
from truth import masks_of

MOST_TRAINED = 60
Maps = list[tuple[Tensor, Computed]]  # e of each image, and where
Parts = Callable[[Tensor], tuple[float, float]]  # what is taken from e of good images and what it is divided by

WAYS: dict[str, Parts] = {
    "mean and deviation (the default)": lambda e: (float(e.mean()), float(e.std())),
    "quantiles 0.9 and 0.995": lambda e: _between(e, 0.9, 0.995),
    "quantiles 0.5 and 0.999": lambda e: _between(e, 0.5, 0.999),
    "deviation times mean: the better a scale fits, the more it counts": lambda e: (
        float(e.mean()),
        float(e.std() * e.mean()),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("category", type=Path)
    given = parser.parse_args()
    detectors, category = [stadx.Detector.load(model) for model in given.models], open_category(given.category)
    detector, scales = detectors[0], [p for each in detectors for p in each.scales]
    labels = np.array([not item.is_good for item in category.test])
    test = [item.path for item in category.test]
    train = category.train[:: max(1, len(category.train) // MOST_TRAINED)][:MOST_TRAINED]
    with ShownProgress() as progress:
        good = [e for each in detectors for e in errors(each, train, partial(_told, progress, "Training images"))]
        found = [e for each in detectors for e in errors(each, test, partial(_told, progress, "Test images"))]
    height, width = ImageSource(test, detector.working_size)[0].shape[1:]
    masks = masks_of(category.test, height, width)

    def figures(maps: Sequence[Tensor]) -> str:
        whole = torch.stack([upsample(m[None], height, width, detector.stride)[0] for m in maps])
        scores = image_scores(whole, detector.top_share).numpy()
        share = np.mean(scores[labels] > np.quantile(scores[~labels], 0.95))
        return f"{auroc(scores, labels):.3f} / {au_pro(whole, masks):.3f} / {share:.2f}"

    print("| level | scales made alike by | mean of the scales | highest of them | each |\n|---|---|---|---|---|")
    for strength in (0.0, 0.5, 1.0):
        for name, way in WAYS.items():
            scaled = [_scaled(*pair, way, strength, detector.stride) for pair in zip(good, found, strict=True)]
            images = [torch.stack(maps) for maps in zip(*scaled, strict=True)]
            each = ", ".join(f"p = {p}: {figures(maps)}" for p, maps in zip(scales, scaled, strict=True))
            cells = figures([m.mean(0) for m in images]), figures([m.amax(0) for m in images])
            print(
                f"| {strength:g} | {name} | {cells[0]} | {cells[1]} | {each if way is WAYS[next(iter(WAYS))] else ''} |"
            )


def _told(progress: Progress, stage: str, done: int, total: int) -> None:
    progress(stage, done, total, {})


def errors(detector: stadx.Detector, paths: Sequence[Path], told: Callable[[int, int], None]) -> list[Maps]:
    """e of all images, scale by scale."""
    source = ImageSource(paths, detector.working_size, value_range=detector.settings["value_range"])
    every: list[Maps] = []
    for number, ensemble in enumerate(detector.ensembles_):
        scorer, maps = CpuScorer([ensemble]), []
        for index in range(len(source)):
            ((e, _),) = scorer.errors(source[index][None], detector.stride)
            maps.append((e[0].clone(), ensemble.computed(TensorRows(source[index]), detector.stride)))
            told(number * len(source) + index + 1, len(source) * len(detector.ensembles_))
        every.append(maps)
    return every


def _scaled(good: Maps, found: Maps, way: Parts, strength: float, stride: int) -> list[Tensor]:
    """Maps of one scale, with a part of each image's level taken out."""
    usual = Normalization.of([(e, torch.zeros_like(e)) for e, _ in good], strength, stride)
    levelled = torch.cat([(e * usual.factor(e, stride)).flatten() for e, _ in good])
    shift, scale = way(levelled)
    return [place.continued((e * usual.factor(e, stride) - shift) / scale) for e, place in found]


def _between(e: Tensor, low: float, high: float) -> tuple[float, float]:
    first, last = np.quantile(e.numpy(), (low, high))
    return float(first), float(last - first)


if __name__ == "__main__":
    main()
