"""The fixture `gpu`: kernels on the host as fibers, in three orders of threads, and on a GPU where there is one."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from simt import host as simt_host

from stadx import ops

SIMT = [f"simt-{order}" for order in simt_host.ORDERS]


@dataclass(frozen=True)
class Gpu:
    """Where GPU operators run: `ops.<operator>` takes tensors on `device`."""

    name: str
    ops: Any
    device: torch.device
    host: simt_host.Host | None = None  # of the fibers


def simt_folder() -> Path:
    """Where the host builds are kept from one run to the next; no other user's, since code is loaded from there."""
    return simt_host.ROOT / "build" / "simt"


@cache
def load_simt() -> simt_host.Host:
    """Build and register the operators `torch.ops.stadx_simt`, once per process."""
    return simt_host.Host(simt_host.build(simt_folder() / ("address" if _address() else "plain"), _address()))


def _address() -> bool:
    """Whether to check addresses: the interpreter must then be started with libasan and libstdc++ preloaded."""
    return os.environ.get("STADX_SIMT_ADDRESS") == "1"


def no_simt() -> str | None:
    """Why kernels cannot run on this host, if so."""
    if not sys.platform.startswith("linux"):
        return "fibers need Linux"
    return None if simt_host.compiler() is not None else "no C++ compiler"


def _names() -> list[str]:
    built = torch.cuda.is_available() and ops.build_info()["cuda_architectures"]
    return [*SIMT, *(["cuda"] if built else [])]


@pytest.fixture(params=_names())
def gpu(request: pytest.FixtureRequest) -> Iterator[Gpu]:
    """Runs the test on every backend of the GPU's kernels."""
    if request.param == "cuda":
        yield Gpu("cuda", torch.ops.stadx, torch.device("cuda"))
        return
    reason = no_simt()
    if reason is not None:
        pytest.skip(reason)
    host = load_simt()
    host.configure(request.param.removeprefix("simt-"), seed=1)
    try:
        yield Gpu(request.param, torch.ops.stadx_simt, torch.device("cpu"), host)
    finally:
        host.configure()


def barriers_of(*names: str) -> list[int]:
    """Lines of the barriers in files of csrc/cuda."""
    lines = []
    for name in names:
        text = (simt_host.ROOT / "csrc/cuda" / name).read_text()
        lines += [i for i, line in enumerate(text.splitlines(), start=1) if re.search(r"\bblock\.sync\(\)", line)]
    return lines


# Exit codes of a run without a barrier: a wrong result, what simt.h stops, what the sanitizers stop.
_WRONG, _STOPPED, _SANITIZER = 3, 99, 98


def fails_without_barrier(line: int, module: str, check: str, timeout: float = 60) -> bool:
    """Whether kernels without the barrier of a source line go wrong in some order of threads, or crash, or hang.

    `module`.`check`(operators) says whether the results are right. It runs in a process of its own.
    """
    load_simt()  # built before the clock starts
    options = {f"{name}_OPTIONS": f"exitcode={_SANITIZER}:detect_leaks=0" for name in ("ASAN", "UBSAN")}
    command = [sys.executable, __file__, str(line), module, check]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=timeout, env={**os.environ, **options}
        )
    except subprocess.TimeoutExpired:
        return True
    known = result.returncode < 0 or result.returncode in (0, _WRONG, _STOPPED, _SANITIZER)
    assert known, f"exit code {result.returncode}: {result.stderr[-2000:]}"
    return result.returncode != 0


def _run_without_barrier(line: int, module: str, check: str) -> int:
    host, right = load_simt(), getattr(importlib.import_module(module), check)
    for order, seed in [("reversed", 0), ("shuffled", 1), ("shuffled", 2), ("forward", 0)]:
        host.configure(order, seed, line)
        if not right(torch.ops.stadx_simt):
            return _WRONG
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "ops")]
    # The module that the checks import from is this one, not a second copy that would register operators again.
    sys.modules["gpu_backends"] = sys.modules["__main__"]
    sys.exit(_run_without_barrier(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
