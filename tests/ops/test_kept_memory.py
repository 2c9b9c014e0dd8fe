"""The memory of freed labels that stadx.ops.label_regions keeps: reused, bounded, and never that of two tensors."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from stadx import ops

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is kept")

SIDE = 1024
LEAST, MOST = 8, 32  # masks of SIDE² whose labels are kept: from 32 to 128 MiB
BYTES = 4 * SIDE**2  # of the labels of one mask


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    ops.release_kept_memory()
    yield
    ops.release_kept_memory()


def _stripes(count: int, step: int) -> tuple[Tensor, Tensor]:
    """Masks [count, SIDE, SIDE] with a row in `step`, and their labels."""
    rows = torch.arange(SIDE)
    labels = torch.where(rows % step == 0, rows // step + 1, 0).int()
    return (rows % step == 0).expand(count, SIDE, SIDE).mT.contiguous(), labels[:, None].expand(count, SIDE, SIDE)


def _faults() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def test_new_labels_take_the_memory_of_the_last_without_page_faults() -> None:
    mask, want = _stripes(16, 3)
    for _ in range(2):  # the first time everything is new
        labels, _ = ops.label_regions(mask)
        del labels
    faults = []
    for _ in range(3):
        before = _faults()
        labels, counts = ops.label_regions(mask)
        faults.append(_faults() - before)
        assert torch.equal(labels, want)
        del labels
    assert min(faults) < 100  # new memory: 544 with large pages, 16,384 without
    assert counts.tolist() == [342] * 16


def test_of_labels_in_a_loop_the_last_still_live() -> None:
    mask, want = _stripes(LEAST, 2)
    places = set()
    for _ in range(6):
        labels, _ = ops.label_regions(mask)  # replaces the last ones when these are there
        places.add(labels.data_ptr())
    assert len(places) == 2
    assert torch.equal(labels, want)


@pytest.mark.parametrize(
    ("count", "kept"), [(LEAST - 1, 0), (LEAST, LEAST * BYTES), (MOST, MOST * BYTES), (MOST + 1, 0)]
)
def test_what_is_kept_is_bounded_and_can_be_released(count: int, kept: int) -> None:
    mask, _ = _stripes(count, 512)
    labels = [ops.label_regions(mask)[0] for _ in range(2)]
    assert ops.release_kept_memory() == 0  # while labels live, nothing is
    del labels
    assert ops.release_kept_memory() == kept  # of two that are freed, the last
    assert ops.release_kept_memory() == 0


def test_a_block_serves_sizes_down_to_half() -> None:
    assert ops.label_regions(_stripes(2 * LEAST, 512)[0])[0].numel()
    labels, _ = ops.label_regions(_stripes(LEAST, 4)[0])
    assert labels.untyped_storage().nbytes() == LEAST * BYTES
    del labels
    assert ops.label_regions(_stripes(2 * LEAST + 1, 4)[0])[0].numel()  # it is too small for these
    assert ops.release_kept_memory() == -(-(2 * LEAST + 1) * BYTES // 2**21) * 2**21


def test_what_still_lives_keeps_its_memory() -> None:
    mask, want = _stripes(LEAST, 5)
    other, other_want = _stripes(LEAST, 7)
    part, array = ops.label_regions(mask)[0][3], ops.label_regions(mask)[0].numpy()
    labels, _ = ops.label_regions(other)
    shared = pickle.loads(pickle.dumps(labels)).share_memory_()
    labels.share_memory_()  # moves them: what they leave is kept
    again, _ = ops.label_regions(mask)
    assert torch.equal(part, want[0]) and (array == want.numpy()).all() and torch.equal(again, want)
    assert torch.equal(labels, other_want) and torch.equal(shared, other_want)


def test_threads_never_share_labels() -> None:
    start = threading.Barrier(4)

    def work(step: int) -> bool:
        torch.set_num_threads(1)
        mask, want = _stripes(LEAST + step % 2, step)
        start.wait()
        held: list[Tensor] = []
        right = True
        for i in range(12):
            held.append(ops.label_regions(mask)[0])
            right &= all(torch.equal(labels, want) for labels in held)
            if len(held) > i % 3:
                held.pop(0)
        return right

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, [2, 3, 4, 5]))
    finally:
        torch.set_num_threads(threads)
    assert 0 < ops.release_kept_memory() <= (LEAST + 1) * BYTES + 2**21


def test_after_a_fork_both_have_their_own() -> None:
    mask, want = _stripes(LEAST, 4)
    other, other_want = _stripes(LEAST, 6)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process has none of the others
    try:
        held, _ = ops.label_regions(mask)
        assert ops.label_regions(mask)[0].numel()  # kept from here on
        child = os.fork()
        if child == 0:
            labels, _ = ops.label_regions(other)
            right = torch.equal(labels, other_want) and torch.equal(held, want)
            os._exit(0 if right and ops.release_kept_memory() == 0 else 1)
        labels, _ = ops.label_regions(mask)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert torch.equal(labels, want) and torch.equal(held, want)
    finally:
        torch.set_num_threads(threads)
