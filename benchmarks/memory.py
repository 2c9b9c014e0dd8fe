"""How much memory a call takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def peak_of(call: Callable[[], Result], seconds: float = 0.001) -> tuple[Result, int]:
    """What a call gives, and bytes in memory at its peak above those before it, looked at every so many `seconds`."""
    before, done = resident(), threading.Event()
    peak = before

    def watch() -> None:
        nonlocal peak
        while not done.wait(seconds):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = call()
    finally:
        done.set()
        watcher.join()
    return result, peak - before


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak_so_far() -> int:
    """Most bytes that this process had in memory; `resource` would count those of the one it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10
