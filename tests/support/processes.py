"""Several processes that work together, as torchrun starts them, without its own second of waiting."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path


def run_together(processes: int, *arguments: object, fails: bool = False) -> list[str]:
    """Run Python with these arguments in several processes; what each printed.

    Args:
        fails: whether all are to end with an error.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    started = []
    for rank in range(processes):
        here = {**os.environ, "OMP_NUM_THREADS": "1", "RANK": str(rank), "WORLD_SIZE": str(processes)}
        here |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONFAULTHANDLER": "1"}
        command = [sys.executable, *map(str, arguments)]
        started.append(subprocess.Popen(command, env=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    try:
        told = [process.communicate(timeout=180) for process in started]
    finally:
        for process in started:
            process.kill()
    assert all((process.returncode != 0) == fails for process in started), "\n".join(error for _, error in told)
    return [output + error for output, error in told]


def print_threads() -> None:
    """Print the names of this process's threads, on Linux, when none of a process group is left, or after 10 s."""
    names = ["gloo"]
    for _ in range(100):  # a thread that has been waited for may be listed a little longer
        if not any("gloo" in name for name in names):
            break
        time.sleep(0.1)
        names = []
        for task in Path("/proc/self/task").glob("*"):
            with contextlib.suppress(OSError):  # it has ended
                names.append(task.joinpath("comm").read_text().strip())
    print("threads:", *names)


def assert_no_group_is_left(told: list[str]) -> None:
    """Of processes that ended with `print_threads`: a group's threads can end them with an error as Python ends."""
    for text in told:
        (threads,) = (line for line in text.splitlines() if line.startswith("threads:"))
        assert "gloo" not in threads, threads
