"""Which unlabelled images would teach a model most, once a person has said that they are good."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.data.roi import nearest
from stadx.data.tensors import ImageSize
from stadx.metrics.image_score import image_scores
from stadx.networks.dense import dense_features
from stadx.networks.patch_network import normalize_images
from stadx.networks.windows import TensorRows

from .ensemble import Ensemble
from .mean_map import MeanMap
from .normalization import Normalization, fuse
from .scoring import Scorer, score_images

_EVERYWHERE = 0.1  # v of this share of an image's pixels is lower: what is raised there is raised in all of the image
_MOST = 1 << 24  # values that torch.quantile takes
_COMPARED = 500  # images whose distances tell what is far


class Ranked(NamedTuple):
    """An image that was not learned from, and what speaks for looking at it.

    Attributes:
        number: in the data, from 0.
        name: of its file, or "image 3".
        image_score: as of `predict`.
        is_anomalous: whether that is above the image threshold.
        e, v: regression error and predictive uncertainty, each the mean over the image as a multiple of a good image's.
        everywhere: the same of v's lower decile: high if students disagree all over the image, as with another kind of
            image, rather than at a spot, as with a defect.
        novelty: distance of its mean descriptor from the training images', in their standard deviations.
        gain: what reviewing it is worth after all those before it, 0 if nothing.
    """

    number: int
    name: str
    image_score: float
    is_anomalous: bool
    e: float
    v: float
    everywhere: float
    novelty: float
    gain: float


class Ranking(NamedTuple):
    """Images in the order that they should be looked at.

    Attributes:
        images: the first is worth most.
        known: how many images were left out as the model has learned from them; None: it does not know which these are.
        failures: why an image could not be scored, by its number in the data.
    """

    images: list[Ranked]
    known: int | None
    failures: dict[int, str]


class Looks:
    """Scores images one by one for a ranking.

    Args:
        scorer: of their device.
        ensembles: of every scale, without weights of channels: their σ is that of the descriptors.
        normalizations: of every scale, of the scorer.
        size, stride, smoothing, top_share, mean_map: as of the detector.
    """

    together = 1

    def __init__(
        self,
        scorer: Scorer,
        ensembles: Sequence[Ensemble],
        normalizations: Sequence[Normalization],
        size: ImageSize,
        stride: int,
        smoothing: float,
        top_share: float,
        mean_map: MeanMap | None,
    ) -> None:
        self.device = scorer.device
        self._scorer, self._ensembles, self._normalizations = scorer, ensembles, normalizations
        self._size, self._stride, self._smoothing, self._top_share = size, stride, smoothing, top_share
        self._mean_map = mean_map
        on_cpu = self.device.type == "cpu"
        self._teachers = [e.teacher if on_cpu else copy.deepcopy(e.teacher).to(self.device) for e in ensembles]
        self._figures: list[tuple[float, float, float]] = []
        self._descriptors: list[Tensor] = []

    def __call__(self, image: Tensor, inside: Tensor | None) -> tuple[list[float], NDArray[np.float32]]:
        """Image score, e, v, everywhere and novelty, and the mean descriptor, standardised, of all scales: [Σ d].

        Args:
            image: RGB [3, H, W].
            inside: which pixels are looked at, bool [H, W]; None: all.
        """
        mask = None if inside is None else inside[None]
        maps = score_images(self, image[None], self._size, self._stride, self._smoothing, mask, self._mean_map)
        score = float(image_scores(maps, self._top_share, mask))
        descriptor = torch.cat(self._descriptors).cpu().numpy()
        return [score, *map(float, np.mean(self._figures, 0)), float(np.sqrt(np.mean(descriptor**2)))], descriptor

    def maps(self, images: Tensor, stride: int, roi: Tensor | None = None) -> Iterator[Tensor]:
        """As `Scorer.maps`, of one image, whose figures are kept."""
        rows, scores = TensorRows(images[0]), []
        self._figures, self._descriptors = [], []
        errors = self._scorer.errors(images, stride)
        for (e, v), n, ensemble, teacher in zip(
            errors, self._normalizations, self._ensembles, self._teachers, strict=True
        ):
            computed = ensemble.computed(rows, stride)
            inside = None
            if roi is not None:
                inside = computed.of(nearest(roi, (rows.height, rows.width)))
            factor = n.factor(e, stride, inside)
            scores.append(computed.continued(n.score(e, v, factor)))
            counted = inside if inside is not None and bool(inside.any()) else torch.ones_like(e, dtype=torch.bool)
            good_e, good_v = max(n.e_mean, 1e-30), max(n.v_mean, 1e-30)
            told = v / good_v if len(ensemble.students) > 1 else e / good_e  # one student alone has no v
            lowest = torch.quantile(told[counted][:_MOST], _EVERYWHERE)
            self._figures.append((float(e[counted].mean()) / good_e, float(v[counted].mean()) / good_v, float(lowest)))
            features = dense_features(teacher, normalize_images(images), stride=stride, inside=ensemble.inside)
            mean = features[0][:, counted[0]].mean(1)
            self._descriptors.append((mean - ensemble.mean.to(mean)) / ensemble.std.to(mean))
        yield fuse(scores)

    def errors(self, images: Tensor, stride: int) -> list[tuple[Tensor, Tensor]]:
        """As `Scorer.errors`."""
        return self._scorer.errors(images, stride)


def worth(
    scores: NDArray[np.float64], everywhere: NDArray[np.float64], threshold: float, good: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What images are worth, each for itself: [n].

    That is the probability that an image is a false alarm, or near one, times how much it is unlike others everywhere.

    Args:
        scores, everywhere: of the images [n], see `Ranked`.
        threshold: image scores above it alarm.
        good: image scores of the good images that judged.
    """
    width = max((threshold - float(np.median(good))) / 2, 1e-6)
    near = 1 / (1 + np.exp(-np.clip((scores - threshold) / width, -60, 60)))
    found: NDArray[np.float64] = near * everywhere
    return found


