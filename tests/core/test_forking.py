"""Forked children of a process that has computed compute too, and so does the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROGRAM = """
import ctypes, os, sys, threading, time
import torch
import stadx
from stadx.core import forking
from stadx.networks.dense import dense_features
from small import random_teacher

HOW = sys.argv[1]
torch.set_num_threads(3)
network, image = random_teacher(), torch.rand(1, 3, 90, 80)


def compute():
    weights = torch.ones(8, 3, 5, 5)
    return dense_features(network, image).double().sum() + torch.nn.functional.conv2d(image, weights).double().sum()


def child_says(check):
    # the exit code of a forked child that is given a minute; -1: it hangs
    pid = ctypes.PyDLL(None).fork() if HOW == "untold" else os.fork()
    if pid == 0:
        try:
            if HOW == "untold":  # as uWSGI does it
                ctypes.pythonapi.PyOS_AfterFork_Child()
            os._exit(7 if check() else 1)
        finally:
            os._exit(2)
    for _ in range(600):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(pid, 9)
    return -1


expected = compute()
if HOW == "rested":
    right = lambda: compute() == expected and torch.get_num_threads() == 3
elif HOW == "grandchild":
    right = lambda: compute() == expected and child_says(lambda: compute() == expected) == 7
else:
    right = lambda: bool((compute() - expected).abs() < 1e-3 * expected.abs()) and torch.get_num_threads() == 1
if HOW == "unrested":  # an OpenMP that cannot end its threads
    forking._openmp = lambda: None
code = child_says(right)
assert code == 7, code
assert compute() == expected and torch.get_num_threads() == 3
"""


@pytest.mark.parametrize("how", ["rested", "grandchild", "unrested", "untold"])
def test_a_forked_child_computes(how: str) -> None:
    support = os.path.join(os.path.dirname(__file__), os.pardir, "support")
    path = os.pathsep.join([support, *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_locks_of_threads_that_are_not_there() -> None:
    code = """
import os, signal
from pathlib import Path
from stadx.core import memory, torch_state
from stadx.data import decode, opening
with memory._lock, torch_state._drawing, opening._pillow_limit_lock:  # as another thread would hold them
    pid = os.fork()
if pid == 0:
    signal.alarm(20)
    with memory.keep_freed_memory(), torch_state.drawn_apart():
        os._exit(7 if not decode.is_turned(Path("none")) and not opening._pillow_limit_lock.locked() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
