"""Up to a false-positive rate only the highest scores are counted. A sample says which, and may be wrong about it."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stadx.metrics import au_pro, auroc, defect_pixels, ranks

# at the end: a module of the tests with the same name wins
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import pro_peers

pytestmark = pytest.mark.parametrize("limit", [0.05, 0.3])


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many thresholds there were in each count of a whole set."""
    seen: list[int] = []
    count = ranks._count

    def spy(images: Any, thresholds: NDArray[Any], *rest: Any) -> Any:
        seen.append(len(thresholds))
        return count(images, thresholds, *rest)

    monkeypatch.setattr(ranks, "_count", spy)
    return seen


def check(maps: NDArray[Any], masks: NDArray[np.bool_], limit: float) -> None:
    want = pro_peers.definition(maps, masks, limit)
    assert au_pro(maps, masks, fpr_limit=limit) == pytest.approx(want, rel=0, abs=1e-11)


@pytest.mark.parametrize("decimals", [None, 1, 0], ids=["distinct", "tied", "ties across the cut"])
@pytest.mark.parametrize("size", [(1, 512), (40, 128), (100, 64)], ids=str)
def test_one_count_of_the_highest_scores(
    size: tuple[int, int], decimals: int | None, limit: float, counts: list[int]
) -> None:
    maps, masks = pro_peers.make_set(*size, share=0.1)
    maps = maps if decimals is None else maps.round(decimals)
    check(maps, masks, limit)
    assert len(counts) == 1
    assert counts[0] < len(np.unique(maps[masks]))


# (images, every how many-th score is in the sample): 2048 of an image of 128 x 128, half of it if there are too many
@pytest.mark.parametrize(("images", "step"), [(6, 8), (40, 16)])
@pytest.mark.parametrize(("shift", "number"), [(-100, 1), (100, 2)], ids=["lower", "higher"])
@pytest.mark.parametrize("decimals", [None, 0], ids=["distinct", "tied"])
def test_a_sample_that_misleads_only_costs_time(
    decimals: int | None, shift: int, number: int, images: int, step: int, limit: float, counts: list[int]
) -> None:
    maps, masks = pro_peers.make_set(images, 128, share=0.1)
    maps = maps if decimals is None else maps.round(decimals)
    maps.reshape(images, -1)[:, ::step] += shift
    check(maps, masks, limit)
    assert len(counts) == number
    if number == 2:
        assert counts[0] < counts[1] == len(np.unique(maps[masks]))


def test_defects_above_the_cut_are_not_background(limit: float, counts: list[int]) -> None:
    maps, masks = pro_peers.make_set(6, 128, share=0.4)
    flat, truth = maps.reshape(6, -1), masks.reshape(6, -1)
    truth[:, ::8] = False  # the sample: background that scores higher than the rest of it
    flat[:, ::8] += 100
    maps[:3][masks[:3]] += 200  # enough defects to take the place of background, and some below the cut
    check(maps, masks, limit)
    assert len(counts) == 2


@pytest.mark.parametrize("where", ["defects", "background", "first image"])
@pytest.mark.parametrize("shift", [-100, 100])
def test_scores_far_from_the_others(shift: int, where: str, limit: float, counts: list[int]) -> None:
    maps, masks = pro_peers.make_set(8, 128, share=0.1)
    maps[{"defects": masks, "background": ~masks, "first image": np.s_[0]}[where]] += shift
    check(maps, masks, limit)
    assert len(counts) == 1


@pytest.mark.parametrize("first", [1, 100, 2**17], ids=["a pixel", "a small image", "a large image"])
def test_the_first_image_sets_the_step(first: int, limit: float) -> None:
    # cutting the pixels of a set into other images without changing its regions changes nothing
    maps, masks = (x.reshape(1, -1) for x in pro_peers.make_set(20, 128, share=0.1))
    bounds = [0, first, first + 5, masks.size // 2, masks.size]
    masks[0, bounds[1:-1]] = False  # no region lies across
    parts = [[x[:, a:b] for a, b in pairwise(bounds)] for x in (maps, masks)]
    want = pro_peers.definition(maps[None], masks[None], limit)
    assert au_pro(*parts, fpr_limit=limit) == pytest.approx(want, rel=0, abs=1e-11)


def test_more_images_than_samples(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defect_pixels, "_SAMPLE", 4)
    maps, masks = pro_peers.make_set(20, 16, share=0.1)
    check(maps, masks, limit)
    assert auroc([np.array([x]) for x in range(20)], [np.array([x % 2]) for x in range(20)]) == 0.55
