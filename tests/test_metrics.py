"""The exact metrics against brute-force transcriptions of their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from stadx import ops, reference
from stadx.errors import DataError
from stadx.metrics import au_pro, auroc, pro_curve

Arrays = list[NDArray[Any]]


def brute_force_curve(maps: Arrays, masks: Arrays, connectivity: int = 8) -> tuple[list[float], list[float]]:
    """Every distinct score is tried as a threshold, and every pixel and region is looked at for each."""
    structure = ndimage.generate_binary_structure(2, 2 if connectivity == 8 else 1)
    regions, background = [], []
    for scores, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, structure)
        regions += [scores[labels == k].astype(np.float64) for k in range(1, count + 1)]
        background.append(scores[labels == 0].astype(np.float64))
    outside = np.concatenate(background)
    points = [(0.0, 0.0)]
    for t in sorted({float(x) for scores in maps for x in scores.ravel()}, reverse=True):
        overlap = math.fsum(np.count_nonzero(r >= t) / r.size for r in regions) / len(regions)
        points.append((np.count_nonzero(outside >= t) / outside.size, overlap))
    points.append((1.0, 1.0))
    return [x for x, _ in points], [y for _, y in points]


def brute_force_au_pro(maps: Arrays, masks: Arrays, limit: float = 0.3, connectivity: int = 8) -> float:
    fpr, pro = brute_force_curve(maps, masks, connectivity)
    parts = []
    for x0, y0, x1, y1 in zip(fpr, pro, fpr[1:], pro[1:], strict=False):
        if x1 > limit:
            if x0 < limit:
                y_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
                parts.append((limit - x0) * (y0 + y_limit) / 2)
            break
        parts.append((x1 - x0) * (y0 + y1) / 2)
    return math.fsum(parts) / limit


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
    "random", "tied", "two_values", "constant", "float64", "perfect", "inverted", "one_defect_pixel",
    "one_background_pixel", "infinite", "zeros_of_both_signs", "denormal", "huge",
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("connectivity", [4, 8])
def test_pro_curve_is_the_definition(name: str, connectivity: int) -> None:
    maps, masks = _case(name)
    curve = pro_curve(maps, masks, connectivity=connectivity)
    fpr, pro = brute_force_curve(maps, masks, connectivity)
    np.testing.assert_array_equal(curve.fpr, fpr)
    np.testing.assert_allclose(curve.pro, pro, rtol=0, atol=1e-15)
    assert curve.fpr.dtype == curve.pro.dtype == curve.thresholds.dtype == np.float64
    distinct = np.unique(np.concatenate([m.ravel() for m in maps]).astype(np.float64))[::-1]
    np.testing.assert_array_equal(curve.thresholds, [np.inf, *distinct, -np.inf])


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_au_pro_is_the_definition(name: str, limit: float) -> None:
    maps, masks = _case(name)
    assert au_pro(maps, masks, fpr_limit=limit) == pytest.approx(
        brute_force_au_pro(maps, masks, limit), rel=0, abs=1e-12
    )


def test_au_pro_of_known_cases() -> None:
    maps, masks = _case("perfect")
    assert au_pro(maps, masks) == 1.0
    maps, masks = _case("constant")
    assert au_pro(maps, masks) == pytest.approx(0.15, abs=1e-15)  # the diagonal up to 0.3
    maps, masks = _case("inverted")
    assert au_pro(maps, masks) == 0.0


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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.1, 0.3, 0.9]))
def test_au_pro_on_any_small_set(seed: int, levels: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    maps = [rng.integers(0, levels, (6, 7)).astype(np.float64) for _ in range(2)]
    masks = [rng.random((6, 7)) < 0.3 for _ in range(2)]
    masks[0][0, 0], masks[1][0, 0] = True, False
    assert au_pro(maps, masks, fpr_limit=limit) == pytest.approx(
        brute_force_au_pro(maps, masks, limit), rel=0, abs=1e-12
    )


def test_collinear_points_are_left_out_without_a_change() -> None:
    maps, masks = _case("random")
    labels = torch.from_numpy(np.concatenate([ndimage.label(m)[0].ravel() > 0 for m in masks]).astype(np.int32))
    scores = torch.from_numpy(np.concatenate([m.ravel() for m in maps]))
    full, thin = ops.pro_curve(scores, labels, 1), ops.pro_curve(scores, labels, 1, drop_collinear=True)
    assert len(thin[0]) < len(full[0]) / 2
    points = set(zip(full[0].tolist(), full[1].tolist(), full[2].tolist(), strict=True))
    assert set(zip(thin[0].tolist(), thin[1].tolist(), thin[2].tolist(), strict=True)) <= points
    area = [torch.trapezoid(pro, fpr).item() for fpr, pro, _ in (full, thin)]
    assert area[1] == pytest.approx(area[0], abs=1e-13)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("drop_collinear", [False, True])
def test_operator_against_twin(dtype: torch.dtype, drop_collinear: bool, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 300, (5001,), generator=generator).to(dtype)[::3].to(device)
    regions = torch.randint(0, 4, (1667,), generator=generator).to(torch.int32).to(device)
    got = ops.pro_curve(scores, regions, 3, drop_collinear)
    want = reference.pro_curve(scores, regions, 3, False)
    if drop_collinear:  # where its rounding differs, the twin may see another set of collinear points
        assert 2 <= len(got[0]) <= len(want[0])
        areas = [torch.trapezoid(pro, fpr).item() for fpr, pro, _ in (got, want)]
        assert areas[0] == pytest.approx(areas[1], abs=1e-13)
        return
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_operator_opcheck(device: torch.device) -> None:
    scores = torch.rand(50, generator=torch.Generator().manual_seed(0)).to(device)
    regions = (torch.arange(50, device=device) % 3).to(torch.int32)
    torch.library.opcheck(torch.ops.stadx.pro_curve.default, (scores, regions, 2, False))


@pytest.mark.parametrize(
    ("scores", "regions", "count", "message"),
    [
        (torch.zeros(3), torch.zeros(4, dtype=torch.int32), 1, "one length"),
        (torch.zeros(3).half(), torch.tensor([0, 1, 1], dtype=torch.int32), 1, "float32 or float64"),
        (torch.zeros(3), torch.tensor([0, 1, 1]), 1, "int32"),
        (torch.zeros(3), torch.tensor([0, 1, 2], dtype=torch.int32), 1, "region 2 is outside"),
        (torch.zeros(3), torch.tensor([0, 1, -1], dtype=torch.int32), 1, "region -1 is outside"),
        (torch.zeros(3), torch.tensor([0, 1, 1], dtype=torch.int32), 2, "region 2 has no pixel"),
        (torch.zeros(3), torch.tensor([1, 1, 1], dtype=torch.int32), 1, "no background"),
        (torch.zeros(3), torch.tensor([0, 0, 0], dtype=torch.int32), 0, "at least one region"),
        (torch.tensor([0, np.nan, 1]), torch.tensor([0, 1, 1], dtype=torch.int32), 1, "NaN"),
    ],
)
def test_operator_names_bad_input(scores: torch.Tensor, regions: torch.Tensor, count: int, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        ops.pro_curve(scores, regions, count)


def test_kinds_of_input_agree() -> None:
    rng = np.random.default_rng(5)
    masks = np.stack(_masks(rng, [(24, 30)] * 4))
    maps = np.round(rng.standard_normal(masks.shape) * 8 + 8 * masks)
    want = au_pro(maps, masks)
    assert au_pro(list(maps), list(masks)) == want
    assert au_pro(torch.from_numpy(maps), torch.from_numpy(masks)) == want
    assert au_pro(torch.from_numpy(maps).bfloat16(), [torch.from_numpy(m) for m in masks]) == want
    assert au_pro(maps.astype(np.float16), masks.astype(np.uint8) * 255) == want
    assert au_pro(maps.astype(np.int16), masks.astype(np.int64)) == want
    assert au_pro(maps.astype(">f4"), masks[:, :, :]) == want
    assert au_pro(np.asfortranarray(maps), np.asfortranarray(masks)) == want
    assert au_pro(maps[:, ::-1, ::-1], masks[:, ::-1, ::-1]) == pytest.approx(want, abs=1e-12)


def test_inputs_are_left_alone() -> None:
    maps, masks = _case("random")
    copies = [m.copy() for m in maps], [m.copy() for m in masks]
    pro_curve(maps, masks)
    auroc(maps, masks)
    for got, want in zip(maps + masks, copies[0] + copies[1], strict=True):
        np.testing.assert_array_equal(got, want)


ZERO, ONE = np.zeros((4, 5), dtype=np.float32), np.ones((4, 5), dtype=bool)
SPOT = np.eye(4, 5, dtype=bool)


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        ([ZERO], [~ONE], "no defect"),
        ([], [], "no defect"),
        ([ZERO], [ONE], "no background"),
        ([ZERO, ZERO], [SPOT], "2 maps but 1 masks"),
        ([ZERO, ZERO], [SPOT, SPOT[:3]], r"image 1: maps have shape \(4, 5\) but masks \(3, 5\)"),
        ([ZERO, ZERO * np.nan], [SPOT, SPOT], "image 1: maps contain NaN"),
        ([ZERO], [SPOT.astype(float)], "image 0: masks are float64"),
        ([ZERO.astype(complex)], [SPOT], "image 0: maps are complex128"),
        ([ZERO[None]], [SPOT[None]], r"must be \[H, W\]"),
    ],
)
def test_au_pro_names_what_is_wrong(maps: Arrays, masks: Arrays, message: str) -> None:
    for function in (pro_curve, au_pro):
        with pytest.raises(DataError, match=message):
            function(maps, masks)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, float("nan")])
def test_fpr_limit_is_checked(limit: float) -> None:
    with pytest.raises(DataError, match="fpr_limit"):
        au_pro([ZERO], [SPOT], fpr_limit=limit)


def test_connectivity_is_checked() -> None:
    with pytest.raises(DataError, match="connectivity is 6"):
        pro_curve([ZERO], [SPOT], connectivity=6)


def brute_force_auroc(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    good, bad = scores[labels == 0], scores[labels != 0]
    order = (bad[:, None] > good).sum() + 0.5 * (bad[:, None] == good).sum()
    return float(order) / (len(bad) * len(good))


@pytest.mark.parametrize("levels", [2, 5, 10**9])
def test_auroc_counts_pairs(levels: int) -> None:
    rng = np.random.default_rng(levels)
    labels = rng.integers(0, 2, 301)
    scores = rng.integers(0, levels, 301) + labels * levels // 4
    want = brute_force_auroc(scores, labels)
    assert auroc(scores.tolist(), labels.tolist()) == want
    assert auroc(scores, labels.astype(bool)) == want
    assert auroc(torch.from_numpy(scores), torch.from_numpy(labels)) == want
    assert auroc([scores[:100], scores[100:]], [labels[:100], labels[100:]]) == want
    assert auroc([torch.tensor(float(s)) for s in scores], [int(x) for x in labels]) == want
    assert auroc(-scores, labels) == pytest.approx(1 - want, abs=1e-15)


def test_auroc_of_infinite_scores_and_signed_zeros() -> None:
    scores = np.array([-np.inf, -0.0, 0.0, np.inf, np.inf])
    labels = np.array([0, 1, 0, 0, 1])
    assert auroc(scores, labels) == (1 + 0.5 + 2 + 0.5) / 6


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [0, 0], "no label is anomalous"),
        ([0.1, 0.2], [1, 1], "no label is good"),
        ([], [], "no label is anomalous"),
        ([0.1, float("nan")], [0, 1], "NaN"),
        ([0.1, 0.2, 0.3], [0, 1], "shape"),
    ],
)
def test_auroc_names_what_is_wrong(scores: list[float], labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        auroc(scores, labels)
