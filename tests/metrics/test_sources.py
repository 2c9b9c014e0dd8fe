"""Sets that are read twice, counted up to a limit, and looked at region by region."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from map_sets import MAPS, MASKS, TYPES, Arrays, figures, figures_of, images, part
from numpy.typing import NDArray
from scipy import ndimage

from stadx.core.errors import DataError
from stadx.metrics import ProEvaluator, evaluate_maps, f1_max


def source(maps: Arrays = MAPS, masks: Arrays = MASKS) -> list[tuple[NDArray[Any], NDArray[Any], str]]:
    return list(zip(maps, masks, TYPES, strict=True))


class Made:
    """Images made anew on each reading; on one, scores have `offset` more and only `count` images come."""

    def __init__(self, offset: float = 0.0, count: int = 9, changed: int = 2) -> None:
        self.readings, self.offset, self.count, self.changed = 0, offset, count, changed

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any], str]]:
        self.readings += 1  # when the first image is asked for
        other = self.readings == self.changed
        for scores, mask, defect in source(*images())[: self.count if other else 9]:
            yield scores + other * np.float32(self.offset), mask, defect


@pytest.mark.parametrize("connectivity", [4, 8])
def test_a_source_that_is_read_twice(connectivity: int) -> None:
    collected = part(0, 9, connectivity=connectivity).compute()
    for both in (source(), made := Made()):
        metrics = evaluate_maps(both, connectivity=connectivity)
        assert figures(metrics) == figures_of(MAPS, MASKS, connectivity)
        assert metrics.regions() == collected.regions()
    assert made.readings == 2
    assert evaluate_maps([s[:2] for s in source()]).regions()[0].defect == ""


@pytest.mark.parametrize("twice", [False, True])
def test_counting_up_to_a_limit(twice: bool) -> None:
    metrics = evaluate_maps(source(), fpr_limit=0.3) if twice else part(0, 9).compute(fpr_limit=0.3)
    everything = part(0, 9).compute()
    for limit in (0.3, 0.1):
        assert metrics.au_pro(limit) == everything.au_pro(limit)
        np.testing.assert_array_equal(metrics.region_au_pro(limit), everything.region_au_pro(limit))
        assert metrics.per_defect(limit) == everything.per_defect(limit)
    for call in (metrics.au_pro, metrics.region_au_pro, metrics.per_defect):
        with pytest.raises(DataError, match=r"fpr_limit is 0\.5, but scores were only counted up to 0\.3"):
            call(0.5)
    for name in ("auroc", "aupr", "f1_max", "best_threshold", "pro_curve", "regions", "bootstrap"):
        with pytest.raises(DataError, match=r"only counted up to a false-positive rate of 0\.3"):
            getattr(metrics, name)()
    for limit in (0.0, 1.5, float("nan")):
        with pytest.raises(DataError, match="must lie in"):
            part(1, 2).compute(fpr_limit=limit)


def test_sources_that_cannot_be_read_twice() -> None:
    for iterator in (zip(MAPS, MASKS, strict=True), iter([])):
        with pytest.raises(DataError, match="only once"):
            evaluate_maps(iterator)
    for changed in (Made(offset=0.03), Made(count=8), Made(count=0)):
        with pytest.raises(DataError, match="not the same when read again"):
            evaluate_maps(changed)


@pytest.mark.parametrize("count", [0, 8])
def test_bootstrap_of_a_source_that_changes(count: int) -> None:
    metrics = evaluate_maps(Made(count=count, changed=3))
    with pytest.raises(DataError, match="not the same when read again"):
        metrics.bootstrap(replicates=10)


def test_what_is_not_an_image_is_refused() -> None:
    maps, masks = np.eye(6).reshape(2, 1, 6, 3), np.ones((2, 1, 6, 3), bool)  # a batch with a channel
    for call in (lambda: ProEvaluator().update(maps, masks), lambda: evaluate_maps([(maps[0], maps[0] > 0)])):
        with pytest.raises(DataError, match=r"must be \[H, W\]"):
            call()


def test_names_in_errors() -> None:
    names, broken = [f"{i}.png" for i in range(9)], MAPS[6].copy()
    broken[3, 5] = np.nan
    bad = source([*MAPS[:6], broken, *MAPS[7:]])
    for limit in (1.0, 0.1):
        with pytest.raises(DataError, match=r"^6\.png: maps contain NaN"):
            evaluate_maps(bad, names=names, fpr_limit=limit)
    bad[4] = (MAPS[4], MASKS[4][1:], "")
    for given_names, name in ((names, "4.png"), (None, "image 4")):
        with pytest.raises(DataError, match=f"^{name}: maps have shape"):
            evaluate_maps(bad, names=given_names)
    with pytest.raises(DataError, match="there are 3 names but more images"):
        evaluate_maps(source(), names=names[:3])


@pytest.mark.parametrize(("given_source", "names"), [(source(), None), (Made(), None), (Made(), TYPES)])
def test_progress(given_source: Any, names: list[str] | None) -> None:
    calls: list[tuple[str, int, int]] = []
    evaluate_maps(given_source, names=names, progress=lambda stage, done, total, _: calls.append((stage, done, total)))
    known = names is not None or isinstance(given_source, list)
    assert calls == [(s, i, 9 if known else i) for s in ("Defects", "Background") for i in range(1, 10)]


def test_memory_does_not_grow_with_the_images() -> None:
    class Many:
        def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
            ramp = np.arange(2**20, dtype=np.float32).reshape(1024, 1024)
            for i in range(60):
                yield ramp * (i + 1), ramp < 100

    tracemalloc.start()
    try:
        assert evaluate_maps(Many()).num_defect == 6000
        assert tracemalloc.get_traced_memory()[1] < 0.4 * 60 * 2**20 * 5  # of the bytes of maps and masks
    finally:
        tracemalloc.stop()


def brute_force_regions(limit: float, threshold: float, connectivity: int) -> list[tuple[Any, ...]]:
    """AU-PRO, image, first pixel, area, highest score, overlap, type: for each region every score of the set."""
    scores = np.unique(np.concatenate([m.ravel().astype(np.float64) for m in MAPS]))[::-1]
    outside = np.concatenate([m[~k].astype(np.float64) for m, k in zip(MAPS, MASKS, strict=True)])
    fpr = [0.0, *((outside >= t).mean() for t in scores)]
    found: list[tuple[Any, ...]] = []
    for image, (values, mask) in enumerate(zip(MAPS, MASKS, strict=True)):
        labels, count = ndimage.label(mask, ndimage.generate_binary_structure(2, 2 if connectivity == 8 else 1))
        for first, k in sorted((int(np.flatnonzero(labels == k)[0]), k) for k in range(1, count + 1)):
            own = values[labels == k].astype(np.float64)
            share, area = [0.0, *((own >= t).mean() for t in scores)], 0.0
            for (x0, x1), (y0, y1) in zip(pairwise(fpr), pairwise(share), strict=True):
                inside = min(max(limit - x0, 0) / (x1 - x0), 1) if x1 > x0 else 0
                area += inside * (x1 - x0) * (y0 + inside * (y1 - y0) / 2)
            place = image, first // values.shape[1], first % values.shape[1]
            found.append((area / limit, *place, own.size, own.max(), (own >= threshold).mean(), TYPES[image]))
    return found


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize(("limit", "threshold"), [(0.3, None), (0.05, 0.5), (1.0, -100.0), (0.3, np.inf)])
def test_regions_against_scipy(connectivity: int, limit: float, threshold: float | None) -> None:
    metrics = part(0, 9, connectivity=connectivity).compute()
    want = brute_force_regions(limit, f1_max(MAPS, MASKS)[1] if threshold is None else threshold, connectivity)
    got = metrics.regions(threshold, limit)
    assert [(r.image, r.row, r.column, r.area, r.highest, r.overlap, r.defect) for r in got] == [w[1:] for w in want]
    np.testing.assert_allclose([r.au_pro for r in got], [w[0] for w in want], rtol=0, atol=1e-12)
    assert np.mean([r.au_pro for r in got]) == metrics.au_pro(limit)
    types = {t: np.mean([w[0] for w in want if w[-1] == t]) for t in ("crack", "cut", "hole")}
    assert metrics.per_defect(limit) == pytest.approx(types, rel=0, abs=1e-12)


def test_overlap_at_a_threshold_between_two_floats() -> None:
    scores = np.array([[0.0, 0.7]], np.float32)
    metrics = ProEvaluator().update(scores, scores > 0).compute()
    assert metrics.regions(float(scores[0, 1]) + 1e-12)[0].overlap == 0.0
