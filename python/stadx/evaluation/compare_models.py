"""Two models on the same test images: how sure their difference is, and which images' verdict changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.core.version import versions
from stadx.data.pages import entry_of

from .compare_maps import CONFIDENCE, Difference
from .of_detector import Evaluation
from .scored_images import TestScore, pixel_metrics


@dataclass(frozen=True)
class Change:
    """An image that one model flags and the other does not, as each sees it."""

    a: TestScore
    b: TestScore
    flagged_by_b: bool

    @property
    def path(self) -> Path:
        return self.a.path

    @property
    def b_is_right(self) -> bool:
        """Whether B's verdict is the true one."""
        return self.flagged_by_b != self.a.is_good

    def what(self) -> str:
        """In words."""
        if self.a.is_good:
            return "new false alarm" if self.flagged_by_b else "false alarm gone"
        return "defect found now" if self.flagged_by_b else "defect missed now"


@dataclass(frozen=True)
class ModelComparison:
    """What two models make of the same images.

    Attributes:
        a, b: what was measured of each.
        differences: by metric; None where a metric is undefined, or one class alone.
        changes: images whose verdict differs, those that B has wrong first.
    """

    a: Evaluation
    b: Evaluation
    differences: dict[str, Difference | None]
    changes: list[Change]

    def counts(self) -> dict[str, int]:
        """How many images changed in which way."""
        names = [change.what() for change in self.changes]
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def to_json(self) -> dict[str, Any]:
        """All but the maps, as values that `json.dumps` takes."""
        return {
            "category": self.a.name,
            "differences": {
                name: None if found is None else found._asdict() for name, found in self.differences.items()
            },
            "fpr_limit": self.a.fpr_limit,
            "models": [{key: v for key, v in e.to_json().items() if key != "versions"} for e in (self.a, self.b)],
            "changes": [
                {
                    **entry_of(change.path),
                    "defect": change.a.defect,
                    "scores": [change.a.score, change.b.score],
                    "flagged": [not change.flagged_by_b, change.flagged_by_b],
                    "what": change.what(),
                }
                for change in self.changes
            ],
            "versions": versions(),
        }


def compare_models(a: Evaluation, b: Evaluation, *, replicates: int = 1000, seed: int = 0) -> ModelComparison:
    """Compare two evaluations by a paired bootstrap: both are measured on the same drawn images.

    Args:
        a, b: of two models on the same category, at the images' own size.
        replicates: of the bootstrap.
        seed: of its draws.

    Raises:
        DataError: if they are not of the same images and pixels, or for fewer than 2 replicates.
    """
    if [image.path for image in a.images] != [image.path for image in b.images]:
        raise DataError(f"{a.name}: the models were not measured on the same images; give both the same --roi")
    if replicates < 2:
        raise DataError(f"replicates is {replicates}; give at least 2")
    for first, second in zip(a.images, b.images, strict=True):
        if not np.array_equal(first.truth, second.truth):
            raise DataError(f"{first.path}: the models look at different pixels of it; give both the same --roi")
    changes = [
        Change(first, second, bool(second.score > b.image_threshold))
        for first, second in zip(a.images, b.images, strict=True)
        if (first.score > a.image_threshold) != (second.score > b.image_threshold)
    ]
    changes.sort(key=lambda change: (change.b_is_right, change.a.is_good))
    return ModelComparison(
        a, b, {"image AUROC": _of_images(a, b, replicates, seed), "AU-PRO": _au_pro(a, b, replicates, seed)}, changes
    )


def _of_images(a: Evaluation, b: Evaluation, replicates: int, seed: int) -> Difference | None:
    labels = a.labels
    if a.image_auroc is None or b.image_auroc is None:
        return None
    rng, count = np.random.default_rng(seed), len(labels)
    drawn = rng.multinomial(count, np.full(count, 1 / count), replicates).astype(np.float64)
    drawn = drawn[(drawn[:, labels].sum(1) > 0) & (drawn[:, ~labels].sum(1) > 0)]
    found = [_auroc_of_draws(scores, labels, drawn) for scores in (a.image_scores, b.image_scores)]
    return _difference(a.image_auroc, b.image_auroc, *found)


def _auroc_of_draws(
    scores: NDArray[np.float64], labels: NDArray[np.bool_], drawn: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Image AUROC where image i counts `drawn`[k, i] times: float64 [k]."""
    defect, good = scores[labels], scores[~labels]
    higher = (defect[:, None] > good) + (defect[:, None] == good) / 2
    of_defect, of_good = drawn[:, labels], drawn[:, ~labels]
    pairs: NDArray[np.float64] = ((of_defect @ higher) * of_good).sum(1)
    found: NDArray[np.float64] = pairs / (of_defect.sum(1) * of_good.sum(1))
    return found


def _au_pro(a: Evaluation, b: Evaluation, replicates: int, seed: int) -> Difference | None:
    if a.au_pro is None or b.au_pro is None:
        return None
    metrics = [pixel_metrics(evaluation.images) for evaluation in (a, b)]
    found = [m.au_pro_replicates(a.fpr_limit, replicates=replicates, seed=seed)[0] for m in metrics]
    return _difference(a.au_pro, b.au_pro, *found)


def _difference(a: float, b: float, of_a: NDArray[np.float64], of_b: NDArray[np.float64]) -> Difference:
    difference = of_a - of_b
    low, high = np.quantile(difference, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    better = float(np.mean((difference > 0) + (difference == 0) / 2))
    return Difference(a, b, a - b, float(low), float(high), better)
