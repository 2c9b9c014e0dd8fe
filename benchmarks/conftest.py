"""Run with: pytest benchmarks (they are no part of the normal tests)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


def pytest_xdist_auto_num_workers() -> int:
    """None for `-n auto`: what is timed runs alone."""
    return 0


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """CPU always, CUDA where there is one."""
    return torch.device(request.param)


def waited(function: Callable[..., object], device: torch.device) -> Callable[..., object]:
    """`function`, done when it returns: a GPU works on by itself."""
    if device.type == "cpu":
        return function

    def run(*arguments: object) -> object:
        result = function(*arguments)
        torch.cuda.synchronize(device)
        return result

    return run


@pytest.fixture(autouse=True)
def inference() -> object:
    """No gradients, and the same numbers every time."""
    torch.manual_seed(0)
    with torch.inference_mode():
        yield
