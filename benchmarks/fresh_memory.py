"""What memory costs that nobody has written to yet, beside memory that is kept: why labels keep theirs. Linux only.

Run `python benchmarks/fresh_memory.py --help`.
"""

from __future__ import annotations

import mmap
import resource
import statistics
import time
from typing import Annotated

import numpy as np
import typer

LARGE_PAGE = 2**21


def main(
    mebibytes: Annotated[
        int, typer.Option(min=2, help="Size of what is written, such as labels of 16 x 1024 x 1024.")
    ] = 64,
    pause: Annotated[float, typer.Option(min=0, help="Seconds before each: a host may take back what is free.")] = 0.1,
    rounds: Annotated[int, typer.Option(min=1, help="Of which median, least and most are printed.")] = 5,
) -> None:
    """Print milliseconds and page faults of writing to memory, by one thread."""
    found: dict[str, list[tuple[float, int]]] = {"new": [], "new, large pages": [], "kept": []}
    for _ in range(rounds):
        for name, advice in (("new", mmap.MADV_NOHUGEPAGE), ("new, large pages", mmap.MADV_HUGEPAGE)):
            time.sleep(pause)
            with mmap.mmap(-1, (mebibytes << 20) + LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
                memory.madvise(advice)
                found[name].append(_write(memory, mebibytes))
                if advice == mmap.MADV_HUGEPAGE:
                    memory.madvise(mmap.MADV_FREE)
                    time.sleep(pause)
                    found["kept"].append(_write(memory, mebibytes))
    print(f"{mebibytes} MiB, {pause:g} s before each, {rounds} rounds: ms, median, least and most; page faults")
    for name, figures in found.items():
        times = [1e3 * seconds for seconds, _ in figures]
        faults = statistics.median(faults for _, faults in figures)
        print(f"{name:20s} {statistics.median(times):8.2f} {min(times):8.2f} {max(times):8.2f} {faults:8.0f}")


def _write(memory: mmap.mmap, mebibytes: int) -> tuple[float, int]:
    """Seconds and page faults of filling it from its first large page on."""
    values = np.frombuffer(memory, np.uint8)
    first = -values.ctypes.data % LARGE_PAGE
    values = values[first : first + (mebibytes << 20)]
    faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    values.fill(1)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults


if __name__ == "__main__":
    typer.run(main)
