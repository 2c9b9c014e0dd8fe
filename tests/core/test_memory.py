"""Freed memory stays within, and goes back at the end."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest
import torch

from stadx.core import memory
from stadx.core.memory import available_bytes, keep_freed_memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tunes glibc, of Linux")


@torch.no_grad()
def faults_of_large_tensors() -> int:
    """Page faults of sums larger than 32 MB, the fewest of several: memory takes a while to settle.

    Beyond that glibc maps a block anew unless its heap has room already.
    """
    terms, faults = torch.ones(12 << 20), []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(3):
            terms = terms + 1
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(faults)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def measure() -> dict[str, int]:
    figures = {"outside": faults_of_large_tensors()}
    with keep_freed_memory(), keep_freed_memory():
        figures["within"] = faults_of_large_tensors()
        figures["kept"] = resident()
    figures["given back"] = figures["kept"] - resident()
    # whether blocks are mapped anew afterwards is chance: the heap may have room for them, without its pages
    try:
        with keep_freed_memory():
            faults_of_large_tensors()
            kept = resident()
            raise ZeroDivisionError
    except ZeroDivisionError:
        figures["given back after an error"] = kept - resident()
    return figures


def test_large_tensors_cost_no_page_faults_within() -> None:
    # in a process of its own: a heap that other tests have left with large holes has no faults to save
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["within"] < figures["outside"] / 4 and figures["outside"] > 100, figures
    assert min(figures["given back"], figures["given back after an error"]) > 60 << 20, figures


def test_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), keep_freed_memory():
        raise ZeroDivisionError


if __name__ == "__main__":
    print(json.dumps(measure()))


def test_available_memory_is_that_of_the_system_and_of_the_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sys.platform != "linux" or 0 < available_bytes() < 2**50
    files = {"/proc/meminfo": ["MemTotal: 900 kB", "MemAvailable:     500 kB"]}
    monkeypatch.setattr(memory, "_lines", lambda path: files.get(path, []))
    assert available_bytes() == 500 * 1024
    limit, used = memory._CONTAINERS[0]
    files |= {limit: ["max"], used: ["7"]}
    assert available_bytes() == 500 * 1024
    files[limit] = ["3007"]
    assert available_bytes() == 3000
    files[used] = ["4000"]
    assert available_bytes() == 0
    files.clear()
    assert available_bytes() == 0
