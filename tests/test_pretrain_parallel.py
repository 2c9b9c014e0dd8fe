"""Two processes train the teacher that one process trains."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pretrain_photos import write_photos
from stadx import distributed
from stadx.files import read_model

SCRIPT = Path(__file__).with_name("train_in_parallel.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def train(processes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Start as torchrun would, without its own second of waiting."""
    port = str(free_port())
    started = []
    for rank in range(processes):
        here = {**os.environ, "OMP_NUM_THREADS": "1"}
        if processes > 1:
            here |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        started.append(subprocess.Popen(command, env=here, stderr=subprocess.PIPE, text=True))
    try:
        errors = [process.communicate(timeout=120)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    code = max(abs(process.returncode) for process in started)
    return subprocess.CompletedProcess([], code, stderr="\n".join(errors))


def test_two_processes_are_one(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    one, two = tmp_path / "one" / "t", tmp_path / "two" / "t"
    for processes, out in ((1, one), (2, two)):
        result = train(processes, photos, out, 10, 16)
        assert result.returncode == 0, result.stderr
        assert sorted(f.name for f in out.parent.iterdir()) == ["t", "t.html"]
    (header, a), (other, b) = (read_model(path, "teacher", 1) for path in (one, two))
    for name in a:  # stored as float16: equal but where a rounding error flips its last bit
        difference = (a[name].double() - b[name].double()).norm() / a[name].double().norm()
        assert difference < 1e-4, (name, float(difference))
    for x, y in zip(header["card"]["history"], other["card"]["history"], strict=True):
        assert x == {name: pytest.approx(value, rel=1e-3, abs=2e-3) for name, value in y.items()}


def test_a_batch_that_cannot_be_shared_out(tmp_path: Path) -> None:
    result = train(2, write_photos(tmp_path / "photos", 4), tmp_path / "t", 1, 15)
    assert result.returncode != 0
    assert "a batch of 15 cannot be shared out evenly to 2 processes; give a multiple" in result.stderr


def test_alone_nothing_is_exchanged() -> None:
    with distributed.process_group():
        assert distributed.world_size() == 1 and distributed.is_first()
        x = torch.ones(2, 3, requires_grad=True)
        assert distributed.gather(x) is x and torch.equal(distributed.mean(x), x)
        assert distributed.own_part(7) == slice(0, 7) and distributed.from_first("a") == "a"
