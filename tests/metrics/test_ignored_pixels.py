"""Pixels that are neither defect nor background, against brute force on the pixels that count."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from stadx.metrics import auroc, evaluate_maps

IGNORE = 128
Arrays = list[NDArray[Any]]


def sets(seed: int, tied: bool = False) -> tuple[Arrays, Arrays]:
    """Maps, and masks of 0, 255 and the ignored 128, which cuts through defects and covers some."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for shape in ((20, 31), (33, 17), (24, 24), (9, 40)):
        mask = (ndimage.gaussian_filter(rng.standard_normal(shape), 2) > 0.12).astype(np.uint8) * 255
        ignored = ndimage.gaussian_filter(rng.standard_normal(shape), 3) > 0.05
        scores = (rng.standard_normal(shape) + mask / 200 + 3 * ignored * rng.standard_normal()).astype(np.float32)
        masks.append(np.where(ignored, np.uint8(IGNORE), mask))
        maps.append(np.round(scores) if tied else scores)
    masks[0][masks[0] == 255] = 0  # a good image
    return maps, masks


def brute_force(maps: Arrays, masks: Arrays, limit: float) -> tuple[float, float]:
    """AU-PRO, every distinct score a threshold, and pixel AUROC; ignored pixels are never looked at."""
    regions, background = [], []
    for scores, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask == 255, np.ones((3, 3)))
        regions += [scores[labels == k] for k in range(1, count + 1)]
        background.append(scores[mask == 0])
    good, bad = np.concatenate(background), np.concatenate(regions)
    x, y = [0.0], [0.0]
    for t in np.unique(np.concatenate([good, bad]))[::-1]:
        x.append(np.count_nonzero(good >= t) / good.size)
        y.append(math.fsum(np.count_nonzero(r >= t) / r.size for r in regions) / len(regions))
    at = np.interp(limit, x, y)
    inside = [(a, b) for a, b in zip(x, y, strict=True) if a < limit] + [(limit, at)]
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(inside))
    pairs = (bad[:, None] > good).mean() + (bad[:, None] == good).mean() / 2
    return area / limit, float(pairs)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_ignored_pixels_are_as_if_they_were_not_there(seed: int, tied: bool, limit: float) -> None:
    maps, masks = sets(seed, tied)
    found = evaluate_maps(list(zip(maps, masks, strict=True)), ignore_value=IGNORE)
    assert found.num_background == sum(int((m == 0).sum()) for m in masks)
    assert found.num_defect == sum(int((m == 255).sum()) for m in masks)
    want, pixel_auroc = brute_force(maps, masks, limit)
    assert found.au_pro(limit) == pytest.approx(want, abs=1e-9)
    assert found.auroc == pytest.approx(pixel_auroc, abs=1e-9)
    known = [m != IGNORE for m in masks]
    pooled = [np.concatenate([x[k] for x, k in zip(xs, known, strict=True)]) for xs in (maps, masks)]
    assert found.auroc == pytest.approx(auroc(*pooled), abs=1e-12)
    cut = evaluate_maps(list(zip(maps, masks, strict=True)), fpr_limit=limit, ignore_value=IGNORE)
    assert cut.au_pro(limit) == found.au_pro(limit)


def test_what_they_score_does_not_matter() -> None:
    maps, masks = sets(4)
    results = []
    for value in (-1e9, 1e9, np.nan):
        changed = [np.where(m == IGNORE, np.float32(value), s) for s, m in zip(maps, masks, strict=True)]
        pairs = [(torch.from_numpy(s), torch.from_numpy(m)) for s, m in zip(changed, masks, strict=True)]
        found = evaluate_maps(pairs, ignore_value=IGNORE)
        results.append((found.au_pro(), found.auroc, found.aupr, found.f1_max, found.best_threshold))
        results[-1] += (tuple(found.shortcuts().values()), found.bootstrap(replicates=50), tuple(found.aupimo()[1:]))
        assert evaluate_maps(pairs, fpr_limit=0.3, ignore_value=IGNORE).au_pro() == found.au_pro()
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_any_value_of_any_dtype_is_ignored(dtype: type) -> None:
    """255 has the bits of −1 in int8, as which masks of uint8 are counted."""
    maps, masks = sets(5)
    turned = [np.choose((m == 255) + 2 * (m == IGNORE), [0, 1, 255]).astype(dtype) for m in masks]
    found = evaluate_maps(list(zip(maps, turned, strict=True)), ignore_value=255)
    assert found.au_pro() == evaluate_maps(list(zip(maps, masks, strict=True)), ignore_value=IGNORE).au_pro()
    places = [(r.image, r.row, r.column, r.area) for r in found.regions()]
    for image, mask in enumerate(masks):
        labels, count = ndimage.label(mask == 255, np.ones((3, 3)))
        here = [place[1:] for place in places if place[0] == image]
        firsts = [np.argwhere(labels == k)[0].tolist() for k in range(1, count + 1)]
        assert sorted(here) == sorted((r, c, int((labels == k).sum())) for k, (r, c) in enumerate(firsts, start=1))
