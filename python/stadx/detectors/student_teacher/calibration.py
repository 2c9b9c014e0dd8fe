"""From held-out good images to the scores' normalisation and a threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress
from stadx.data.source import ImageSource

from .ensemble import Ensemble
from .gpu import GpuPrecision, GpuScorer
from .normalization import Normalization, fuse
from .settings import Terms
from .smoothing import smooth

_CPU = torch.device("cpu")
_LEVELS = 4096  # false-positive rates at which the held-out scores are kept

Maps = list[list[tuple[Tensor, Tensor]]]  # per image, per scale: e and v [H, W]


@keep_freed_memory()
def held_out_maps(
    ensembles: Sequence[Ensemble],
    source: ImageSource,
    indices: Sequence[int],
    progress: Progress,
    device: torch.device = _CPU,
    precision: GpuPrecision = "tf32",
) -> Maps:
    """e and v of the images `indices`, on the CPU; a GPU that computes them has the `precision` that it scores with."""
    if device.type == "cuda":
        return _maps_of_gpu(ensembles, source, indices, progress, device, precision)
    maps: Maps = []
    for done, index in enumerate(indices, 1):
        maps.append([ensemble.error_and_variance(source[index][None]) for ensemble in ensembles])
        progress("Held-out images", done, len(indices), {})
    return maps


def _maps_of_gpu(
    ensembles: Sequence[Ensemble],
    source: ImageSource,
    indices: Sequence[int],
    progress: Progress,
    device: torch.device,
    precision: GpuPrecision,
) -> Maps:
    """One scorer at a time: each has weights and memory of its own on the card."""
    # what a scorer adds up is e / e's deviation + v / v's deviation
    alone = Normalization(0, 1, 0, math.inf), Normalization(0, math.inf, 0, 1)
    parts: list[list[Tensor]] = []
    for ensemble in ensembles:
        for weights in alone:
            scorer = GpuScorer([ensemble], [weights], device, precision)
            parts.append([])
            for index in indices:
                parts[-1].append(scorer.score_images(source[index][None], None, 1)[0])
                done = (len(parts) - 1) * len(indices) + len(parts[-1])
                progress("Held-out images", done, 2 * len(ensembles) * len(indices), {})
    pairs = [list(zip(e, v, strict=True)) for e, v in zip(parts[::2], parts[1::2], strict=True)]
    return [list(scales) for scales in zip(*pairs, strict=True)]


def normalizations_of(maps: Maps, terms: Terms = "both", level: float = 0.0) -> list[Normalization]:
    """Score statistics (Eq. 11) per scale; for a single term the other's deviation is infinite: it adds nothing.

    Args:
        level: how much of the images' levels is taken out.
    """
    unused = {"both": {}, "e": {"v_std": math.inf}, "v": {"e_std": math.inf}}[terms]
    return [replace(Normalization.of(scale, level), **unused) for scale in zip(*maps, strict=True)]


def fused_scores(maps: Maps, normalizations: Sequence[Normalization], smoothing: float) -> list[Tensor]:
    """Anomaly maps [H, W] (Eqs. 11 and 12), smoothed as the detector does it."""
    fused = [fuse([n.score(*pair) for n, pair in zip(normalizations, scales, strict=True)]) for scales in maps]
    return [smooth(scores[None], smoothing)[0] for scores in fused]


def calibrate(
    ensembles: Sequence[Ensemble],
    source: ImageSource,
    indices: Sequence[int],
    progress: Progress,
    terms: Terms = "both",
    level: float = 0.0,
    smoothing: float = 0.0,
    device: torch.device = _CPU,
    precision: GpuPrecision = "tf32",
) -> tuple[list[Normalization], list[Tensor]]:
    """`normalizations_of` and `fused_scores` of the images `indices`; e and v of one scale at a time are in memory."""
    normalizations: list[Normalization] = []
    sums: list[Tensor] = []
    for number, ensemble in enumerate(ensembles):

        def told(stage: str, done: int, total: int, figures: Mapping[str, float], before: int = number) -> None:
            progress(stage, before * total + done, len(ensembles) * total, figures)

        maps = held_out_maps([ensemble], source, indices, told, device, precision)
        normalizations += normalizations_of(maps, terms, level)
        for image in range(len(indices)):
            ((e, v),) = maps.pop(0)
            scores = normalizations[-1].score(e, v)
            if number == 0:
                sums.append(scores)
            else:
                sums[image] += scores
    return normalizations, [smooth(total.div_(len(ensembles))[None], smoothing)[0] for total in sums]
