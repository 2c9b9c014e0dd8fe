"""Patches made ahead of the training that uses them: on a thread, or in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

import torch
from torch import Tensor

from stadx.core.errors import StadxError

from ..decode import UInt8Array
from .patches import PhotoPatches


def patch_stream(
    source: PhotoPatches,
    steps: Sequence[int],
    count: int,
    *,
    triplets: bool = False,
    part: slice = slice(None),
    workers: int = 0,
) -> Generator[Tensor, None, None]:
    """`source.batch`, or `source.triplets`, of every step in order, the next ones being made meanwhile.

    What comes out is the same for any number of workers.

    Args:
        source: where the patches come from.
        steps: which steps, in this order; a step may come again.
        count: patches of the whole step.
        triplets: `source.triplets` instead.
        part: which of the patches.
        workers: processes that decode and cut; 0 is one thread of this process. Each has its share of the memory for
            decoded photos. They start anew (spawn): a script needs `if __name__ == "__main__":` around its work.

    Yields:
        uint8 [n, 3, p, p], or [3, n, 3, p, p] with triplets.

    Raises:
        DataError: if too few photos can be read.
        StadxError: if a worker was killed.
    """
    pool: Executor
    if workers == 0:
        pool = ThreadPoolExecutor(1)

        def submit(step: int) -> Future[tuple[UInt8Array, list[str]]]:
            return pool.submit(_make, source, step, count, triplets, part)
    else:
        ours = PhotoPatches(
            source.photos,
            source.patch_size,
            crop=source.crop,
            zoom=source.zoom,
            enlarge=source.enlarge,
            seed=source.seed,
            grey=source.grey,
            luminance=source.luminance,
            noise=source.noise,
            cache_bytes=source.cache_bytes // workers,
        )
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (ours,))

        def submit(step: int) -> Future[tuple[UInt8Array, list[str]]]:
            return pool.submit(_make_in_worker, step, count, triplets, part)

    ahead: deque[Future[tuple[UInt8Array, list[str]]]] = deque()
    following = iter(steps)
    told: set[str] = set()
    try:
        for _ in steps:
            while len(ahead) < max(4, 2 * workers) and (step := next(following, None)) is not None:
                ahead.append(submit(step))
            patches, messages = ahead.popleft().result()
            for message in messages:
                if message not in told:  # every worker finds the same broken photos
                    told.add(message)
                    warnings.warn(message, stacklevel=2)
            yield torch.from_numpy(patches)
    except BrokenProcessPool as error:
        raise StadxError(
            "a process that decodes photos ended too early: killed for want of memory (use fewer workers), or started "
            'from a script without `if __name__ == "__main__":` around its work'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make(source: PhotoPatches, step: int, count: int, triplets: bool, part: slice) -> tuple[UInt8Array, list[str]]:
    patches = source.triplets(step, count, part) if triplets else source.batch(step, count, part)
    return patches.numpy(), []


_source: PhotoPatches | None = None  # of a worker process


def _start(source: PhotoPatches) -> None:
    global _source
    _source = source
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # a killed parent cannot tell them


def _make_in_worker(step: int, count: int, triplets: bool, part: slice) -> tuple[UInt8Array, list[str]]:
    assert _source is not None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patches, _ = _make(_source, step, count, triplets, part)
    return patches, [str(warning.message) for warning in caught]
