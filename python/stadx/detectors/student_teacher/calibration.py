"""From the good images that judge to the scores' normalisation and thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stadx.core.errors import DataError
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress
from stadx.data.source import ImageSource
from stadx.data.tensors import resized
from stadx.networks.border import Computed, computed_pixels
from stadx.networks.upsampling import upsample
from stadx.networks.windows import TensorRows
from stadx.teachers.distributed import world_size

from ..thresholds import HeldOutScores
from .channel_weights import scale_weights
from .division import Division
from .ensemble import Ensemble
from .gpu_scorer import GpuPrecision, GpuScorer
from .mean_map import MeanMap, take_mean_off
from .normalization import LEVEL_LIMIT, Normalization
from .settings import DetectorSettings, Terms
from .sharing import joined, own_places
from .smoothing import smooth

_CPU = torch.device("cpu")
_BLOCK = 1 << 21  # numbers
_MOST_PIXELS = 1 << 27  # scored in all, of a scale; each costs some 20 bytes


class ErrorMaps(NamedTuple):
    """e and v of an image, of one scale, float32 [h, w] at the computed pixels; and which these are.

    `inside` is which pixels of the image are looked at, bool [H, W]; None: all.
    """

    e: Tensor
    v: Tensor
    computed: Computed
    inside: Tensor | None = None


def check_region(source: ImageSource, settings: DetectorSettings) -> None:
    """Raise `DataError` unless something is learned, and judged, of the region of interest of every image."""
    for index in range(len(source)):
        if (inside := source.inside(index)) is None:
            continue
        stride = settings.stride
        for p in settings.scales:
            computed = computed_pixels(inside.shape[0], inside.shape[1], p, settings.is_inside(p), stride)
            if not computed.of(inside).any():
                raise DataError(
                    f"{source.name_of(index)}: no pixel of its region of interest is learned from, with p = {p} and "
                    f"stride {stride}: those within {p // 2} pixels of the image's border are not; make the region "
                    "larger, or give another border, such as reflect"
                )


def unseen_errors(
    ensembles: Sequence[Ensemble],
    source: ImageSource,
    division: Division,
    stride: int,
    progress: Progress,
    device: torch.device = _CPU,
    precision: GpuPrecision = "tf32",
) -> Iterator[list[ErrorMaps]]:
    """e and v of the images that judge, on the CPU, scale by scale; a GPU has the `precision` that it scores with.

    With `folds` one of the M students has not seen an image, the others have, which makes e too small, and most where
    an image is unusual: the fewer images there are, the better students know each. ‖S − ŷ‖² of the unseen student
    alone, e₁, is in expectation larger than e would be if none had seen it, by as much as v is. So over all images
    g = Σ (e₁ − v) / Σ e is how much larger e is of images that none has seen, at least 1. It multiplies v, and e is
    (1 − w) g e + w max(e₁ − v, e₁ / 10), w = min(1, g − 1), with the v that was measured, which sums up to g Σ e or a
    little more: of many images, where students have learned none by heart, w is nearly 0, and e is that of all
    students, which has less of chance.
    """
    judged = judges(source, division, stride)

    for number, ensemble in enumerate(ensembles):  # each has weights and memory of its own on a card
        errors = _errors_on(device, ensemble, stride, precision)
        own: dict[int, ErrorMaps] = {}
        unseen: dict[int, Tensor] = {}  # e of the student that has not seen the image
        totals: dict[int, tuple[float, float]] = {}  # of that less v, and of e
        room, aside = _Room(), _Room()
        with keep_freed_memory():
            for place in own_places(len(judged)):
                student, index = judged[place]
                image, inside = source[index], source.inside(index)
                e, v, *alone = errors(image, student if division.folds else None)
                computed = ensemble.computed(TensorRows(image), stride)
                own[place] = maps = ErrorMaps(room.of(e), room.of(v), computed, inside)
                if alone:
                    unseen[place] = aside.of(alone[0])
                    totals[place] = _total(alone[0] - v, maps), _total(e, maps)
                progress("Scores of good images", number * len(judged) + place + 1, len(ensembles) * len(judged), {})
        if division.folds:
            own = _as_unseen(own, unseen, joined(totals))
        if world_size() > 1:  # a view is sent with all of its block
            own = {place: maps._replace(e=maps.e.clone(), v=maps.v.clone()) for place, maps in own.items()}
        own = joined(own)
        yield [own.pop(place) for place in range(len(judged))]


def _as_unseen(
    own: dict[int, ErrorMaps], unseen: dict[int, Tensor], totals: dict[int, tuple[float, float]]
) -> dict[int, ErrorMaps]:
    """This process's maps, changed in place as `unseen_errors` says; totals are those of all processes."""
    without_v, seen = (sum(totals[place][part] for place in sorted(totals)) for part in range(2))
    gap = max(1.0, without_v / max(seen, 1e-30))
    weight = min(1.0, gap - 1)
    for place, maps in own.items():
        alone = unseen.pop(place)
        alone = torch.maximum(alone - maps.v, alone / 10)  # no lower, as v is measured on so few students
        maps.e.mul_((1 - weight) * gap).add_(alone, alpha=weight)
        maps.v.mul_(gap)
    return own


