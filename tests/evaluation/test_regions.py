"""Regions of masks against scipy.ndimage: wholly given, and by bands of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mask_patterns import comb, snake, spiral
from numpy.typing import NDArray
from region_masks import decoded, filled
from scipy import ndimage

from stadx.core.errors import DataError
from stadx.evaluation.region_shapes import outlines, run_lengths
from stadx.evaluation.regions import RegionFinder, Regions, RegionSettings, find_regions

ALL_AROUND = np.ones((3, 3), bool)


def scores_of(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scores of which many are the same, whose sums are exact in any order."""
    return np.random.default_rng(0).integers(0, 9, mask.shape).astype(np.float32) / 4


def by_bands(mask: NDArray[np.bool_], rows: int, min_area: float = 0) -> Regions:
    finder, scores = RegionFinder(), scores_of(mask)
    for start in range(0, len(mask), rows):
        finder.add(mask[start : start + rows], scores[start : start + rows])
    return finder.finish(min_area)


def labels_of(regions: Regions) -> NDArray[np.int32]:
    return np.concatenate(list(regions.bands()))


PATTERNS = {
    "full": np.ones((20, 31), bool),
    "nothing": np.zeros((20, 31), bool),
    "one_pixel": np.ones((1, 1), bool),
    "chessboard": np.indices((13, 18)).sum(0) % 2 == 0,
    "spiral": spiral(31),
    "snake": snake(19, 40),
    "comb": comb(20, 33),
    "comb_upside_down": comb(20, 33)[::-1].copy(),
    "diagonal": np.eye(25, dtype=bool),
    "ring_of_corners": np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool),
    "ring_in_a_ring": np.pad(np.pad(np.ones((1, 2), bool), 1), 1, constant_values=True),
}


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(name: str, rows: int) -> None:
    check(PATTERNS[name], rows)


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14)), st.integers(1, 6))
def test_any_mask(mask: NDArray[np.bool_], rows: int) -> None:
    check(mask, rows)


def check(mask: NDArray[np.bool_], rows: int) -> None:
    scores = scores_of(mask)
    regions = by_bands(mask, rows)
    labels = labels_of(regions)
    assert (regions.height, regions.width) == mask.shape and regions.area == mask.sum()
    assert np.array_equal(labels > 0, mask)
    want, count = ndimage.label(mask, ALL_AROUND)
    index = np.arange(1, count + 1)
    peaks = ndimage.maximum(scores, want, index) if count else np.zeros(0)
    shapes = zip(regions.found, run_lengths(regions), outlines(regions), strict=True)
    order = np.argsort(-np.asarray(peaks), kind="stable") + 1  # scipy numbers by the first pixel in raster order
    for number, (region, counts, polygon) in enumerate(shapes, start=1):
        inside = want == order[number - 1]
        assert np.array_equal(labels == number, inside)
        y, x = np.nonzero(inside)
        assert region.box == (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)
        assert region.area == inside.sum()
        assert region.peak == scores[inside].max() and region.mean == scores[inside].mean(dtype=np.float64)
        assert np.array_equal(decoded(counts, mask.shape), inside)
        assert np.array_equal(filled(polygon, mask.shape), ndimage.binary_fill_holes(inside))
    assert len(regions.found) == count


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_small_regions_are_dropped_wherever_bands_end(rows: int) -> None:
    mask = np.random.default_rng(1).random((50, 60)) < 0.3
    want, count = ndimage.label(mask, ALL_AROUND)
    areas = np.bincount(want.ravel())
    areas[0] = 0
    regions = by_bands(mask, rows, min_area=5)
    assert 0 < len(regions.found) == (areas >= 5).sum() < count
    assert np.array_equal(labels_of(regions) > 0, (areas >= 5)[want])


def test_arrays_and_tensors_are_taken() -> None:
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1]])
    scores = np.array([[1, 9, 9, 5], [9, 3, 9, 6]], np.float64)
    tensors = torch.from_numpy(mask), torch.from_numpy(scores)
    for given_mask, given_scores in ((mask, scores), tensors, (mask[:, ::-1][:, ::-1], scores.astype(int))):
        regions, labels = find_regions(given_mask, given_scores)
        assert [tuple(region) for region in regions] == [((3, 0, 1, 2), 2, 6.0, 5.5), ((0, 0, 2, 2), 2, 3.0, 2.0)]
        assert labels.dtype == np.int32 and labels.tolist() == [[2, 0, 0, 1], [0, 2, 0, 1]]
    assert find_regions(mask, scores, min_area=3)[0] == []


@pytest.mark.parametrize("shapes", [((3, 4), (4, 3)), ((1, 3, 4), (1, 3, 4)), ((0, 4), (0, 4))])
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(DataError, match=r"both must be \[H, W\]"):
        find_regions(np.zeros(shapes[0], bool), np.zeros(shapes[1]))


def test_areas_in_square_millimetres() -> None:
    region = find_regions(np.ones((1, 3), bool), np.ones((1, 3)))[0][0]
    assert RegionSettings().line(region) == {"box": [0, 0, 3, 1], "area": 3, "peak": 1.0, "mean": 1.0}
    assert RegionSettings(pixel_size=0.1).line(region)["area_mm2"] == 0.03
    for pixels in range(1, 2000):
        for size in (0.1, 0.3, 0.07, 2.0):
            assert RegionSettings(min_area=pixels * size**2, pixel_size=size).min_pixels == pixels
            assert RegionSettings(min_area=(pixels + 0.01) * size**2, pixel_size=size).min_pixels == pixels + 1
    assert RegionSettings(min_area=2.5).min_pixels == 3 and RegionSettings().min_pixels == 0


@pytest.mark.parametrize(
    "wrong", [{"min_area": -1}, {"min_area": float("nan")}, {"pixel_size": 0}, {"exports": ("xml",)}]
)
def test_settings_that_cannot_be_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RegionSettings(**wrong)
