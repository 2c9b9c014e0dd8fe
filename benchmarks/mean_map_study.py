"""What the good images' mean map, taken off others, does to accuracy and alarms, also when the camera has moved since.

    python benchmarks/mean_map_study.py bottle.safetensors DATA/bottle --scales 33

A row for each `mean_map` of 0, 0.5 and 1: the share of the variance of good images' scores that the place predicts,
image AUROC / AU-PRO, defects and good test images that the model's own image threshold flags, defects found where 5 %
of the good test images are flagged, and how many good test images it flags when all that they show has moved down and
to the right, reflected at the border. The training images judge anew, as for a model of these scales.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import stadx
from stadx.cli.console import ShownProgress
from stadx.data.layouts import open_category
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.detector import Detector
from stadx.experiments.ablations.variants import HeldOut
from stadx.metrics import au_pro, auroc
from stadx.metrics.image_score import image_scores
from stadx.networks.upsampling import upsample
from truth import masks_of

STRENGTHS, MOVED = (0.0, 0.5, 1.0), (0, 2, 4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("category", type=Path)
    parser.add_argument("--scales", help="some of the model's, after commas")
    given = parser.parse_args()
    detector, category = stadx.Detector.load(given.model), open_category(given.category)
    scales = detector.scales if given.scales is None else [int(p) for p in given.scales.split(",")]
    parts = zip(detector.scales, detector.ensembles_, detector.normalizations_, strict=True)
    _, ensembles, normalizations = zip(*(part for part in parts if part[0] in scales), strict=True)
    settings = {**detector.settings, "scales": scales, "teachers": ()}
    plain = Detector.from_parts(settings, ensembles, normalizations, detector._held_out_scores())
    plain.value_range_ = detector.value_range_
    labels = np.array([not item.is_good for item in category.test])
    with ShownProgress() as progress:
        train = ImageSource(category.train, plain.working_size, value_range=plain.value_range_)
        held_out = HeldOut(plain, train, progress)
        judged = [held_out.variant(mean_map=strength) for strength in STRENGTHS]
        source = ImageSource([item.path for item in category.test], plain.working_size, value_range=plain.value_range_)
        maps: dict[int, list[Tensor]] = {moved: [] for moved in MOVED}
        for number, is_defect in enumerate(labels):
            for moved in MOVED[:1] if is_defect else MOVED:
                maps[moved].append(judged[0].score(moved_by(source[number], moved)[None])[0])
            progress("Test images", number + 1, len(labels), {})
    height, width = maps[0][0].shape
    masks = masks_of(category.test, height, width)
    heads = ["mean map", "share", "image AUROC / AU-PRO", "defects", "at 5 %", *(f"good, moved {n}" for n in MOVED)]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for strength, one in zip(STRENGTHS, judged, strict=True):
        mean = torch.zeros(height, width)
        if one.mean_map_ is not None:
            mean = upsample(one.mean_map_.scores, height, width, one.stride)
        scores = {n: image_scores(torch.stack(of) - mean, one.top_share).numpy() for n, of in maps.items()}
        found, threshold = scores[0], one.image_threshold()
        of_good = {**scores, 0: found[~labels]}
        flagged = [f"{int((x > threshold).sum())} of {len(x)}" for x in of_good.values()]
        at_five = np.mean(found[labels] > np.quantile(found[~labels], 0.95))
        cells = [f"{strength:g}", f"{one.mean_map_.share:.2f}" if one.mean_map_ is not None else "–"]
        cells.append(f"{auroc(found, labels):.3f} / {au_pro(torch.stack(maps[0]) - mean, masks):.4f}")
        cells += [f"{int((found[labels] > threshold).sum())} of {labels.sum()}", f"{at_five:.2f}", *flagged]
        print(f"| {' | '.join(cells)} |", flush=True)


def moved_by(image: Tensor, pixels: int) -> Tensor:
    """An image [3, H, W] of which all lies so far down and to the right, reflected at the border."""
    if not pixels:
        return image
    padded = torch.nn.functional.pad(image.float()[None], (pixels, 0, pixels, 0), "reflect")[0]
    return padded[:, : image.shape[1], : image.shape[2]].to(image.dtype)


if __name__ == "__main__":
    main()
