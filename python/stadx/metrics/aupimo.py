"""AUPIMO (Bertoldo et al., BMVC 2024), exact."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from stadx import ops
from stadx.core.errors import DataError

from .defect_pixels import DefectPixels
from .inputs import GROUP_PIXELS, Maps, Pair, Pairs, check_are_images, groups
from .ranks import NameOf, Rescan, nan_error

FPR_BOUNDS = (1e-5, 1e-4)


def aupimo(maps: Maps, masks: Maps, *, fpr_bounds: tuple[float, float] = FPR_BOUNDS) -> NDArray[np.float64]:
    """Area under each image's overlap curve against the false-positive rate of the good images, on a log scale.

    An image's curve is the share of its defect pixels with a score ≥ the threshold; the x axis is the mean over good
    images of the share of their pixels that are. Exact: a defect pixel counts from the false-positive rate at its own
    score on, so that the integral over log(rate) is a sum over pixels.

    Args:
        maps, masks: as in `au_pro`; images whose mask is empty are the good ones.
        fpr_bounds: where the integral begins and ends, 0 < lower < upper ≤ 1.

    Returns:
        float64 [N] in [0, 1], NaN for good images.

    Raises:
        DataError: as `au_pro`, if no image is good or none has a defect, or if the bounds are no such numbers.
    """
    check_bounds(fpr_bounds)
    check_are_images(maps)
    pairs = [(scores.cpu(), truth.cpu()) for scores, truth in Pairs(maps, masks).of_masks()]
    found = DefectPixels()
    for scores, truth in groups(pairs):
        found.add(scores, [*truth], 8)
    regions = torch.cat([torch.zeros(0, dtype=torch.int32), *found.regions]).numpy()
    images = np.concatenate([np.zeros(0, np.int64), *found.images])
    defects = torch.cat([torch.empty(0), *found.scores]).to(found.dtype())
    values, at, _ = (x.numpy() for x in ops.distinct_scores(defects))
    return image_overlap(values, at, images[regions], len(pairs), lambda: pairs, lambda i: f"image {i}", fpr_bounds)


def check_bounds(fpr_bounds: tuple[float, float]) -> None:
    """Raise DataError unless 0 < lower < upper ≤ 1."""
    lower, upper = fpr_bounds
    if not 0 < lower < upper <= 1:
        raise DataError(f"fpr_bounds are {fpr_bounds}; give 0 < lower < upper ≤ 1")


def image_overlap(
    values: NDArray[np.floating],
    at: NDArray[np.int32],
    image: NDArray[np.int64],
    num_images: int,
    images: Rescan,
    name_of: NameOf,
    fpr_bounds: tuple[float, float],
) -> NDArray[np.float64]:
    """AUPIMO of every image, float64 [N].

    Args:
        values, at: distinct scores of defect pixels [E], and for each such pixel the index into them [n].
        image: of each defect pixel [n].
        num_images, images, name_of: N; gives the images; what errors call them.
        fpr_bounds: as in `aupimo`.
    """
    pixels = np.bincount(image, minlength=num_images)
    good = pixels == 0
    if not good.any() or good.all():
        missing = "good images" if not good.any() else "images with a defect"
        raise DataError(f"AUPIMO needs {missing}, but there are none; evaluate on a set that has both kinds")
    if np.isnan(values).any():
        raise nan_error(name_of(int(image[np.isnan(values)[at]][0])))
    edges = torch.from_numpy(values)
    numbers = iter(np.flatnonzero(good))
    reached: dict[int, NDArray[np.int64]] = {}  # good pixels ≥ each value, by the size of their image

    def good_images() -> Iterator[Pair]:
        for i, pair in enumerate(images()):
            if good[i]:
                yield pair
            elif bool(pair[0].isnan().any()):
                raise nan_error(name_of(i))

    counted = 0
    for size, alike in groupby(good_images(), lambda pair: pair[0].numel()):
        for scores, _ in groups(alike, GROUP_PIXELS):
            above, equal, nans = ops.count_above([s.to(edges.dtype) for s in scores], edges)
            which = [next(numbers) for _ in scores]
            counted += len(scores) if size else 0  # an image without a pixel has no rate
            if nans.any():
                raise nan_error(name_of(int(which[int(nans.nonzero()[0])])))
            reached[size] = reached.get(size, np.int64(0)) + (above + equal).numpy()
    if not counted:
        raise DataError("AUPIMO needs good images, but theirs have no pixel; evaluate on a set that has both kinds")
    rate = sum((count / size for size, count in reached.items() if size), np.zeros(len(values))) / counted
    lower, upper = fpr_bounds
    span = np.clip(np.log(upper / np.maximum(rate, lower)) / np.log(upper / lower), 0, 1)
    total = np.bincount(image, span[at], num_images)
    return np.where(good, np.nan, total / np.maximum(pixels, 1))
