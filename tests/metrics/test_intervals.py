"""Bootstrap intervals against resampling whole images, AUPIMO against integration over every score."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from map_sets import MAPS, MASKS, Arrays, part
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.metrics import Interval, ProEvaluator, au_pro, aupimo, evaluate_maps


def naive_replicates(maps: Arrays, masks: Arrays, limit: float, count: int, seed: int = 0) -> NDArray[np.float64]:
    """AU-PRO of sets in which every image is there as often as it was drawn."""
    rng, size, found = np.random.default_rng(seed), len(maps), []
    while len(found) < count:
        for drawn in rng.multinomial(size, np.full(size, 1 / size), 64):
            chosen = np.repeat(np.arange(size), drawn)
            usable = any(masks[i].any() for i in chosen) and not all(masks[i].all() for i in chosen)
            if usable and len(found) < count:
                found.append(au_pro([maps[i] for i in chosen], [masks[i] for i in chosen], fpr_limit=limit))
    return np.array(found)


def check_interval(got: Interval, replicates: NDArray[np.float64], confidence: float, tolerance: float = 1e-9) -> None:
    """Neither quantiles nor the mean are further off than the replicates."""
    want = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    np.testing.assert_allclose([*got[:2], got.mean], [*want, replicates.mean()], rtol=0, atol=tolerance)
    np.testing.assert_allclose(got.std, replicates.std(ddof=1), rtol=0, atol=2 * tolerance)


def compute(maps: Arrays, masks: Arrays, **options: Any) -> Any:
    return ProEvaluator(**options).update(maps, masks).compute()


@pytest.mark.parametrize(
    ("limit", "replicates", "confidence", "seed"), [(0.1, 20, 0.9, 0), (0.3, 70, 0.5, 3), (1.0, 20, 0.99, 1)]
)
def test_bootstrap_draws_images(limit: float, replicates: int, confidence: float, seed: int) -> None:
    got = part(0, 9).compute().bootstrap(limit, replicates=replicates, confidence=confidence, seed=seed)
    assert got.resolution == 0
    check_interval(got, naive_replicates(MAPS, MASKS, limit, replicates, seed), confidence)


@pytest.mark.parametrize("limit", [0.1, 0.3, 1.0])
def test_bootstrap_with_more_scores_than_thresholds(limit: float) -> None:
    rng = np.random.default_rng(1)
    masks = [np.zeros((64, 64 + i), bool) for i in range(5)]
    for i, mask in enumerate(masks[1:]):
        mask[10 : 30 + i, 5:60], mask[50 + i, 7:9] = True, True  # a large and a small region
    maps = [rng.standard_normal(m.shape) + 1.5 * m for m in masks]
    assert len(np.unique(np.concatenate([s[m] for s, m in zip(maps, masks, strict=True)]))) > 4096
    metrics = compute(maps, masks)
    for seed in range(2):
        got = metrics.bootstrap(limit, replicates=8, confidence=0.999, seed=seed)
        assert 0 < got.resolution < 2e-3
        check_interval(got, naive_replicates(maps, masks, limit, 8, seed), 0.999, got.resolution)


def test_bootstrap_draws_again_what_has_no_region_or_no_background() -> None:
    maps, masks = [MAPS[0], MAPS[1], MAPS[4]], [MASKS[0], np.ones_like(MASKS[1]), MASKS[4]]
    got = compute(maps, masks).bootstrap(replicates=60)  # about a third of the draws is not usable
    check_interval(got, naive_replicates(maps, masks, 0.3, 60), 0.95)


def test_bootstrap_of_one_image() -> None:
    want = au_pro(MAPS[1], MASKS[1])
    got = compute(MAPS[1:2], MASKS[1:2]).bootstrap(replicates=5)
    np.testing.assert_allclose(got, [want, want, want, 0, 0], rtol=0, atol=1e-12)


def test_bootstrap_of_spilled_maps_and_of_a_source(tmp_path: Path) -> None:
    class Source:
        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            return zip(MAPS, MASKS, strict=True)

    want = part(0, 9).compute().bootstrap(replicates=100, seed=5)
    assert part(0, 9).compute().bootstrap(replicates=100, seed=5) == want
    assert part(0, 9, memory_budget=0, folder=tmp_path).compute().bootstrap(replicates=100, seed=5) == want
    assert evaluate_maps(Source()).bootstrap(replicates=100, seed=5) == want
    assert part(0, 9).compute().bootstrap(replicates=100, seed=6) != want


def test_bootstrap_checks_its_settings() -> None:
    metrics = part(0, 9).compute()
    for options in ({"replicates": 1}, {"confidence": 0.0}, {"confidence": 1.0}, {"confidence": float("nan")}):
        with pytest.raises(DataError, match="at least 2, and one within"):
            metrics.bootstrap(**options)
    with pytest.raises(DataError, match="fpr_limit is 0; it must lie in"):
        metrics.bootstrap(0)


def brute_force_aupimo(maps: Arrays, masks: Arrays, bounds: tuple[float, float]) -> list[float]:
    """At each rate z the threshold is the lowest score that good images reach at a mean rate ≤ z, of all there are."""
    good = [np.sort(s.ravel()) for s, m in zip(maps, masks, strict=True) if not m.any()]
    scores = np.unique(np.concatenate([s.ravel() for s in maps]).astype(np.float64))
    rates = np.mean([1 - np.searchsorted(g, scores) / g.size for g in good], axis=0)
    steps = [bounds[0], *(r for r in np.unique(rates) if bounds[0] < r < bounds[1]), bounds[1]]
    areas = []
    for values, mask in zip(maps, masks, strict=True):
        own, area = np.sort(values[mask != 0].astype(np.float64)), 0.0
        for z0, z1 in pairwise(steps):
            allowed = scores[rates <= (z0 * z1) ** 0.5]
            reached = np.count_nonzero(own >= allowed[0]) if allowed.size else 0
            area += (np.log(z1) - np.log(z0)) * reached
        areas.append(area / max(own.size, 1) / np.log(bounds[1] / bounds[0]) if own.size else np.nan)
    return areas


def aupimo_set(decimals: int, good_size: int = 15) -> tuple[Arrays, Arrays]:
    """Good images of several sizes between defective ones; with few decimals good and defect pixels tie."""
    rng = np.random.default_rng(decimals)
    shapes = [(good_size, 15), (12, 13), (9, 14), (good_size, 15), (14, 9), (1, 5), (good_size + 2, 20)]
    masks = [rng.random(shape) < 0.3 * (i in (1, 2, 5)) for i, shape in enumerate(shapes)]
    masks[2][:], masks[5][0, 0] = True, True  # one without background
    maps = [np.round(rng.standard_normal(m.shape) + 1.5 * m, decimals) for m in masks]
    return maps, masks


@pytest.mark.parametrize("bounds", [(1e-5, 1e-4), (0.01, 0.2), (0.003, 1.0)])
@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_aupimo_is_the_integral(bounds: tuple[float, float], decimals: int) -> None:
    maps, masks = aupimo_set(decimals)
    got = aupimo(maps, masks, fpr_bounds=bounds)
    assert got.dtype == np.float64
    assert np.isnan(got).tolist() == [not m.any() for m in masks]
    np.testing.assert_allclose(got, brute_force_aupimo(maps, masks, bounds), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(compute(maps, masks).aupimo(bounds), got)


@pytest.mark.parametrize("decimals", [1, 12])
def test_aupimo_up_to_a_few_pixels(decimals: int) -> None:
    maps, masks = aupimo_set(decimals, 4000)
    maps = [s + m for s, m in zip(maps, masks, strict=True)]
    got = aupimo(maps, masks)
    assert 0.01 < np.nanmean(got) < 0.99
    np.testing.assert_allclose(got, brute_force_aupimo(maps, masks, (1e-5, 1e-4)), rtol=0, atol=1e-12)


def test_aupimo_of_known_cases() -> None:
    masks = np.zeros((3, 10, 10), bool)
    masks[1, 2, 3:5], masks[2] = True, True
    np.testing.assert_array_equal(aupimo(masks.astype(np.float32), masks), [np.nan, 1, 1])
    np.testing.assert_array_equal(aupimo(np.ones((3, 10, 10)), masks), [np.nan, 0, 0])
    maps = np.arange(100.0).reshape(1, 10, 10).repeat(3, 0)  # the highest good score is reached at a rate of 0.01
    maps[1, 2, 3:5] = 99, 200
    got = aupimo(maps, masks, fpr_bounds=(0.001, 0.1))
    np.testing.assert_allclose(got[1], (0.5 + 1) / 2, rtol=0, atol=1e-15)


def test_kinds_of_input_agree() -> None:
    maps, masks = aupimo_set(0)
    want = aupimo(maps, masks, fpr_bounds=(0.01, 0.3))
    truth = [m.astype(np.uint8) * 255 for m in masks]
    for kind in (np.float32, np.float16, np.int8, np.int64, ">f4"):
        np.testing.assert_array_equal(aupimo([s.astype(kind) for s in maps], truth, fpr_bounds=(0.01, 0.3)), want)
    tensors = [torch.from_numpy(s) for s in maps]
    for given in (tensors, [s.bfloat16() for s in tensors], [s.float() if i % 2 else s for i, s in enumerate(tensors)]):
        np.testing.assert_array_equal(aupimo(given, masks, fpr_bounds=(0.01, 0.3)), want)


ZERO, SPOT = np.zeros((4, 5)), np.eye(4, 5, dtype=bool)
NOTHING, NAN = np.zeros((4, 5), bool), np.where(SPOT, np.nan, 0)


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        ([ZERO, ZERO], [SPOT, SPOT], "needs good images, but there are none"),
        ([ZERO, ZERO], [NOTHING, NOTHING], "needs images with a defect"),
        ([], [], "AUPIMO needs"),
        ([ZERO, ZERO, NAN], [NOTHING, SPOT, NOTHING], "image 2: maps contain NaN"),
        ([ZERO, ZERO[:3], NAN], [NOTHING, SPOT[:3], SPOT], "image 2: maps contain NaN"),
        ([ZERO, NAN], [NOTHING, SPOT[:, ::-1]], "image 1: maps contain NaN"),  # also where no defect is
        ([ZERO, ZERO], [NOTHING, SPOT[:3]], r"image 1: maps have shape \(4, 5\) but masks \(3, 5\)"),
        ([ZERO, ZERO], [NOTHING], "2 maps but 1 masks"),
        ([ZERO, ZERO], [NOTHING, SPOT.astype(float)], "image 1: masks are float64"),
        ([ZERO, ZERO.astype(complex)], [NOTHING, SPOT], "image 1: maps are complex128"),
        ([ZERO[None], ZERO[None]], [NOTHING[None], SPOT[None]], r"must be \[H, W\]"),
    ],
)
def test_aupimo_names_what_is_wrong(maps: Arrays, masks: Arrays, message: str) -> None:
    with pytest.raises(DataError, match=message):
        aupimo(maps, masks)


@pytest.mark.parametrize(
    "bounds", [(0, 0.1), (0.1, 0.1), (0.2, 0.1), (0.1, 1.1), (float("nan"), 0.1), (0.1, float("nan"))]
)
def test_aupimo_checks_its_bounds(bounds: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="fpr_bounds"):
        aupimo([ZERO, ZERO], [NOTHING, SPOT], fpr_bounds=bounds)