def _errors_on(
    device: torch.device, ensemble: Ensemble, stride: int, precision: GpuPrecision
) -> Callable[[Tensor, int | None], tuple[Tensor, ...]]:
    """What tells e and v of an image, and a student's own error, as `Ensemble.error_and_variance` does, on the CPU."""
    if device.type != "cuda":
        return lambda image, alone: ensemble.error_and_variance(image[None], stride=stride, alone=alone)

    @cache
    def scorer(alone: int | None) -> GpuScorer:
        one = ensemble if alone is None else replace(ensemble, students=[ensemble.students[alone]])
        return GpuScorer([one], [], device, precision)

    def errors(image: Tensor, alone: int | None) -> tuple[Tensor, ...]:
        images = image[None].to(device)
        ((e, v),) = scorer(None).errors(images, stride)
        own = [] if alone is None else [scorer(alone).errors(images, stride)[0][0]]
        return tuple(values[0].cpu() for values in (e, v, *own))

    return errors


class _Room:
    """Memory for maps in blocks: small ones of their own, between all that comes and goes, would leave holes."""

    def __init__(self) -> None:
        self._free = torch.empty(0)

    def of(self, values: Tensor) -> Tensor:
        """A copy there; a block is given back with the last of its maps."""
        count = values.numel()
        if count > len(self._free):
            self._free = torch.empty(max(count, _BLOCK))
        copy, self._free = self._free[:count].view(values.shape).copy_(values), self._free[count:]
        return copy


