"""Run with: pytest benchmarks (they are no part of the normal tests)."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def inference() -> object:
    """No gradients, and the same numbers every time."""
    torch.manual_seed(0)
    with torch.inference_mode():
        yield
