"""Sets that arrive in parts, are merged or spilled have exactly the metrics of the whole."""

from __future__ import annotations

import os
import pickle
import resource
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from map_sets import MAPS, MASKS, figures, figures_of, part
from scipy import ndimage

from stadx.core.errors import DataError, OutputError
from stadx.metrics import ProEvaluator, au_pro, evaluator
from stadx.metrics.spill import Spill


@cache
def whole(start: int = 0, stop: int = 9, connectivity: int = 8) -> list[Any]:
    return figures_of(MAPS[start:stop], MASKS[start:stop], connectivity)


@pytest.mark.parametrize("bounds", [range(10), [0, 9], [0, 4, 9], [0, 0, 2, 5, 8, 9]])
def test_batches_of_any_size(bounds: list[int]) -> None:
    collected = ProEvaluator()
    for i, j in pairwise(bounds):
        assert len(collected.update(MAPS[i:j], MASKS[i:j])) == j
    metrics = collected.compute()
    assert figures(metrics) == whole()
    assert (metrics.num_images, metrics.num_defect) == (9, sum(int(m.sum()) for m in MASKS))
    assert metrics.num_background == sum(m.size for m in MASKS) - metrics.num_defect
    assert metrics.num_regions == sum(ndimage.label(m, np.ones((3, 3)))[1] for m in MASKS)


def test_kinds_of_batches() -> None:
    batch, truth = np.stack(MAPS[4:8:3]), np.stack(MASKS[4:8:3])  # both 24 × 24
    collected = ProEvaluator().update(MAPS[5], MASKS[5]).update(torch.from_numpy(batch), torch.from_numpy(truth))
    collected.update([torch.from_numpy(MAPS[2])], [MASKS[2].astype(np.uint8) * 255]).update([], [])
    assert figures(collected.compute()) == figures_of([MAPS[5], *batch, MAPS[2]], [MASKS[5], *truth, MASKS[2]])


@pytest.mark.parametrize("bounds", [[0, 4, 9], [0, 2, 3, 9], [0, 1, 6, 9], [0, 0, 9], [0, 9, 9], [0, 0, 9, 9]])
@pytest.mark.parametrize("pickled", [False, True])
def test_merge_equals_the_whole(bounds: list[int], pickled: bool) -> None:
    parts = [part(i, j) for i, j in pairwise(bounds)]
    first, *others = pickle.loads(pickle.dumps(parts)) if pickled else parts
    for other in others:
        first.merge(other)
    assert len(first) == 9
    metrics, at_once = first.compute(), part(0, 9).compute()
    assert figures(metrics) == whole()
    assert (metrics.regions(), metrics.per_defect()) == (at_once.regions(), at_once.per_defect())
    assert metrics.bootstrap(replicates=5) == at_once.bootstrap(replicates=5)
    # The merged sample of scores only says where the counting may begin; wherever that is, the count is exact.
    for limit in (0.3, 0.1, 0.02):
        assert first.compute(fpr_limit=limit).au_pro(limit) == au_pro(MAPS, MASKS, fpr_limit=limit)


def test_merge_leaves_the_other_usable() -> None:
    first, second = part(0, 5), part(5, 8)
    first.merge(second)
    second.update(MAPS[8], MASKS[8])
    assert (figures(first.compute()), figures(second.compute())) == (whole(0, 8), whole(5, 9))
    first.reset()
    assert figures(second.compute()) == whole(5, 9)


def test_merge_with_itself_counts_every_image_twice() -> None:
    collected = part(0, 9)
    assert figures(collected.merge(collected).compute()) == figures_of(MAPS * 2, MASKS * 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 6), max_size=3), st.permutations(range(6)))
def test_any_split_and_any_order(seed: int, splits: list[int], order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    maps = [rng.integers(0, 9, (6, 5 + i)).astype([np.float32, np.float64][i % 2]) for i in range(6)]
    masks = [rng.random(m.shape) < 0.3 for m in maps]
    masks[3][0, :2] = True, False
    want, merged = figures(ProEvaluator().update(maps, masks).compute()), ProEvaluator()
    for i, j in pairwise([0, *sorted(splits), 6]):
        merged.merge(ProEvaluator().update(maps[i:j], masks[i:j]))
    assert figures(merged.compute()) == want
    other = ProEvaluator().update([maps[i] for i in order], [masks[i] for i in order]).compute()
    assert figures(other)[:-1] == pytest.approx(want[:-1], rel=0, abs=1e-12)


@pytest.mark.parametrize("budget", [0, 30_000])
def test_spilled_maps_give_the_same(budget: int, tmp_path: Path) -> None:
    first = part(0, 4, memory_budget=budget, folder=tmp_path)
    second = part(4, 9, memory_budget=0, folder=tmp_path)
    travelled = pickle.loads(pickle.dumps(second))
    assert figures(travelled.compute()) == whole(4, 9)
    metrics = first.merge(second).compute()
    del second, travelled  # the merged one still needs the file
    assert figures(metrics) == figures(first.compute()) == whole()
    before = metrics.bootstrap(replicates=10)
    first.reset()
    assert metrics.bootstrap(replicates=10) == before  # the maps live as long as the result
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("available", "files"), [(2**32 + 10**6, 0), (2**32 + 10**5, 1), (0, 1)])
def test_maps_go_to_a_file_where_memory_is_short(
    available: int, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "available_bytes", lambda: available)
    monkeypatch.setattr(evaluator, "_LEAST_BUDGET", MAPS[0].nbytes)
    made: list[Any] = []
    append = Spill.append
    monkeypatch.setattr(Spill, "append", lambda self, values: made.append(values) or append(self, values))
    assert figures(part(0, 9, folder=tmp_path).compute()) == whole()
    assert bool(made) == bool(files)


