"""The benchmarks of whole programs and of memory run, and say what they measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stadx.networks import patch_network

# at the end: a module of the tests with the same name wins
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import at_once
import busy
import fresh_memory
import train_memory


def test_what_is_timed_beside_other_programs_runs() -> None:
    times = busy._times(rounds=1)
    assert len(times) == 2
    assert all(seconds is not None and seconds > 0 for seconds in times.values())  # None: it failed


@pytest.mark.skipif(sys.platform != "linux", reason="what it measures is Linux's")
def test_kept_memory_has_no_page_faults(capsys: pytest.CaptureFixture[str]) -> None:
    fresh_memory.main(mebibytes=4, pause=0, rounds=3)
    faults = {line.split("  ")[0]: int(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[1:]}
    assert faults["new"] >= 1024
    assert faults["kept"] < 10


def test_the_memory_of_a_training_is_told_stage_by_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train_memory.py", "--images", "4", "--size", "40", "--steps", "6", "--scale", "17", "--narrow"]
    monkeypatch.setitem(patch_network._LAYERS, 17, patch_network._LAYERS[17])  # put back at the end
    monkeypatch.setattr(sys, "argv", given)
    train_memory.main()
    table = capsys.readouterr().out
    assert all(stage in table for stage in ("Teacher's descriptors", "Students, p = 17", "Scores of good images"))
    peaks = [int(line.split()[-2]) for line in table.splitlines()[2:-1]]
    assert peaks[0] > 100 and peaks == sorted(peaks)


def test_trainings_at_once_are_of_one_thread_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class Process:
        returncode = 0

        def __init__(self, command: list[str], *, env: dict[str, str], **settings: object) -> None:
            assert "OMP_NUM_THREADS" not in env
            started.append(command)

        def communicate(self) -> tuple[bytes, bytes]:
            return b"", b""

    monkeypatch.setattr(at_once.subprocess, "Popen", Process)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    trained = at_once.Trained(tmp_path, 3, ["--students=4"], 2)
    for way, processes, threads in ((trained.one, 1, "2"), (trained.one_thread, 1, "1"), (trained.at_once, 2, "1")):
        started.clear()
        way()
        assert len(started) == processes == len({command[command.index("--out") + 1] for command in started})
        for command in started:
            assert command[3:5] == ["--threads", threads] and command[-3:] == ["--steps", "3", "--students=4"]
    started.clear()
    trained.shared_out()
    (command,) = started
    at = command.index("stadx")
    assert command[1:at] == ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    assert command[at + 1 : at + 4] == ["--threads", "1", "train"]
