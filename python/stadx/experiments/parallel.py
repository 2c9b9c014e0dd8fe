"""Independent pieces of work, one after the other or in several processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import get_context
from queue import Empty
from threading import Event, Thread
from typing import Any, TypeVar

import torch

from stadx.core.errors import StadxError
from stadx.core.progress import Progress

T = TypeVar("T")
_SECONDS_BETWEEN_MESSAGES = 0.5
_messages: Any = None  # in a worker: queue to the parent
Runner = Callable[[Sequence[Callable[[Progress], Any]], Progress], list[Any]]
_runner: ContextVar[Runner | None] = ContextVar("runner", default=None)
_stop: Any = None  # in a worker: 1 when the parent wants no more


class _Stopped(BaseException):  # not for those who catch what a task got wrong
    """The parent wants no more."""


@contextmanager
def run_by(runner: Runner) -> Iterator[None]:
    """Within, `run_tasks` leaves its tasks to another, as to a cluster, whatever the number of jobs."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)


def run_tasks(tasks: Sequence[Callable[[Progress], T]], jobs: int, progress: Progress) -> list[T]:
    """Run every task and return what each returned, in order.

    Args:
        tasks: each is called with a progress callback; with several jobs they must be picklable.
        jobs: processes, of one thread each; with 1 the tasks run here, with all threads.
        progress: told what the tasks tell; with several jobs from another thread.

    Raises:
        The first error of a task; the other tasks stop when they next tell how far they are.
        StadxError: if a process was killed.
    """
    if (runner := _runner.get()) is not None:
        return runner(tasks, progress)
    if min(jobs, len(tasks)) <= 1:
        return [task(progress) for task in tasks]
    context = get_context("spawn")  # forking is not safe once torch has threads
    # no lock around the flag: a process that is killed would keep it
    messages, stop, ended = context.Queue(), context.RawValue("b", 0), Event()

    def tell() -> None:
        while True:
            try:
                progress(*messages.get(timeout=0.2))
            except Empty:
                if ended.is_set():
                    return

    listener = Thread(target=tell, daemon=True)
    listener.start()
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), context, _begin, (messages, stop))
    try:
        futures = [pool.submit(_run, task) for task in tasks]
        pool.submit(int)  # Python 3.11 watches a process only from the next task on: the last one could die unseen
        wait(futures, return_when=FIRST_EXCEPTION)
        failed = [future for future in futures if future.done() and future.exception() is not None]
        return [future.result() for future in failed or futures]
    except BrokenProcessPool as error:
        raise StadxError(
            "a process was killed, perhaps for want of memory; run the same command again with fewer jobs"
        ) from error
    finally:
        stop.value = 1
        pool.shutdown(cancel_futures=True)
        ended.set()
        listener.join()


def _begin(messages: Any, stop: Any) -> None:
    """Prepare a worker."""
    global _messages, _stop
    _messages, _stop = messages, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent says what follows
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for scikit-learn, which is not loaded yet


def _run(task: Callable[[Progress], T]) -> T:
    last_stage, last_time = "", 0.0

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        nonlocal last_stage, last_time
        if _stop.value:
            raise _Stopped
        now = time.monotonic()
        if stage != last_stage or done >= total or now - last_time >= _SECONDS_BETWEEN_MESSAGES:
            last_stage, last_time = stage, now
            _messages.put((stage, done, total, dict(figures)))

    return task(progress)
