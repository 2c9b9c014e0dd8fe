"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from data_sets import draw_anew
from gpu_backends import gpu as gpu  # a fixture for all
from small import make_narrow

from stadx import ops

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
if "PYTEST_XDIST_WORKER_COUNT" in os.environ and "OMP_NUM_THREADS" not in os.environ:
    # Every worker its share of the cores, and so the programs that it starts.
    _share = max(1, CORES // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ["OMP_NUM_THREADS"] = str(_share)
    torch.set_num_threads(_share)

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_xdist_auto_num_workers() -> int:
    """Workers for `-n auto`: one for each core, but each holds PyTorch and up to 2 GB."""
    return min(CORES, 4)


@pytest.fixture(autouse=True)
def own_random_numbers() -> None:
    """Every test draws the same numbers and pictures, whichever were run before it in the same process."""
    torch.manual_seed(0)
    draw_anew()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images; tests that need it are skipped where it is missing."""
    path = Path(os.environ.get("STADX_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no data folder at {path}; set STADX_DATA to the folder that holds mvtec_ad/")
    return path


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """CPU always, CUDA where there is one."""
    return torch.device(request.param)


@pytest.fixture(scope="module")
def narrow_networks() -> Iterator[None]:
    """Networks an eighth as wide, a fiftieth of the work: for tests of what is done with networks."""
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        yield


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test with each instruction set that this CPU has."""
    info = ops.build_info()
    if request.param not in info["instruction_sets"]:
        pytest.skip(f"this CPU or build has no {request.param}")
    ops.set_instruction_set(request.param)
    yield request.param
    ops.set_instruction_set(info["instruction_set"])


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Restores torch's number of threads after a test that changes it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
