"""The comparison of public AU-PROs: what it feeds them, and what it says of those that are missing or fail."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from stadx.metrics import au_pro

# at the end: a module of the tests with the same name wins
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import public_au_pro
import public_au_pro_peer
from public_au_pro_peer import PEERS, Peer


def test_hard_cases_are_what_they_are_called() -> None:
    cases = public_au_pro.hard_cases(4, 64)
    for name, (maps, masks) in cases.items():
        assert maps.dtype == np.float32 and maps.shape == masks.shape == (4, 64, 64), name
    value = {name: au_pro(*case) for name, case in cases.items()}
    for name in ("in [0, 1]", "below 1e-6", "exp"):  # increasing transforms
        assert value[name] == pytest.approx(value["as made"], abs=1e-6)
    assert value["constant"] == pytest.approx(0.15)
    assert cases["in [0, 1]"][0].min() >= 0 and cases["in [0, 1]"][0].max() == 1
    assert cases["below 1e-6"][0].max() < 1e-6 and cases["100 to 140"][0].min() >= 100
    assert len(np.unique(cases["8 bits"][0])) <= 256 and len(np.unique(cases["5 levels"][0])) == 5
    mask = cases["corners"][1][0]
    assert (ndimage.label(mask)[1], ndimage.label(mask, np.ones((3, 3)))[1]) == (2, 1)
    areas = np.bincount(ndimage.label(cases["sizes"][1][0])[0].ravel())[1:]
    assert areas.min() == 1 and areas.max() == 32 * 32


def in_process(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """What the other process does, without the seconds in which it loads PyTorch."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        print("a package's greeting")
        public_au_pro_peer.main(*command[2:])
    return subprocess.CompletedProcess(command, 0, said.getvalue(), "")


def replaced(run: Callable[..., object]) -> SimpleNamespace:
    return SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)


def test_one_command_compares_and_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(maps: object, masks: object) -> float:
        raise ValueError("scores must differ")

    monkeypatch.setattr(public_au_pro, "subprocess", replaced(in_process))
    monkeypatch.setitem(PEERS, "adeval", Peer(fail, "no-such-package", "no-such-package"))
    file = tmp_path / "figures.json"
    arguments = ["--quick", "--only", "stadx,definition,adeval", "--json", str(file)]
    result = CliRunner().invoke(public_au_pro.app, arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads(file.read_text())
    ours = figures["rows"]["stadx"]
    assert ours["cases"] == pytest.approx(figures["exact"], abs=1e-9) and ours["seconds"] > 0
    assert figures["rows"]["adeval"]["note"] == "not installed: pip install no-such-package"
    assert "− definition" in result.output and "not installed: pip install no-such-package" in result.output


def test_another_interpreter_needs_no_stadx() -> None:
    code = "import sys; sys.modules['stadx'] = sys.modules['torch'] = None; import public_au_pro_peer as p; "
    code += "p.main(*sys.argv[1:])"
    command = [sys.executable, "-c", code, "version", "definition"]
    ended = subprocess.run(command, cwd=public_au_pro.CHILD.parent, capture_output=True, text=True)
    assert ended.stdout == '""\n', ended.stderr


def test_a_row_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        if "values" in command:
            raise subprocess.TimeoutExpired(command, 7)
        return in_process(command)

    monkeypatch.setattr(public_au_pro, "subprocess", replaced(run))
    row = public_au_pro.Row(sys.executable, "definition", 7, 1)
    row.value([])
    assert row.figures()["note"] == "more than 7 s" and row.figures()["seconds"] is None


def test_a_case_that_fails_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(maps: object, masks: object) -> float:
        raise ValueError("scores must differ")

    monkeypatch.setitem(PEERS, "stadx", Peer(fail))
    file = tmp_path / "constant.npz"
    np.savez(file, maps=np.zeros((1, 2, 2), np.float32), masks=np.eye(2, dtype=bool)[None])
    assert public_au_pro_peer.values("stadx", [file]) == {"constant": "scores must differ"}
    assert public_au_pro_peer.values("definition", [file]) == {"constant": pytest.approx(0.15)}


def test_a_package_of_another_version_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, rows in {"2.7.0": {"anomalib"}, "2.2.0": set(), "1.1.1": {"anomalib-old"}}.items():
        monkeypatch.setattr(public_au_pro_peer, "version", lambda package, found=found: found)
        assert {name for name in ("anomalib", "anomalib-old") if PEERS[name].installed()} == rows


@pytest.mark.parametrize("option", [["--python", "adeval=nowhere/python"], ["--only", "speed"]], ids=str)
def test_bad_options_are_named(option: list[str]) -> None:
    result = CliRunner().invoke(public_au_pro.app, option)
    assert result.exit_code == 2 and option[0] in result.output
