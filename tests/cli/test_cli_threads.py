"""How many processor cores a command uses."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from stadx.cli import app as cli


def stadx(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


def test_threads_hold_for_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # put back at the end
    before = torch.get_num_threads()
    try:
        for count in (3, 1):
            result = stadx("--threads", str(count), "info")
            assert result.exit_code == 0 and f"({count} threads)" in result.output
            assert os.environ["OMP_NUM_THREADS"] == str(count)
        assert "(1 threads)" in stadx("info").output  # left as it is
    finally:
        torch.set_num_threads(before)
    assert stadx("--threads", "0", "info").exit_code == 2


def test_threads_of_a_new_process() -> None:
    code = "import sys; sys.argv = ['stadx', '--threads', '1', 'info']; from stadx.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "2"}, capture_output=True, text=True
    )
    assert "(1 threads)" in done.stdout, done.stderr