def judges(source: ImageSource, division: Division, stride: int) -> list[tuple[int, int]]:
    """The images that judge, in their order, each with the student that left it out.

    As many as are asked for and memory has room for, spread evenly over all that could.
    """
    turns = zip_longest(*division.folds) if division.folds else ((index,) for index in division.held_out)
    able = [(student, index) for turn in turns for student, index in enumerate(turn) if index is not None]
    count = min(len(able), division.judges or len(able))
    pixels = sum(source[index][0].numel() // stride**2 for _, index in _spread(able, count))
    if pixels > _MOST_PIXELS:
        count = max(1, count * _MOST_PIXELS // pixels)
    return sorted(_spread(able, count), key=lambda pair: pair[1])


def _spread(able: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    return [able[i * len(able) // count] for i in range(count)]


def normalization_of(
    errors: Sequence[ErrorMaps],
    terms: Terms = "both",
    level: float = 0.0,
    limit: float = LEVEL_LIMIT,
    weight: float = 1.0,
) -> Normalization:
    """Score statistics (Eq. 11) of a scale; for a single term the other's deviation is infinite: it is left out.

    Args:
        level, limit: how much of the images' levels is taken out, and within what, see `Normalization`.
        weight: of the scale among others, by which the deviations are divided.
    """
    unused = {"both": {}, "e": {"v_std": math.inf}, "v": {"e_std": math.inf}}[terms]
    stride = errors[0].computed.rows.stride
    insides = [_computed_inside(maps) for maps in errors]
    found = Normalization.of([(maps.e, maps.v) for maps in errors], level, stride, insides, limit)
    found = replace(found, e_std=found.e_std / weight, v_std=found.v_std / weight)
    return replace(found, **unused)


def _total(values: Tensor, maps: ErrorMaps) -> float:
    """The sum of values [h, w] of an image's computed pixels, of those that are looked at."""
    inside = _computed_inside(maps)
    return float((values if inside is None else values[inside]).sum(dtype=torch.float64))


def _computed_inside(maps: ErrorMaps) -> Tensor | None:
    return None if maps.inside is None else maps.computed.of(maps.inside)


def calibrate(
    errors: Iterable[list[ErrorMaps]],
    settings: DetectorSettings,
    ensembles: Sequence[Ensemble] = (),
    known: Sequence[Normalization] = (),
    mean_map: MeanMap | Literal["anew"] | None = "anew",
) -> tuple[list[Normalization], HeldOutScores, MeanMap | None]:
    """Score statistics of every scale, scores (Eqs. 11 and 12) of the images that judge, and their mean map.

    The scores are those of a detector with these statistics, smoothed as it smooths. From each image's map the mean map
    of the others is taken.

    Args:
        errors: of every scale, of the same images; the lists are emptied: together they may be gigabytes.
        settings: how errors become scores.
        ensembles: whose errors these are, for the `scale_weights`; none: all scales count alike.
        known: score statistics of every scale that are kept as they are; none: those of these images.
        mean_map: one that is kept, and taken off all alike; "anew": that of these images, as far as `settings` asks
            for it; None: nothing is taken off.
    """
    weights = scale_weights(ensembles, settings.channel_weight, settings.scale_weight)
    how = settings.terms, settings.level, settings.level_limit
    normalizations: list[Normalization] = []
    sums: list[Tensor] = []
    insides: list[Tensor | None] = []
    stride = 1
    for scale in errors:
        stride = scale[0].computed.rows.stride
        insides = [maps.inside for maps in scale]
        number = len(normalizations)
        weight = weights[number] if weights else 1.0
        normalizations.append(known[number] if known else normalization_of(scale, *how, weight))
        for image in range(len(scale)):
            maps = scale.pop(0)
            n = normalizations[-1]
            factor = n.factor(maps.e, stride, _computed_inside(maps))
            scores = maps.computed.continued(n.score(maps.e, maps.v, factor))
            if len(normalizations) == 1:
                sums.append(scores)
            else:
                sums[image] += scores
    fused = [total.div_(len(normalizations)) for total in sums]
    size = resized(0, 0, settings.image_size)  # that every image is brought to, if to one
    if mean_map == "anew":
        one_size = settings.image_size is not None and not settings.keep_aspect
        mean_map = take_mean_off(fused, size, stride, settings.mean_map, insides) if one_size else None
    elif mean_map is not None:
        fused = [next(mean_map.taken_off([scores], *size, stride)) for scores in fused]
    smoothed = [_smoothed(scores, stride, settings.smoothing) for scores in fused]
    return normalizations, HeldOutScores.of(smoothed, stride, settings.top_share, insides), mean_map


def _smoothed(scores: Tensor, stride: int, sigma: float) -> Tensor:
    """A map [h, w] known at every stride-th pixel, smoothed at every pixel; at the stride-th."""
    if sigma == 0:
        return scores
    height, width = (stride * n for n in scores.shape)
    return smooth(upsample(scores[None], height, width, stride), sigma)[0, ::stride, ::stride]
