"""Several processes that work together, as torchrun starts them, without its own second of waiting."""

from __future__ import annotations

import os
import socket
import subprocess
import sys


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
