"""The exact metrics against brute-force transcriptions of their definitions."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from stadx.core.errors import DataError
from stadx.metrics import au_pro, aupr, auroc, evaluate_maps, f1_max, pro_curve

Arrays = list[NDArray[Any]]


def regions_and_background(maps: Arrays, masks: Arrays, connectivity: int = 8) -> tuple[Arrays, NDArray[np.float64]]:
    structure = ndimage.generate_binary_structure(2, 2 if connectivity == 8 else 1)
    regions, background = [], []
    for scores, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, structure)
        regions += [scores[labels == k].astype(np.float64) for k in range(1, count + 1)]
        background.append(scores[labels == 0].astype(np.float64))
    return regions, np.concatenate(background)


def point(regions: Arrays, background: NDArray[np.float64], t: float) -> tuple[float, float]:
    """False-positive rate and mean overlap of what scores at least t."""
    overlap = math.fsum(np.count_nonzero(r >= t) / r.size for r in regions) / len(regions)
    return np.count_nonzero(background >= t) / background.size, overlap


def brute_force_curve(maps: Arrays, masks: Arrays, connectivity: int = 8) -> tuple[list[float], list[float]]:
    """Every distinct score is tried as a threshold, and every pixel and region is looked at for each."""
    parts = regions_and_background(maps, masks, connectivity)
    distinct = sorted({float(x) for scores in maps for x in scores.ravel()}, reverse=True)
    points = [(0.0, 0.0), *(point(*parts, t) for t in distinct), (1.0, 1.0)]
    return [x for x, _ in points], [y for _, y in points]


def area(fpr: list[float], pro: list[float], limit: float) -> float:
    parts = []
    for (x0, y0), (x1, y1) in pairwise(zip(fpr, pro, strict=True)):
        if x1 > limit:
            if x0 < limit:
                y_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
                parts.append((limit - x0) * (y0 + y_limit) / 2)
            break
        parts.append((x1 - x0) * (y0 + y1) / 2)
    return math.fsum(parts) / limit


def brute_force_au_pro(maps: Arrays, masks: Arrays, limit: float = 0.3, connectivity: int = 8) -> float:
    return area(*brute_force_curve(maps, masks, connectivity), limit)


def _masks(rng: np.random.Generator, shapes: list[tuple[int, int]]) -> Arrays:
    masks = [ndimage.gaussian_filter(rng.standard_normal(shape), 2) > 0.12 for shape in shapes]
    masks[0][:] = False  # a good image
    assert any(m.any() for m in masks)
    return masks


def _case(name: str) -> tuple[Arrays, Arrays]:
    rng = np.random.default_rng(sum(name.encode()))
    shapes = [(20, 31), (33, 17), (24, 24), (1, 40)]
    masks = _masks(rng, shapes)
    maps = [(rng.standard_normal(m.shape) + 1.5 * m).astype(np.float32) for m in masks]
    if name == "tied":
        maps = [np.round(m) for m in maps]
    elif name == "two_values":
        maps = [(m > 0.5).astype(np.float32) for m in maps]
    elif name == "constant":
        maps = [np.full_like(m, 0.25) for m in maps]
    elif name == "float64":
        maps = [m.astype(np.float64) * (1 + 1e-12 * rng.random(m.shape)) for m in maps]
    elif name == "mixed_dtypes":  # that only differ where float32 cannot tell
        maps = [np.round(m) + 1e-12 * rng.random(m.shape) if i % 2 else np.round(m) for i, m in enumerate(maps)]
    elif name == "perfect":
        maps = [m.astype(np.float32) for m in masks]
    elif name == "inverted":
        maps = [1 - m.astype(np.float32) for m in masks]
    elif name == "one_defect_pixel":
        masks = [np.zeros_like(m) for m in masks]
        masks[2][5, 7] = True
    elif name == "one_background_pixel":
        masks = [np.ones_like(m) for m in masks]
        masks[1][5, 7] = False
    elif name == "infinite":
        maps[0][0, :5], maps[1][0, :5], maps[2][:, 0] = np.inf, -np.inf, np.inf
    elif name == "zeros_of_both_signs":
        maps = [np.where(m > 0.5, m, np.where(m > 0, np.float32(0), np.float32(-0.0))) for m in maps]
    elif name == "denormal":
        maps = [(m * np.float32(1e-44)).astype(np.float32) for m in maps]
    elif name == "huge":
        maps = [m * np.float32(1e37) for m in maps]
    return maps, masks


CASES = [
    "random", "tied", "two_values", "constant", "float64", "mixed_dtypes", "perfect", "inverted",
    "one_defect_pixel", "one_background_pixel", "infinite", "zeros_of_both_signs", "denormal", "huge",
]  # fmt: skip


@cache
def curve_of_case(name: str, connectivity: int) -> tuple[list[float], list[float]]:
    return brute_force_curve(*_case(name), connectivity)


def corners(fpr: Any, pro: Any) -> NDArray[np.float64]:
    """The points of a curve, each once, without the middle ones of level and of upright stretches: [n, 2]."""
    kept: list[tuple[float, float]] = []
    for x, y in zip(fpr, pro, strict=True):
        if len(kept) > 1 and (kept[-2][0] == kept[-1][0] == x or kept[-2][1] == kept[-1][1] == y):
            kept.pop()
        if not kept or kept[-1] != (x, y):
            kept.append((x, y))
    return np.array(kept)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("connectivity", [4, 8])
def test_pro_curve_is_the_definition(name: str, connectivity: int) -> None:
    curve = pro_curve(*_case(name), connectivity=connectivity)
    assert curve.fpr.dtype == curve.pro.dtype == curve.thresholds.dtype == np.float64
    got, want = corners(curve.fpr, curve.pro), corners(*curve_of_case(name, connectivity))
    np.testing.assert_array_equal(got[:, 0], want[:, 0])
    np.testing.assert_allclose(got[:, 1], want[:, 1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_thresholds_of_the_pro_curve_give_its_points(name: str) -> None:
    maps, masks = _case(name)
    points = list(zip(*pro_curve(maps, masks), strict=True))
    assert (points[0], points[-1]) == ((0.0, 0.0, np.inf), (1.0, 1.0, -np.inf))
    assert all(a[2] >= b[2] and a != b for a, b in pairwise(points))
    parts = regions_and_background(maps, masks)
    inner = [p for p in points if math.isfinite(p[2])]
    want = np.array([point(*parts, t) for _, _, t in inner]).reshape(-1, 2)
    np.testing.assert_array_equal([x for x, _, _ in inner], want[:, 0])
    np.testing.assert_allclose([y for _, y, _ in inner], want[:, 1], rtol=0, atol=1e-14)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_au_pro_is_the_definition(name: str, limit: float, connectivity: int) -> None:
    want = area(*curve_of_case(name, connectivity), limit)
    assert au_pro(*_case(name), fpr_limit=limit, connectivity=connectivity) == pytest.approx(want, rel=0, abs=1e-12)


def test_au_pro_of_known_cases() -> None:
    assert au_pro(*_case("perfect")) == 1.0
    assert au_pro(*_case("constant")) == pytest.approx(0.15, abs=1e-15)  # the diagonal up to 0.3
    assert au_pro(*_case("inverted")) == 0.0


@pytest.mark.parametrize("name", CASES)
def test_one_count_serves_every_limit(name: str) -> None:
    maps, masks = _case(name)
    metrics = evaluate_maps(list(zip(maps, masks, strict=True)), fpr_limit=0.5)
    for limit in (0.5, 1e-9, 0.3, 0.05):
        want = area(*curve_of_case(name, 8), limit)
        assert metrics.au_pro(limit) == au_pro(maps, masks, fpr_limit=limit) == pytest.approx(want, rel=0, abs=1e-12)
    with pytest.raises(DataError, match=r"only counted up to 0\.5"):
        metrics.au_pro(0.6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cube_of_positive_scores_changes_nothing(dtype: type[np.floating[Any]]) -> None:
    rng = np.random.default_rng(3)
    masks = _masks(rng, [(64, 64)] * 3)
    # Few enough distinct values that their cubes stay distinct in float32.
    maps = [(rng.integers(1, 2000, m.shape) / 1000 + m).astype(dtype) for m in masks]
    assert au_pro(maps, masks) == au_pro([m**3 for m in maps], masks)


def test_large_set_keeps_its_precision() -> None:
    rng = np.random.default_rng(4)
    masks = ndimage.gaussian_filter(rng.standard_normal((4, 300, 300)), (0, 5, 5)) > 0.05
    maps = np.round(rng.standard_normal(masks.shape) + masks, 2)  # few thresholds, for the brute force's sake
    assert au_pro(maps, masks) == pytest.approx(brute_force_au_pro(list(maps), list(masks)), rel=0, abs=1e-12)


def _small_set(seed: int, levels: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 6, 7)) < rng.choice([0.1, 0.3, 0.6])
    masks[:2, 0, 0] = True, False
    return rng.integers(0, levels, masks.shape), masks


ANY_SET = (
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.sampled_from([0.05, 0.3, 0.9, 1.0]),
    st.sampled_from([4, 8]),
)


@settings(max_examples=60, deadline=None)
@given(*ANY_SET)
def test_au_pro_on_any_small_set(seed: int, levels: int, limit: float, connectivity: int) -> None:
    maps, masks = _small_set(seed, levels)
    want = brute_force_au_pro(list(maps), list(masks), limit, connectivity)
    assert au_pro(maps, masks, fpr_limit=limit, connectivity=connectivity) == pytest.approx(want, rel=0, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(*ANY_SET, st.sampled_from([np.float32, np.float64]))
def test_increasing_transforms_change_nothing(seed: int, levels: int, limit: float, connectivity: int, to: Any) -> None:
    maps, masks = _small_set(seed, levels)
    bits = np.random.default_rng(seed).choice(0x7F800000, levels, replace=False).astype(np.int32)
    numbers = np.sort(bits.view(np.float32)).astype(to)  # any positive ones, denormal or huge
    found = []
    for x in (maps, numbers[maps], -1 / (1 + maps)):
        fpr, pro, _ = pro_curve(x, masks, connectivity=connectivity)
        areas = au_pro(x, masks, fpr_limit=limit, connectivity=connectivity), auroc(x, masks), aupr(x, masks)
        found.append((fpr.tolist(), pro.tolist(), areas, f1_max(x, masks)[0]))
    assert found[0] == found[1] == found[2]


@settings(max_examples=60, deadline=None)
@given(*ANY_SET, st.permutations(range(3)), st.integers(0, 125), st.integers(1, 60))
def test_order_of_images_and_higher_defects(
    seed: int, levels: int, limit: float, connectivity: int, order: list[int], pixel: int, rise: int
) -> None:
    maps, masks = _small_set(seed, levels)
    options: dict[str, Any] = {"fpr_limit": limit, "connectivity": connectivity}
    before = au_pro(maps, masks, **options)
    assert au_pro(maps[order], masks[order], **options) == pytest.approx(before, rel=0, abs=1e-12)
    inside = np.flatnonzero(masks)
    maps.flat[inside[pixel % len(inside)]] += rise
    assert au_pro(maps, masks, **options) >= before - 1e-12


def brute_force_rates(scores: NDArray[Any], labels: NDArray[Any]) -> tuple[float, float, float]:
    """Average precision, highest F1, its highest threshold: every distinct score is tried as a threshold."""
    precision, recall, f1 = [], [0.0], []
    thresholds = np.unique(scores)[::-1].tolist()
    for t in thresholds:
        hits, wrong = (int(((scores >= t) & (labels.astype(bool) == truth)).sum()) for truth in (True, False))
        precision.append(hits / (hits + wrong))
        recall.append(hits / np.count_nonzero(labels))
        f1.append(2 * hits / (hits + wrong + np.count_nonzero(labels)))
    average = math.fsum(p * (b - a) for p, (a, b) in zip(precision, pairwise(recall), strict=True))
    return average, max(f1), thresholds[f1.index(max(f1))]


def brute_force_auroc(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    good, bad = scores[labels == 0], scores[labels != 0]
    order = (bad[:, None] > good).sum() + 0.5 * (bad[:, None] == good).sum()
    return float(order) / (len(bad) * len(good))


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("name", CASES)
def test_pixels_are_classified_as_defined(name: str) -> None:
    maps, masks = _case(name)
    scores, labels = (np.concatenate([x.ravel() for x in arrays]) for arrays in (maps, masks))
    average, best, threshold = brute_force_rates(scores, labels)
    assert auroc(maps, masks) == brute_force_auroc(scores, labels)
    assert aupr(maps, masks) == pytest.approx(average, rel=0, abs=1e-12)
    assert f1_max(maps, masks) == (best, threshold)


@pytest.mark.parametrize("levels", [2, 5, 10**9])
def test_scores_are_classified_as_defined(levels: int) -> None:
    rng = np.random.default_rng(levels)
    labels = rng.integers(0, 2, 301)
    scores = rng.integers(0, levels, 301) + labels * levels // 4
    for function, want in [
        (auroc, brute_force_auroc(scores, labels)),
        (aupr, pytest.approx(brute_force_rates(scores, labels)[0], rel=0, abs=1e-12)),
        (f1_max, brute_force_rates(scores, labels)[1:]),
    ]:
        assert function(scores.tolist(), labels.tolist()) == want
        assert function(tuple(scores.tolist()), labels.astype(bool)) == want
        assert function(torch.from_numpy(scores), torch.from_numpy(labels)) == want
        assert function([scores[:100], scores[100:]], [labels[:100], labels[100:]]) == want
        assert function([torch.tensor(float(s), dtype=torch.float64) for s in scores], [int(x) for x in labels]) == want
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-15)


def test_infinite_scores_and_signed_zeros() -> None:
    scores = np.array([-np.inf, -0.0, 0.0, np.inf, np.inf])
    labels = np.array([0, 1, 0, 0, 1])
    assert auroc(scores, labels) == (1 + 0.5 + 2 + 0.5) / 6
    assert aupr(scores, labels) == 1 / 4 + 2 / 4 / 2
    assert f1_max(scores, labels) == (2 * 2 / (2 + 4), 0.0)


def test_the_highest_of_equally_good_thresholds_is_the_best() -> None:
    assert f1_max([5, 4, 3, 2, 1], [1, 0, 0, 1, 0]) == (2 / 3, 5.0)  # 2/(2 + 1) and 4/(4 + 2)
    assert f1_max([5, 4, 3, 2, 1], [1, 0, 1, 1, 0]) == (6 / 7, 2.0)
