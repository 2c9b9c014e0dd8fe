"""What students and teachers are trained in."""

from __future__ import annotations

import pytest
import torch

from stadx.networks.training import in_bfloat16


@pytest.mark.parametrize("amx", [False, True])
def test_a_cpu_trains_in_bfloat16_by_itself_with_amx_alone(monkeypatch: pytest.MonkeyPatch, amx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    cpu = torch.device("cpu")
    assert in_bfloat16("auto", cpu) == amx
    assert in_bfloat16("bfloat16", cpu) and not in_bfloat16("float32", cpu)
