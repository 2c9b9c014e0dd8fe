"""Several processes work on independent tasks, and write into one file of results."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch

from stadx.core.errors import DataError, StadxError
from stadx.core.progress import Progress, silent
from stadx.experiments import parallel
from stadx.experiments.parallel import run_by, run_tasks
from stadx.experiments.result_store import Identity, ResultStore


@pytest.fixture
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that start with PyTorch loaded, from a server that loads it once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stadx.experiments.parallel"])
    monkeypatch.setattr(parallel, "get_context", lambda method: context)


def _square(number: int, progress: Progress) -> tuple[int, int, int]:
    progress(f"task {number}", 1, 1, {"square": float(number * number)})
    return number * number, os.getpid(), torch.get_num_threads()


def _fail(progress: Progress) -> None:
    raise DataError("x.png: cannot be read")


def _endless(progress: Progress) -> None:
    done = 0
    while True:
        done += 1
        progress("endless", done, done + 1, {})


def _killed(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_in_order_and_progress(quick_processes: None) -> None:
    told: dict[str, Mapping[str, float]] = {}

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        told[stage] = figures

    tasks = [partial(_square, n) for n in range(4)]
    for jobs in (1, 2):
        told.clear()
        results = run_tasks(tasks, jobs, progress)
        assert [square for square, _, _ in results] == [0, 1, 4, 9]
        assert told == {f"task {n}": {"square": n * n} for n in range(4)}
        here = {process == os.getpid() for _, process, _ in results}
        assert here == {jobs == 1}
    assert {threads for _, _, threads in results} == {1}


def test_an_error_ends_the_others(quick_processes: None) -> None:
    with pytest.raises(DataError, match=r"x.png: cannot be read"):
        run_tasks([_endless, _fail, _endless], 2, silent)
    with pytest.raises(StadxError, match="a process was killed, perhaps for want of memory"):
        run_tasks([_endless, _killed], 2, silent)


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "out" / "r.json"

    def identity(number: int, i: int) -> Identity:
        return Identity({"number": number, "i": i}, {"steps": 7}, {f"data {number}": f"hash {number}"})

    def write(number: int) -> None:
        store = ResultStore(file)
        for i in range(5):
            store.keep(identity(number, i), {"torch": "2"}, partial(list, [number, i]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    content = json.loads(file.read_text())["figures"]
    assert {key.rpartition(" | ")[0]: entry["figure"] for key, entry in content.items()} == {
        f"{n} | {i}": [n, i] for n in range(8) for i in range(5)
    }
    assert content[identity(3, 0).key]["inputs"] == {"data 3": "hash 3"}
    store = ResultStore(file)
    store.keep(identity(3, 0), {}, lambda: pytest.fail("is there already"))
    assert store.entry(identity(3, 0))["figure"] == [3, 0]


def test_tasks_are_left_to_another() -> None:
    with run_by(lambda tasks, progress: [f"{len(tasks)} tasks"]):
        assert run_tasks([partial(_square, 1)], 1, silent) == ["1 tasks"]
    assert run_tasks([partial(_square, 3)], 1, silent)[0][0] == 9
