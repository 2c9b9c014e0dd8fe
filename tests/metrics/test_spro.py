"""Exact sPRO against its definition, and against AU-PRO where they are the same."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from spro_by_definition import brute_force

from stadx.core.errors import DataError
from stadx.metrics import SPRO_LIMITS, ProEvaluator, Regions, au_pro, au_spro, evaluate_maps, pro_curve, spro_curve

Array = NDArray[Any]
Case = tuple[list[Array], list[list[Array]], list[list[float]]]


def case(name: str) -> Case:
    rng = np.random.default_rng(sum(name.encode()))
    shapes = [(20, 31), (17, 23), (24, 24), (1, 40), (9, 9)]
    maps = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    regions: list[list[Array]] = [[]]
    for m in maps[1:]:
        noise = ndimage.gaussian_filter(rng.standard_normal((3, *m.shape)), (0, 2, 2))
        regions.append([n >= np.quantile(n, 0.85) for n in noise])
        m[regions[-1][0]] += 1.5
    if name == "apart":
        for masks in regions[1:]:
            masks[1] &= ~masks[0]
            masks[2] &= ~(masks[0] | masks[1])
    saturation = [[float(rng.integers(1, 30)) for _ in masks] for masks in regions]
    if name == "fractions":
        saturation = [[s * 0.37 for s in sats] for sats in saturation]
    elif name == "tied":
        maps = [np.round(m) for m in maps]
    elif name == "constant":
        maps = [np.full_like(m, 0.25) for m in maps]
    elif name == "float64":
        maps = [m.astype(np.float64) * (1 + 1e-12 * rng.random(m.shape)) for m in maps]
    elif name == "huge":
        maps = [m * np.float32(1e37) for m in maps]
    elif name == "infinite":
        maps[0][0, :5], maps[1][0, :5], maps[2][:, 0] = np.inf, -np.inf, np.inf
    elif name == "above the area":
        saturation = [[1e9 for _ in masks] for masks in regions]
    elif name == "one pixel":
        saturation = [[1.0 for _ in masks] for masks in regions]
    elif name == "twice":  # the same region in two files
        regions[2] = [regions[2][0]] * 3
    elif name == "integers":
        regions = [[m.astype(np.uint8) * 255 for m in masks] for masks in regions]
    return maps, regions, saturation


CASES = [
    "random", "apart", "fractions", "tied", "constant", "float64", "huge", "infinite", "above the area", "one pixel",
    "twice", "integers",
]  # fmt: skip


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("name", CASES)
def test_au_spro_is_the_definition(name: str) -> None:
    maps, regions, saturation = case(name)
    found = au_spro(maps, regions, saturation)
    assert list(found) == list(SPRO_LIMITS)
    expected = brute_force(maps, regions, saturation)
    for limit, value in found.items():
        assert value == pytest.approx(expected[limit], abs=1e-12)
        assert au_spro(maps, regions, saturation, fpr_limits=[limit])[limit] == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_the_curve_has_that_area(name: str) -> None:
    maps, regions, saturation = case(name)
    curve = spro_curve(maps, regions, saturation)
    assert (curve.fpr[0], curve.pro[0], curve.fpr[-1], curve.pro[-1]) == (0, 0, 1, 1)
    assert (np.diff(curve.pro) >= 0).all()
    whole = float(np.sum(np.diff(curve.fpr) * (curve.pro[1:] + curve.pro[:-1])) / 2)
    assert au_spro(maps, regions, saturation)[1.0] == pytest.approx(whole, abs=1e-12)


def test_pro_is_the_case_of_whole_areas() -> None:
    maps, regions, _ = case("random")
    masks = [np.any([np.zeros(m.shape, bool), *r], axis=0) for m, r in zip(maps, regions, strict=True)]
    parts = []
    for mask in masks:
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        parts.append([labels == k for k in range(1, count + 1)])
    areas = [[int(p.sum()) for p in some] for some in parts]
    for saturation in (None, areas):
        for limit, value in au_spro(maps, parts, saturation).items():
            assert value == au_pro(maps, masks, fpr_limit=limit)
    for a, b in zip(spro_curve(maps, parts), pro_curve(maps, masks), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)
    metrics = evaluate_maps(list(zip(maps, masks, strict=True)))  # of masks, nothing is saturated early
    assert metrics.au_spro(0.05) == metrics.au_pro(0.05)
    assert [r.area for r in metrics.regions()] == [a for some in areas for a in some]


def test_pixels_of_two_regions_are_no_background_and_one_pixel() -> None:
    maps, regions, saturation = case("random")
    whole = [np.any([np.zeros(m.shape, bool), *r], axis=0) for m, r in zip(maps, regions, strict=True)]
    given = [Regions(r, s) for r, s in zip(regions, saturation, strict=True)]
    metrics, plain = evaluate_maps([*zip(maps, given, strict=True)]), evaluate_maps([*zip(maps, whole, strict=True)])
    assert metrics.num_regions == sum(map(len, regions))
    assert (metrics.num_defect, metrics.num_background) == (plain.num_defect, plain.num_background)
    assert (metrics.auroc, metrics.aupr, metrics.f1_max) == (plain.auroc, plain.aupr, plain.f1_max)
    for refused in (metrics.bootstrap, metrics.aupimo):
        with pytest.raises(DataError, match="overlap"):
            refused()
    assert evaluate_maps([*zip(maps, given, strict=True)], fpr_limit=0.1).au_spro(0.1) == metrics.au_spro(0.1)


@pytest.mark.parametrize("name", ["random", "fractions", "tied"])
def test_streamed_and_merged(name: str) -> None:
    maps, regions, saturation = case(name)
    given = [Regions(r, s) for r, s in zip(regions, saturation, strict=True)]
    parts = [ProEvaluator(), ProEvaluator(memory_budget=0)]
    parts[0].update(maps[:2], given[:2], ["", "logical"]).update(maps[2], given[2], "logical")
    parts[1].update([torch.from_numpy(m) for m in maps[3:]], given[3:], "structural")
    metrics = parts[0].merge(pickle.loads(pickle.dumps(parts[1]))).compute()
    for limit, value in au_spro(maps, regions, saturation).items():
        assert metrics.au_spro(limit) == pytest.approx(value, abs=1e-14)
    assert metrics.region_au_spro(0.3).shape == (12,)
    assert metrics.regions()[0].defect == "logical"


def test_what_is_refused_and_that_nothing_of_it_is_kept() -> None:
    m = np.zeros((4, 4), np.float32)
    r = np.eye(4, dtype=bool)
    with pytest.raises(DataError, match=r"image 0, region 1: maps have shape \(4, 4\) but masks \(3, 3\)"):
        au_spro([m], [[r, r[:3, :3]]])
    with pytest.raises(DataError, match="image 1: region 1 marks no pixel"):
        au_spro([m, m], [[r], [r, r & False]])
    with pytest.raises(DataError, match="image 0: 1 regions but 2 saturation areas"):
        au_spro([m], [[r]], [[1, 2]])
    for bad in (0, -1, math.nan):
        with pytest.raises(DataError, match="must be above 0"):
            au_spro([m], [[r]], [[bad]])
    with pytest.raises(DataError, match="no defect pixel"):
        au_spro([m], [None])
    with pytest.raises(DataError, match="no background"):
        au_spro([m], [[r, ~r]])
    with pytest.raises(DataError, match="NaN"):
        au_spro([m * np.nan, m], [[r, r], None])
    with pytest.raises(DataError, match="fpr_limit is 2"):
        au_spro([m], [[r]], fpr_limits=[2])
    with pytest.raises(DataError, match="of 1 images but saturation areas of 0"):
        au_spro([m], [[r]], [])
    with pytest.raises(DataError, match="ignore_value is for masks"):
        evaluate_maps([(m, Regions([r]))], ignore_value=2)
    evaluator = ProEvaluator()
    with pytest.raises(DataError, match="marks no pixel"):
        evaluator.update([m, m], [Regions([r]), Regions([r & False])])
    assert len(evaluator) == 0 and evaluator.update(m + np.arange(4), Regions([r])).compute().num_regions == 1
