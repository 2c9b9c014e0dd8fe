"""The CPU kernels without PyTorch, beside plain loops: on this processor, and for aarch64 in QEMU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "tests" / "support" / "kernels" / "run.sh"


@pytest.mark.slow  # compiles everything
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs Linux and g++")
@pytest.mark.parametrize("target", ["here", "aarch64"])
def test_kernels_are_right_beside_plain_loops(target: str) -> None:
    other = [] if target == "here" else [target]
    for program in [f"{target}-linux-gnu-g++", f"qemu-{target}"] if other else []:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install g++-aarch64-linux-gnu qemu-user")
    run = subprocess.run([KERNELS, *other], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("right") >= 20
    assert "WRONG" not in run.stdout
