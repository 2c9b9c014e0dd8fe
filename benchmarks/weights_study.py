"""What weights of channels and of scales, and the level taken out, do to accuracy: a row of a table for each choice.

    python benchmarks/weights_study.py screw3.safetensors DATA/screw --scales 33,65

Image AUROC / AU-PRO / share of the defects found where 5 % of the good test images are flagged. What students say is
computed once. Means, deviations and channels' errors come from up to 60 training images, which two students in three
have seen; a model's own come from the one that has not. The error alone, nothing smoothed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import stadx
from fusion import MOST_TRAINED
from stadx import dense_features, normalize_images
from stadx.cli.console import ShownProgress
from stadx.core.progress import Progress
from stadx.data.layouts import open_category
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.channel_weights import channel_weights, scale_weights, weighted
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.normalization import Normalization
from stadx.metrics import au_pro, auroc
from stadx.metrics.image_score import image_scores
from stadx.networks.border import Computed
from stadx.networks.upsampling import upsample
from stadx.networks.windows import TensorRows
from truth import masks_of

POWERS, LEVELS, OF_SCALES = (0.0, 1.0, 1.5, 2.0), (0.0, 0.5, 1.0), (0.0, 0.5, 1.0)
Said = list[tuple[Tensor, Computed]]  # mean of the students less what they are to say, float16 [d, h, w], and where


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("category", type=Path)
    parser.add_argument("--scales", help="some of the model's, after commas")
    given = parser.parse_args()
    detector, category = stadx.Detector.load(given.model), open_category(given.category)
    chosen = detector.scales if given.scales is None else [int(p) for p in given.scales.split(",")]
    ensembles = [weighted(e, 0.0) for p, e in zip(detector.scales, detector.ensembles_, strict=True) if p in chosen]
    labels = np.array([not item.is_good for item in category.test])
    test = [item.path for item in category.test]
    train = category.train[:: max(1, len(category.train) // MOST_TRAINED)][:MOST_TRAINED]
    with ShownProgress() as progress:
        good = [said(e, detector, train, f"Training images, p = {e.teacher.patch_size}", progress) for e in ensembles]
        found = [said(e, detector, test, f"Test images, p = {e.teacher.patch_size}", progress) for e in ensembles]
    height, width = ImageSource(test, detector.working_size)[0].shape[1:]
    masks = masks_of(category.test, height, width)
    for ensemble, images in zip(ensembles, good, strict=True):
        ensemble.channel_errors = torch.stack([d.float().square().mean((1, 2)) for d, _ in images]).mean(0)

    def figures(maps: Tensor) -> str:
        whole = torch.stack([upsample(m[None], height, width, detector.stride)[0] for m in maps])
        scores = image_scores(whole, detector.top_share).numpy()
        share = np.mean(scores[labels] > np.quantile(scores[~labels], 0.95))
        return f"{auroc(scores, labels):.3f} / {au_pro(whole, masks):.4f} / {share:.2f}"

    names = [f"p = {p}" for p in chosen]
    means = [f"mean, scale weight {power:g}" for power in OF_SCALES] if len(chosen) > 1 else []
    print(f"| channel weight | level | {' | '.join([*names, *means])} |\n|{'---|' * (2 + len(names + means))}")
    for power in POWERS:
        errors = [[squares(part, e, power) for part in (a, b)] for e, a, b in zip(ensembles, good, found, strict=True)]
        for level in LEVELS:
            maps = [scores_of(*pair, level, detector.stride) for pair in errors]
            cells = [figures(m) for m in maps]
            for of_scales in OF_SCALES if means else ():
                weights = scale_weights(ensembles, power, of_scales)
                cells.append(figures(torch.stack([w * m for w, m in zip(weights, maps, strict=True)]).mean(0)))
            print(f"| {power:g} | {level:g} | {' | '.join(cells)} |", flush=True)


def said(ensemble: Ensemble, detector: stadx.Detector, paths: Sequence[Path], stage: str, progress: Progress) -> Said:
    """Of every image."""
    source = ImageSource(paths, detector.working_size, value_range=detector.settings["value_range"])
    found: Said = []
    for index in range(len(source)):
        images = normalize_images(source[index][None])
        networks = ensemble.teacher, *ensemble.students
        maps = [dense_features(n, images, stride=detector.stride, inside=ensemble.inside)[0] for n in networks]
        target = (maps[0] - ensemble.mean[:, None, None]) / ensemble.std[:, None, None]
        place = ensemble.computed(TensorRows(source[index]), detector.stride)
        found.append(((torch.stack(maps[1:]).mean(0) - target).half(), place))
        progress(stage, index + 1, len(source), {})
    return found


def squares(images: Said, ensemble: Ensemble, power: float) -> list[tuple[Tensor, Computed]]:
    """The weighted error of each image."""
    assert ensemble.channel_errors is not None
    weights = channel_weights(ensemble.channel_errors, power)[:, None, None]
    return [((weights * d.float().square()).sum(0), place) for d, place in images]


def scores_of(
    good: Sequence[tuple[Tensor, Computed]], found: Sequence[tuple[Tensor, Computed]], level: float, stride: int
) -> Tensor:
    """Maps of one scale at every stride-th pixel, continued to the border, the images' level taken out."""
    usual = Normalization.of([(e, torch.zeros_like(e)) for e, _ in good], level, stride)
    maps = [place.continued((e * usual.factor(e, stride) - usual.e_mean) / usual.e_std) for e, place in found]
    return torch.stack(maps)


if __name__ == "__main__":
    main()
