"""What one number says best of a map whether its image has a defect: a row of a table for each way.

python benchmarks/image_scores.py bottle.safetensors DATA/bottle screw.safetensors DATA/screw

Of each model and its category: image AUROC / share of the defects found where 5 % of the good test images are flagged.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from stadx.cli.console import ShownProgress
from stadx.data.images import read_image
from stadx.data.layouts import open_category
from stadx.data.tensors import resize
from stadx.detectors.registry import load_model
from stadx.detectors.student_teacher.smoothing import smooth
from stadx.evaluation.regions import find_regions
from stadx.metrics import auroc
from stadx.metrics.image_score import image_scores

Way = Callable[[torch.Tensor, float], float]


def mass(scores: torch.Tensor, threshold: float) -> float:
    """The greatest sum, of a region, of what exceeds the pixel threshold; where nothing does, the highest score."""
    mask = (scores > threshold).numpy()
    if not mask.any():
        return float(scores.max()) - threshold
    regions, _ = find_regions(mask, (scores - threshold).numpy())
    return max(region.area * region.mean for region in regions)


WAYS: dict[str, Way] = {
    "highest": lambda scores, _: float(scores.max()),
    **{
        f"mean of the highest {100 * share:g} %": lambda scores, _, share=share: float(
            image_scores(scores[None], share)
        )
        for share in (0.0005, 0.001, 0.003, 0.01, 0.03)
    },
    **{
        f"highest, smoothed by σ = {sigma}": lambda scores, _, sigma=sigma: float(smooth(scores[None], sigma).max())
        for sigma in (1, 2, 4)
    },
    "region of the greatest mass": mass,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="MODEL CATEGORY, in turns")
    given = parser.parse_args().models
    columns = {}
    with ShownProgress() as progress:
        for model, folder in zip(given[::2], given[1::2], strict=True):
            detector, category = load_model(model), open_category(folder)
            found: dict[str, list[float]] = {name: [] for name in WAYS}
            for done, item in enumerate(category.test, 1):
                image = torch.from_numpy(read_image(item.path)).permute(2, 0, 1)[None]
                (scores,) = detector.score(resize(image, detector.image_size), stride=detector.stride)
                for name, way in WAYS.items():
                    found[name].append(way(scores, detector.threshold_))
                progress(folder.name, done, len(category.test), {})
            labels = np.array([not item.is_good for item in category.test])
            columns[folder.name] = {name: figures(np.array(values), labels) for name, values in found.items()}
    print(f"| image score | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in WAYS:
        print(f"| {name} | {' | '.join(column[name] for column in columns.values())} |")


def figures(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> str:
    """Image AUROC / share of the defects above the score that 5 % of the good images exceed."""
    threshold = np.quantile(scores[~labels], 0.95)
    return f"{auroc(scores, labels):.3f} / {np.mean(scores[labels] > threshold):.2f}"


if __name__ == "__main__":
    main()
