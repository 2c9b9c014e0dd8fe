"""From held-out good images to the scores' normalisation and a threshold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress
from stadx.data.source import ImageSource

from ..thresholds import HeldOutScores
from .cpu_scorer import CpuScorer
from .ensemble import Ensemble
from .gpu_scorer import GpuPrecision, GpuScorer
from .normalization import Normalization
from .scoring import Scorer
from .settings import Terms
from .smoothing import smooth

_CPU = torch.device("cpu")

Errors = list[tuple[Tensor, Tensor]]  # e and v [H, W] of images, of one scale


def held_out_errors(
    ensembles: Sequence[Ensemble],
    source: ImageSource,
    indices: Sequence[int],
    progress: Progress,
    device: torch.device = _CPU,
    precision: GpuPrecision = "tf32",
) -> Iterator[Errors]:
    """e and v of the images `indices`, on the CPU, scale by scale; a GPU has the `precision` that it scores with."""
    for number, ensemble in enumerate(ensembles):  # each scorer has weights and memory of its own on a card
        on_gpu = device.type == "cuda"
        scorer: Scorer = GpuScorer([ensemble], [], device, precision) if on_gpu else CpuScorer([ensemble])
        errors: Errors = []
        with keep_freed_memory():
            for index in indices:
                ((e, v),) = scorer.errors(source[index][None].to(device), 1)
                errors.append((e[0].cpu(), v[0].cpu()))
                progress("Held-out images", number * len(indices) + len(errors), len(ensembles) * len(indices), {})
        yield errors


def normalization_of(errors: Errors, terms: Terms = "both", level: float = 0.0) -> Normalization:
    """Score statistics (Eq. 11) of a scale; for a single term the other's deviation is infinite: it is left out.

    Args:
        level: how much of the images' levels is taken out.
    """
    unused = {"both": {}, "e": {"v_std": math.inf}, "v": {"e_std": math.inf}}[terms]
    return replace(Normalization.of(errors, level), **unused)


def calibrate(
    errors: Iterable[Errors], terms: Terms = "both", level: float = 0.0, smoothing: float = 0.0
) -> tuple[list[Normalization], HeldOutScores]:
    """Score statistics of every scale, and the held-out images' scores (Eqs. 11 and 12), smoothed as a detector's.

    Args:
        errors: of every scale, of the same images; the lists are emptied: together they may be gigabytes.
    """
    normalizations: list[Normalization] = []
    sums: list[Tensor] = []
    for pairs in errors:
        normalizations.append(normalization_of(pairs, terms, level))
        for image in range(len(pairs)):
            scores = normalizations[-1].score(*pairs.pop(0))
            if len(normalizations) == 1:
                sums.append(scores)
            else:
                sums[image] += scores
    maps = [smooth(total.div_(len(normalizations))[None], smoothing)[0] for total in sums]
    return normalizations, HeldOutScores.of(maps)
