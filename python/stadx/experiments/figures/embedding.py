"""Figure 4: descriptors and predictions of a few images in the plane, and the scores of all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Circle
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from stadx.core.files import write_bytes
from stadx.core.progress import Progress
from stadx.data.labeled import LabeledSet
from stadx.detectors.baselines.shallow import sklearn
from stadx.evaluation.report.plots import DEFECT_COLOUR, GOOD_COLOUR, to_png
from stadx.metrics import auroc
from stadx.teachers.teacher_files import load_teacher, shipped_teacher

from ..one_class import OneClassEnsemble, zoomed
from ..request import Request
from ..settings import OneClassSettings
from ..tables.classes import PATCH_SIZE

TITLE = "Figure 4: embedding of descriptors and predictions"
CAPTION = (
    "Test images, the teacher's descriptors of them (squares) and the students' mean predictions (dots) in the plane "
    "by multidimensional scaling, which keeps their distances. A circle's radius is the root of the predictive "
    "variance v, in the same unit. The students know one class (green). Below, the scores ẽ + ṽ of all test images."
)
_EACH = 5  # images of the good class, and of the others
_BINS = 60
_TICKS = (-10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000, 10000)


def embed(request: Request, data: LabeledSet, normal: str, progress: Progress) -> dict[str, Any]:
    """Train on the class `normal`, place ten test images in the plane and count the scores of all.

    Returns:
        What `draw_embedding` draws, as values that JSON has.

    Raises:
        MissingExtraError: if scikit-learn is not installed.
    """
    scaling = sklearn("manifold").smacof  # found out before anything is trained
    label = data.classes.index(normal)
    settings = OneClassSettings(**request.budget.one_class)
    teacher = load_teacher(shipped_teacher(PATCH_SIZE))
    ensemble = OneClassEnsemble(teacher, settings, torch.device(request.device))
    ensemble.fit(zoomed(data.train.images[data.train.labels == label], PATCH_SIZE), progress, f"Class {normal}")
    test = zoomed(data.test.images, PATCH_SIZE)
    e, v = ensemble.error_and_variance(test, progress)
    scores, good = ensemble.normalization.score(e, v).numpy(), (data.test.labels == label).numpy()
    rng = np.random.default_rng(settings.seed)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(part))[:_EACH] for part in (good, ~good)])
    truths, predictions = ensemble.descriptors(test[torch.from_numpy(chosen)])
    points = torch.cat([truths, predictions.mean(0)]).double()
    distances = torch.cdist(points, points).numpy()
    options = {"n_components": 2, "n_init": 8, "eps": 1e-6, "random_state": settings.seed, "normalized_stress": False}
    placed, stress = scaling(distances, **options)
    samples = [
        {
            "test_image": int(index),
            "class": data.classes[int(data.test.labels[index])],
            "score": round(float(scores[index]), 4),
            "error": round(float(e[index]), 4),
            "variance": round(float(v[index]), 4),
            "descriptor": placed[i].round(4).tolist(),
            "prediction": placed[i + len(chosen)].round(4).tolist(),
        }
        for i, index in enumerate(chosen)
    ]
    edges = _edges(scores)
    return {
        "normal": normal,
        "auroc": round(auroc(scores, ~good), 6),
        "stress": round(float((2 * stress / np.square(distances).sum()) ** 0.5), 6),  # Kruskal's stress-1
        "samples": samples,
        "edges": edges.round(6).tolist(),
        "good": np.histogram(scores[good], edges)[0].tolist(),
        "others": np.histogram(scores[~good], edges)[0].tolist(),
    }


def _edges(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Bins that are even near 0 and grow beyond: the scores of other classes reach far."""
    low, high = np.arcsinh([scores.min(), scores.max()]).astype(np.float64)
    return np.asarray(np.sinh(np.linspace(low - 1e-3, high + 1e-3, _BINS + 1)))


def draw_embedding(path: Path, found: Mapping[str, Any], data: LabeledSet) -> None:
    """Write what `embed` found as PNG.

    Raises:
        OutputError: if it cannot be written.
    """
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7.5, 8.5), layout="constrained")
        above, below = figure.subplots(2, 1, height_ratios=(2.6, 1))
        for sample in found["samples"]:
            _draw_sample(above, sample, found["normal"], data)
        above.set_aspect("equal", adjustable="datalim")
        above.margins(0.12)
        above.autoscale_view()
        edges = np.array(found["edges"])
        for counts, colour, label in (
            (found["good"], GOOD_COLOUR, f"class {found['normal']}, the good one"),
            (found["others"], DEFECT_COLOUR, "other classes"),
        ):
            shares = np.array(counts) / max(1, sum(counts))
            below.stairs(shares, edges, color=colour, fill=True, alpha=0.6, label=f"{label} ({sum(counts)} images)")
        below.set_xscale("asinh")
        below.set_xticks([t for t in _TICKS if edges[0] <= t <= edges[-1]])
        below.xaxis.set_minor_locator(NullLocator())
        below.xaxis.set_major_formatter("{x:g}")
        below.set(xlabel="anomaly score ẽ + ṽ", ylabel="share of test images", title=f"AUROC {found['auroc']:.4f}")
        below.legend(frameon=False)
        write_bytes(path, to_png(figure))


def _draw_sample(axes: Axes, sample: Mapping[str, Any], normal: str, data: LabeledSet) -> None:
    colour = GOOD_COLOUR if sample["class"] == normal else DEFECT_COLOUR
    truth, predicted = sample["descriptor"], sample["prediction"]
    axes.plot(*zip(truth, predicted, strict=True), color=colour, linewidth=0.8, alpha=0.6)
    axes.plot(*truth, "s", color=colour, markersize=5)
    axes.plot(*predicted, "o", color=colour, markersize=4)
    axes.add_patch(Circle(predicted, sample["variance"] ** 0.5, color=colour, alpha=0.25, linewidth=0))
    pixels = data.test.images[sample["test_image"]].permute(1, 2, 0).numpy()
    box = OffsetImage(pixels, zoom=22 / pixels.shape[0])
    axes.add_artist(AnnotationBbox(box, truth, xybox=(0, 18), boxcoords="offset points", frameon=False))
