"""Freed memory stays within, and goes back at the end."""

from __future__ import annotations

import resource
import sys

import pytest
import torch

from stadx import PatchNetwork, dense_features
from stadx.allocation import keep_freed_memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tunes glibc, of Linux")


@torch.no_grad()
def faults_of_large_tensors() -> int:
    """Page faults of one dense extraction, the fewest of several: memory takes a while to settle.

    Its maps are larger than the 32 MB beyond which glibc maps a block anew whatever the heap looks like.
    """
    net, images = PatchNetwork(33), torch.randn(1, 3, 256, 256)
    faults = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        dense_features(net, images, method="direct")
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(faults)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_large_tensors_cost_no_page_faults_within() -> None:
    outside = faults_of_large_tensors()
    with keep_freed_memory(), keep_freed_memory():
        within = faults_of_large_tensors()
        kept = resident()
    assert within < outside / 4
    assert resident() < kept - (60 << 20)
    assert faults_of_large_tensors() > 4 * within


def test_it_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), keep_freed_memory():
        raise ZeroDivisionError
    assert faults_of_large_tensors() > 100