def chosen(
    worths: NDArray[np.float64], descriptors: NDArray[np.float32], top: int | None = None
) -> list[tuple[int, float]]:
    """The best images, none like those before it, with the gain of each: its worth, less if one like it came before.

    A greedy farthest-point choice: the gain is the worth times the distance to the nearest one before, in units of the
    median distance of two images, at most 1. Of equals the first comes first.

    Args:
        worths: [n].
        descriptors: [n, d].
        top: how many; None: all.
    """
    count = len(worths) if top is None else min(top, len(worths))
    share = np.ones(len(worths))
    far, left = _far(descriptors), np.ones(len(worths), bool)
    found: list[tuple[int, float]] = []
    for _ in range(count):
        gains = np.where(left, worths * share, -1.0)
        index = int(np.argmax(gains))
        if gains[index] <= 0:  # copies of what came before: by their own worth
            rest = [i for i in np.argsort(-worths, kind="stable").tolist() if left[i]]
            return [*found, *((i, 0.0) for i in rest[: count - len(found)])]
        found.append((index, float(gains[index])))
        left[index] = False
        distances = np.sqrt(np.square(descriptors - descriptors[index]).mean(1, dtype=np.float64))
        share = np.minimum(share, distances / far)
    return found


def _far(descriptors: NDArray[np.float32]) -> float:
    """The median distance of two images, over up to 500 of them; 1 if all are the same."""
    some = descriptors[:: max(1, len(descriptors) // _COMPARED)][:_COMPARED]
    distances = [np.sqrt(np.square(some[i + 1 :] - some[i]).mean(1)) for i in range(len(some) - 1)]
    median = float(np.median(np.concatenate(distances))) if distances else 0.0
    return median if median > 0 else 1.0
