"""From the scores of held-out good images to thresholds, of a pixel and of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError, StadxError
from stadx.metrics.image_score import image_scores
from stadx.metrics.intervals import independent_number, korn_graubard, percent
from stadx.networks.upsampling import upsample

_LEVELS = 4096  # false-positive rates at which the held-out scores are kept


def check_fpr(fpr: float, name: str = "target_fpr") -> None:
    """Check a false-positive rate.

    Raises:
        ValueError: if it does not lie between 0 and 1.
    """
    if not isinstance(fpr, Real) or not 0 <= fpr <= 1:
        raise ValueError(f"{name} is {fpr!r}; it must lie between 0 and 1")


def split(count: int, held_out: float | None, seed: int, image_fpr: float = 0.05) -> tuple[list[int], list[int]]:
    """Which of `count` good images train, and which are held out: at least one, the share `held_out` if it can be.

    With None a tenth; of few images up to a third, until there are as many as a promise of `image_fpr` needs.

    Raises:
        DataError: if there is but one.
    """
    if count < 2:
        raise DataError(
            "there is one training image; give two or more, as an image that taught all students cannot judge"
        )
    order = np.random.default_rng([seed, 3]).permutation(count).tolist()
    if held_out is None:
        number = max(round(0.1 * count), min(_images_needed(image_fpr), count // 3))
    else:
        number = round(held_out * count)
    number = min(max(1, number), count - 1)
    return sorted(order[number:]), sorted(order[:number])


def _images_needed(image_fpr: float) -> int:
    """How many images have to judge for a share of false alarms to be promised: f (n + 1) is 1 or more."""
    return math.ceil(1 / max(image_fpr, 1e-9)) - 1


def folds(count: int, parts: int, seed: int) -> list[list[int]]:
    """The numbers 0 … count − 1 in random parts, as equal as can be, each rising."""
    order = np.random.default_rng([seed, 3]).permutation(count).tolist()
    return [sorted(order[part::parts]) for part in range(parts)]


def threshold_levels(maps: Sequence[Tensor]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """False-positive rates, rising, and the thresholds that flag just that share of the pixels of good images.

    Args:
        maps: anomaly scores of held-out good images, any shapes.

    Returns:
        Both float32 [n], n at most 4096: a threshold of scores[i] flags the share fprs[i].

    Raises:
        StadxError: a score is not finite.
    """
    scores = torch.cat([s.flatten() for s in maps]).numpy()
    scores.sort()  # in place: there may be gigabytes
    scores = scores[::-1]
    if not np.isfinite(scores[[0, -1]]).all():  # NaN counts as the highest
        raise StadxError("training diverged: the scores of held-out images are not finite; give a lower learning rate")
    flagged = np.unique(np.geomspace(1, len(scores), _LEVELS).astype(np.int64)) - 1
    return (flagged / len(scores)).astype(np.float32), scores[flagged].astype(np.float32)


class HeldOutScores(NamedTuple):
    """What thresholds follow from: the scores of held-out good images.

    Attributes:
        fprs, scores: float32 [n]; a threshold of scores[i] flags the share fprs[i] of the pixels, see
            `threshold_levels`.
        image_scores: float32 [4, images], in the images' order, see `strided_image_scores`.
    """

    fprs: NDArray[np.float32]
    scores: NDArray[np.float32]
    image_scores: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        maps: Sequence[Tensor],
        stride: int = 1,
        top_share: float = 0.0,
        insides: Sequence[Tensor | None] | None = None,
    ) -> HeldOutScores:
        """Of anomaly maps at every stride-th pixel, `insides` as in `strided_image_scores`.

        Raises `DataError` for no maps, `StadxError` for scores that are not finite.
        """
        if not maps:
            raise DataError("there are no maps of good images to find thresholds from; give one or more")
        insides = insides or [None] * len(maps)
        pairs = zip(maps, insides, strict=True)
        levels = threshold_levels([m if inside is None else m[inside[::stride, ::stride]] for m, inside in pairs])
        return cls(*levels, strided_image_scores(maps, stride, top_share, insides))


def joined_scores(*parts: HeldOutScores) -> HeldOutScores:
    """The scores of several sets of images together, of one scale; every image counts as many pixels as any other.

    Of a threshold between two levels the higher share is taken, so that none is promised that does not hold.
    """
    scores = np.unique(np.concatenate([part.scores for part in parts]))[::-1].copy()
    if len(scores) > _LEVELS:
        scores = scores[np.unique(np.geomspace(1, len(scores), _LEVELS).astype(np.int64)) - 1]
    shares = []
    for part in parts:
        level = np.searchsorted(-part.scores, -scores)  # the highest that is not above
        shares.append(np.append(part.fprs, np.float32(1))[level].astype(np.float64))
    images = [part.image_scores.shape[1] for part in parts]
    fprs = np.average(shares, axis=0, weights=images).astype(np.float32)
    return HeldOutScores(fprs, scores, np.concatenate([part.image_scores for part in parts], axis=1))


def threshold_at(target_fpr: float, fprs: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    """The lowest threshold that flags at most this share; `fprs` and `scores` from `threshold_levels`."""
    last = int(np.searchsorted(fprs, np.float32(target_fpr), side="right")) - 1
    return float(scores[last])


def strided_image_scores(
    maps: Sequence[Tensor], stride: int = 1, top_share: float = 0.0, insides: Sequence[Tensor | None] | None = None
) -> NDArray[np.float32]:
    """The image score of each map if every 1st, 2nd, 4th or 8th pixel is scored: float32 [4, n].

    Args:
        maps: at every stride-th pixel. At a finer stride nothing is known: the same is taken.
        top_share: see `image_scores`.
        insides: which pixels of each image are looked at, bool [H, W]; None: all.
    """

    def score(known: Tensor, inside: Tensor | None, step: int) -> float:
        whole = known[None, ::step, ::step]
        if top_share or inside is not None:  # the highest is one of those that are known
            whole = upsample(whole, stride * known.shape[0], stride * known.shape[1], stride * step)
        if inside is not None:
            height, width = inside.shape
            return float(image_scores(whole[:, :height, :width], top_share, inside[None]))
        return float(image_scores(whole, top_share))

    pairs = list(zip(maps, insides or [None] * len(maps), strict=True))
    steps = [max(1, other // stride) for other in (1, 2, 4, 8)]
    return np.array([[score(*pair, step) for pair in pairs] for step in steps], np.float32)


def image_threshold_at(image_fpr: float, scores: NDArray[np.float32]) -> float:
    """The image score that another good image exceeds with this probability, on average over which images judged.

    That is place `image_fpr` · (n + 1) of the n scores, the highest being the first, interpolated between two: of n + 1
    images of one kind each is as likely as any other to have the k-th highest score. Where that is before the first,
    the highest. Of images that say no more than fewer independent ones each of these has n / `independent` places.

    Args:
        image_fpr: in [0, 1].
        scores: of good images that no student learned from, [n], in their order.
    """
    falling = np.sort(scores)[::-1].astype(np.float64)
    places = np.arange(1, len(falling) + 1)
    independent = independent_number(scores)
    beyond_first = image_fpr * (independent + 1) - 1
    return float(np.interp(1 + beyond_first * len(falling) / independent, places, falling))


def counted_image_threshold_at(image_fpr: float, scores: NDArray[np.float32]) -> float:
    """The lowest of these image scores [n] that at most the share `image_fpr` of them exceed: that of stadx 0.1."""
    falling = np.sort(scores)[::-1]
    return float(falling[min(int(image_fpr * len(scores) + 1e-6), len(scores) - 1)])


class FalseAlarms(NamedTuple):
    """What can be said of the share of good images that a threshold flags.

    Attributes:
        asked: the share that was asked for; None if the threshold was chosen otherwise.
        flagged: good images above the threshold, of those that judged.
        images: how many judged.
        low, high: the true share lies between these with 95 % confidence (Clopper–Pearson; Korn–Graubard).
        independent: how many independent images say as much as those, see `independent_number`.
    """

    asked: float | None
    flagged: int
    images: int
    low: float
    high: float
    independent: float

    @classmethod
    def of(cls, asked: float | None, threshold: float, scores: NDArray[np.float32]) -> FalseAlarms:
        """Of the image scores [n] of good images that no student learned from, in their order."""
        flagged, independent = int((scores > threshold).sum()), independent_number(scores)
        return cls(
            asked, flagged, len(scores), *korn_graubard(flagged, len(scores), independent), round(independent, 1)
        )

    def sentence(self) -> str:
        """Say it, and what more images would bring."""
        asked = "" if self.asked is None else f"Asked for: {percent(self.asked)} of good images flagged. "
        said = (
            f"{asked}Of the {self.images} good images that judged {self.flagged} exceed the image threshold: with 95 % "
            f"confidence it flags {percent(self.low)} to {percent(self.high)} of good ones."
        )
        if self.independent < self.images:
            said += (
                f" Images that follow each other score alike, as several of one part do: the {self.images} say no more "
                f"than {self.independent:.0f} of different parts."
            )
        if self.asked and self.asked * (self.independent + 1) < 1:
            needed = _images_needed(self.asked)
            return (
                f"{said} These are too few to promise {percent(self.asked)}, so the threshold is not below the "
                f"highest of their scores; give {needed} images or more."
            )
        if self.asked and (more := self._more()):
            return f"{said} {more} more would likely bring that below {percent(2 * self.asked)}."
        return said

    def _more(self) -> int:
        """How many more images would bring `high` below twice what was asked for; 0 if it is."""
        assert self.asked
        images, share = self.images, self.independent / self.images
        while korn_graubard(int(self.asked * images), images, share * images)[1] >= 2 * self.asked:
            images += max(1, images // 50)
        return images - self.images
