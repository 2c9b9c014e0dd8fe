"""Stages that overlap do what one after the other would, in order; nothing is lost when one fails or is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from brightness import Brightness
from data_sets import draw_image

from stadx.evaluation.overlapping import overlapping
from stadx.evaluation.prediction import SCORES_FILE, predict_files


def failing_at(stage: str, item: int, error: BaseException) -> dict[str, Callable[..., int]]:
    """Stages that double and double again, one of which raises for an item."""

    def step(name: str, number: int, value: int) -> int:
        if (name, number) == (stage, item):
            raise error
        return 2 * value

    return {
        "read": lambda n: step("read", n, n),
        "work": lambda n, value: step("work", n, value),
        "write": lambda n, value: step("write", n, value),
    }


@pytest.mark.parametrize("stage", ["read", "work", "write", "none"])
@pytest.mark.parametrize("items", [0, 1, 2, 5])
def test_every_item_in_order_and_what_fails_alone(stage: str, items: int) -> None:
    error = ValueError("no")
    seconds: dict[str, float] = {}
    found = list(overlapping(range(items), **failing_at(stage, 1, error), seconds=seconds))
    assert found == [(n, error if n == 1 and stage != "none" else 8 * n) for n in range(items)]
    assert set(seconds) == ({"read", "work", "write"} if items else set())


def test_the_next_is_read_and_the_last_written_meanwhile() -> None:
    reading, writing = threading.Event(), threading.Event()

    def read(item: int) -> int:
        if item == 2:
            reading.set()
        return item

    def work(item: int, value: int) -> int:
        if item == 1:  # neither comes to pass if the stages wait for each other
            assert reading.wait(10) and writing.wait(10)
        return value

    def write(item: int, value: int) -> int:
        if item == 0:
            writing.set()
        return value

    assert [result for _, result in overlapping(range(4), read, work, write)] == [0, 1, 2, 3]


def test_few_items_are_held() -> None:
    held, most, lock = set(), 0, threading.Lock()

    def read(item: int) -> int:
        nonlocal most
        with lock:
            held.add(item)
            most = max(most, len(held))
        return item

    for item, _ in overlapping(range(20), read, lambda _, value: value, lambda _, value: value):
        with lock:
            held.remove(item)
    assert most <= 4  # two that were worked on, one that is, one that was read


def test_what_was_done_before_an_interruption_is_told() -> None:
    found = []
    with pytest.raises(KeyboardInterrupt):
        for item in overlapping(range(5), **failing_at("work", 3, KeyboardInterrupt())):
            found.append(item)
    assert found == [(0, 0), (1, 8), (2, 16)]
    stages = overlapping(range(5), **failing_at("none", 0, ValueError()))
    next(stages)
    stages.close()


def test_an_interrupted_prediction_has_a_line_for_all_that_is_done(tmp_path: Path) -> None:
    class Interrupted(Brightness):
        left = 3

        def score(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().score(images, stride=stride)

    paths = [draw_image(tmp_path / f"{n}.png") for n in range(6)]
    with pytest.raises(KeyboardInterrupt):
        predict_files(Interrupted(), paths, tmp_path / "out")
    assert len((tmp_path / "out" / SCORES_FILE).read_text().splitlines()) == 3
    assert len(list((tmp_path / "out").glob("*_overlay.png"))) == 3


def test_no_thread_outlives_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is kept, as debuggers and logs do, kept the threads of reading and writing."""
    paths = [draw_image(tmp_path / f"{n}.png") for n in range(4)]
    monkeypatch.setattr("stadx.evaluation.prediction.as_line", lambda line: 1 / 0)
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError) as kept:
        predict_files(Brightness(), paths, tmp_path / "out")
    assert kept.value.__traceback__ is not None
    assert set(threading.enumerate()) <= before
