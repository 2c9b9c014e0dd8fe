"""The mean over the scales is of those whose patch lies within the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stadx.detectors.student_teacher.fusion import Fused, fuse, mean_of
from stadx.networks.border import Computed, computed_pixels


def by_definition(maps: list[Tensor], places: list[Computed], size: tuple[int, int], stride: int) -> Tensor:
    """Each pixel: of the nearest one that any scale computes, the mean over the scales that do, in float64."""
    sides = [-(-length // stride) for length in size]
    total, count = np.zeros(sides), np.zeros(sides)
    for scores, (rows, columns) in zip(maps, places, strict=True):
        ys, xs = (np.arange(span.begin, span.end, stride) // stride for span in (rows, columns))
        total[np.ix_(ys, xs)] += scores.double().numpy()
        count[np.ix_(ys, xs)] += 1
    known = np.argwhere(count > 0)
    (top, left), (bottom, right) = known.min(0), known.max(0)
    ys, xs = (np.arange(n).clip(*limits) for n, limits in zip(sides, ((top, bottom), (left, right)), strict=True))
    return torch.from_numpy((total / np.maximum(count, 1))[np.ix_(ys, xs)])


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize("size", [(96, 130), (70, 67), (50, 200), (16, 40), (1, 1)], ids=str)
@pytest.mark.parametrize("scales", [(33,), (17, 33), (65, 17, 33), (33, 65)], ids=str)
def test_of_the_scales_whose_patch_lies_inside(scales: tuple[int, ...], size: tuple[int, int], stride: int) -> None:
    places = [computed_pixels(*size, p, True, stride) for p in scales]
    generator = torch.Generator().manual_seed(1)
    maps = [torch.rand(place.rows.count, place.columns.count, generator=generator) for place in places]
    want = by_definition(maps, places, size, stride)
    found = fuse(maps, places)
    torch.testing.assert_close(found.double(), want, rtol=1e-6, atol=0)  # three float32 numbers added and divided
    batch = fuse([x.expand(2, 1, *x.shape) for x in maps], places)
    assert torch.equal(batch, found.expand(2, 1, *found.shape))
    one_by_one = Fused(maps[0], places[0])
    for scores, place in zip(maps[1:], places[1:], strict=True):
        one_by_one.add(scores, place)
    assert torch.equal(one_by_one.mean(), found)


def test_scales_that_compute_all_pixels_are_averaged_everywhere() -> None:
    maps = [torch.rand(3, 4) for _ in range(3)]
    place = computed_pixels(3, 4, 65, False)
    assert torch.equal(fuse(maps, [place] * 3), (maps[0] + maps[1] + maps[2]) / 3)
    assert torch.equal(mean_of(maps), (maps[0] + maps[1] + maps[2]) / 3) and mean_of(maps[:1]) is maps[0]
