"""The benchmarks for a GPU run, as far as they can without one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

# at the end: a module of the tests with the same name wins
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gpu
import gpu_resources


def test_gpu_benchmark_runs_on_the_cpu_too() -> None:
    result = CliRunner().invoke(gpu.app, ["--device", "cpu", "--quick", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert all(part in result.output for part in ("phase_pool, bfloat16", "AU-PRO@0.3", "images/s", "plain PyTorch"))
    assert CliRunner().invoke(gpu.app, ["--device", "cpu", "--quick", "--only", "pools"]).exit_code == 2
    if not torch.cuda.is_available():
        assert CliRunner().invoke(gpu.app, []).exit_code == 2


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.slow
def test_no_kernel_spills() -> None:
    for arch in ("80", "86", "89", "90", "100"):
        result = CliRunner().invoke(gpu_resources.app, ["--arch", arch, "--markdown"])
        assert result.exit_code == 0, result.output
        assert "| `PhasePool<float, true, 2>` | 128 |" in result.output


def test_the_first_commands_for_a_gpu_have_examples_and_checks() -> None:
    assert "benchmarks/gpu.py --rounds 5" in " ".join(CliRunner().invoke(gpu.app, ["--help"]).output.split())
    help_text = " ".join(CliRunner().invoke(gpu_resources.app, ["--help"]).output.split())
    assert "benchmarks/gpu_resources.py --arch 90" in help_text
    if shutil.which("nvidia-smi") is None:
        script = Path(gpu.__file__).with_name("gpu.sh")
        result = subprocess.run([str(script)], capture_output=True, text=True, check=False)
        assert result.returncode == 2
        assert "no nvidia-smi" in result.stderr
