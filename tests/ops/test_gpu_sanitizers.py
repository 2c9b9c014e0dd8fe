"""The GPU's kernels on the host under AddressSanitizer; UBSan is on in every such test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_backends import load_simt, no_simt, simt_folder
from simt import host as simt_host

HERE = Path(__file__).parent
CHOICE = (
    "simt-reversed and (sizes or layouts or far_apart or region_sums or score_cut or phase_score or empty or random)"
)


def _runtime() -> list[str]:
    """The sanitizer's library, and the C++ one that it must find before the first exception."""
    cxx = simt_host.compiler()
    if cxx is None:
        return []
    found = []
    for name in ("libasan.so", "libstdc++.so"):
        answer = subprocess.run([cxx, f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        found.append(answer.stdout.strip())
    return found if all(Path(path).is_absolute() for path in found) else []


needs_sanitizer = pytest.mark.skipif(no_simt() is not None or not _runtime(), reason="needs GCC with AddressSanitizer")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(_runtime()),
        "ASAN_OPTIONS": "detect_leaks=0",
        "STADX_SIMT_ADDRESS": "1",
        "PYTEST_ADDOPTS": "",  # in one process, however the tests themselves run
    }
    command, folder = [sys.executable, *arguments], HERE.parent / "support"
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@needs_sanitizer
def test_kernels_keep_within_their_memory() -> None:
    files = [str(HERE / name) for name in ("test_gpu_kernels.py", "test_gpu_labels.py")]
    result = _run("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *files, "-k", CHOICE)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert " passed" in result.stdout


@pytest.mark.slow
@needs_sanitizer
def test_a_read_beyond_the_end_is_noticed() -> None:
    """All sizes are checked, so give a view that claims more than its memory has."""
    simt_host.build(simt_folder() / "address", address=True)
    code = """
import torch
from gpu_backends import load_simt
load_simt()
x = torch.ones(64)
beyond = torch.from_numpy(__import__("numpy").lib.stride_tricks.as_strided(x.numpy(), (1, 8, 4, 4), (1024, 4, 128, 32)))
torch.ops.stadx_simt.phase_pool(beyond, torch.zeros(8), 1.0, 0)
"""
    result = _run("-c", code)
    assert result.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in result.stderr


@pytest.mark.skipif(no_simt() is not None, reason=str(no_simt()))
def test_barriers_that_some_threads_miss_stop_the_program() -> None:
    load_simt()
    source = Path(simt_host.ROOT) / "tests/support/simt/divergence.cpp"
    assert source.exists()
    cxx = simt_host.compiler()
    assert cxx is not None
    target = simt_folder() / f"divergence-{os.getpid()}"
    include = [f"-I{simt_host.ROOT / 'csrc'}", f"-I{simt_host.ROOT / 'tests/support/simt'}"]
    build = [cxx, "-std=c++20", "-O1", "-DSTADX_SIMT", *include, str(source), "-o", str(target)]
    subprocess.run(build, check=True, capture_output=True)
    try:
        for kind in ("barrier", "shuffle", "none"):
            result = subprocess.run([str(target), kind], capture_output=True, text=True, check=False, timeout=60)
            assert (result.returncode == 99) == (kind != "none"), result.stderr
    finally:
        target.unlink()
