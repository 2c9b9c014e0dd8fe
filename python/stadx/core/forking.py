"""Children that `os.fork` makes: they compute too, although the threads of their parent are not in them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys

_SOFT = 1  # omp_pause_soft: threads end, settings stay
_rested = False


def install() -> None:
    """Make forked children of this process usable, from now on; the parent keeps its number of threads.

    GCC's OpenMP, which PyTorch computes with, keeps threads in wait. A child does not have them, but waits for them for
    ever. So they are ended just before, and both processes start new ones when they need them. Where that cannot be,
    or a program forks without telling Python, the child computes with one thread.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def _before() -> None:
    global _rested
    _rested = False
    with contextlib.suppress(Exception):  # whatever is wrong, the program forks as it would without stadx
        if "torch" in sys.modules:
            _rested = _openmp().omp_pause_resource_all(_SOFT) == 0


def _after_in_parent() -> None:
    global _rested
    _rested = False


def _after_in_child() -> None:
    global _rested
    torch = sys.modules.get("torch")
    if not _rested and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)  # type: ignore[union-attr]
    _rested = False


@functools.cache
def _openmp() -> ctypes.CDLL:
    """PyTorch's library, by which its own OpenMP is found, whichever others are loaded."""
    folder = os.path.join(os.path.dirname(sys.modules["torch"].__file__ or ""), "lib")
    return ctypes.CDLL(os.path.join(folder, "libtorch_cpu.so"))