def test_more_spilled_maps_than_open_files(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = max(map(int, os.listdir("/proc/self/fd"))) + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        collected = ProEvaluator(memory_budget=0, folder=tmp_path).update(MAPS[3:4] * few, MASKS[3:4] * few)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(collected) == few


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    collected = part(0, 2, folder=tmp_path / "missing", memory_budget=sum(m.nbytes for m in MAPS[:2]))
    with pytest.raises(OutputError, match=r"missing: cannot hold 49152 bytes of maps \(No such file"):
        collected.update(MAPS[2:], MASKS[2:])
    assert len(collected) == 2
    assert figures(collected.compute()) == whole(0, 2)


def test_a_failed_update_takes_none_of_the_budget(tmp_path: Path) -> None:
    collected = ProEvaluator(folder=tmp_path / "missing", memory_budget=MAPS[1].nbytes)
    with pytest.raises(OutputError):
        collected.update(MAPS[1:3], MASKS[1:3])
    assert len(collected.update(MAPS[1], MASKS[1])) == 1


def test_a_failed_merge_keeps_nothing(tmp_path: Path) -> None:
    collected = part(0, 2, folder=tmp_path / "missing", memory_budget=sum(m.nbytes for m in MAPS[:2]))
    with pytest.raises(OutputError, match="missing"):
        collected.merge(part(2, 9))
    assert figures(collected.compute()) == figures_of(MAPS[:2], MASKS[:2])


def test_reset_and_more_after_compute() -> None:
    collected = part(5, 9)
    collected.reset()
    assert len(collected) == 0
    with pytest.raises(DataError, match="no defect"):
        collected.compute()
    early = collected.update(MAPS[:4], MASKS[:4]).compute()
    late = collected.update(MAPS[4:], MASKS[4:]).compute()
    assert figures(early) == whole(0, 4)  # although it is only evaluated now
    assert figures(late) == whole()


def test_an_update_that_fails_keeps_nothing() -> None:
    collected, broken = part(0, 3), MAPS[4].copy()
    broken[3, 4] = np.nan
    for maps, masks, message in [
        ([MAPS[3], broken], MASKS[3:5], "image 4: maps contain NaN"),
        ([MAPS[3], MAPS[4][1:]], MASKS[3:5], r"image 1: maps have shape \(23, 24\) but masks \(24, 24\)"),
        (MAPS[3:5], [MASKS[3], MASKS[4].astype(float)], "image 1: masks are float64"),
        ([MAPS[3], MAPS[4].astype(complex)], MASKS[3:5], "image 1: maps are complex128"),
        (MAPS[3:5], MASKS[3:4], "2 maps but 1 masks"),
    ]:
        with pytest.raises(DataError, match=message):
            collected.update(maps, masks)
    with pytest.raises(DataError, match="1 defect types but 2 maps"):
        collected.update(MAPS[3:5], MASKS[3:5], ["crack"])
    assert len(collected) == 3
    assert figures(collected.compute()) == whole(0, 3)


def test_given_arrays_may_change_afterwards() -> None:
    maps, masks = [torch.from_numpy(m.copy()) if m.size % 3 else m.copy() for m in MAPS], [m.copy() for m in MASKS]
    collected = ProEvaluator().update(maps, masks)
    for array in [*maps, *masks]:
        array[:] = 1
    assert figures(collected.compute()) == whole()


@pytest.mark.filterwarnings("error")
def test_arrays_that_may_not_be_written_cause_no_warning() -> None:
    torch.set_warn_always(True)  # else only the first array of a process is warned of
    maps, masks = MAPS[1].copy(), MASKS[1].copy()
    maps.flags.writeable = masks.flags.writeable = False
    try:
        assert figures(ProEvaluator().update(maps, masks).compute()) == whole(1, 2)
    finally:
        torch.set_warn_always(False)


def test_connectivity_is_kept_and_checked() -> None:
    four = part(0, 4, connectivity=4)
    four.reset()
    four = pickle.loads(pickle.dumps(four)).update(MAPS, MASKS)
    assert figures(four.compute()) == whole(0, 9, 4) != whole()
    with pytest.raises(DataError, match="connectivity 8 cannot be merged into 4"):
        four.merge(ProEvaluator())
    with pytest.raises(DataError, match="connectivity is 6"):
        ProEvaluator(connectivity=6)


def test_a_sample_that_misleads() -> None:
    rng = np.random.default_rng(1)
    maps, masks = rng.random((40, 64, 64)), rng.random((40, 64, 64)) < 0.05
    maps[:, :, ::2] += 1  # what the sample holds, so that twice as many scores seem to be high as are
    collected = ProEvaluator().update(maps, masks)
    for limit in (0.1, 0.3, 0.6):
        assert collected.compute(fpr_limit=limit).au_pro(limit) == collected.compute().au_pro(limit)
