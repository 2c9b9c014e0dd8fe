"""Dense extraction beside plain PyTorch, and a student's training step beside the paper's dense one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from peers import PEERS, laid_out, patch_by_patch
from stadx import PatchNetwork, dense_features
from stadx.core.memory import keep_freed_memory
from stadx.detectors.student_teacher.crops import random_crops
from stadx.networks.choices import PATCH_SIZES
from stadx.networks.patch_network import channels_last, dense_features_padded
from stadx.networks.training import autocast
from stadx.networks.winograd import run_layers

SIDE = 256
PATCHES = 512  # of the 65,536: all of them take minutes


@pytest.mark.parametrize("how", ["dense", "patch by patch", *PEERS])
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_dense_features(benchmark: BenchmarkFixture, p: int, how: str) -> None:
    net, images = PatchNetwork(p), torch.randn(1, 3, SIDE, SIDE)
    channels_last(net)
    benchmark.group = f"descriptors p = {p}, {SIDE} x {SIDE}, one network, microseconds per pixel in extra_info"
    pixels = PATCHES if how == "patch by patch" else SIDE * SIDE
    with keep_freed_memory():
        if how == "dense":
            benchmark.pedantic(dense_features, (net, images), rounds=5, warmup_rounds=1)
        elif how == "patch by patch":
            benchmark.pedantic(patch_by_patch, (net.layers, p, images, PATCHES), rounds=3, warmup_rounds=1)
        else:
            peer, layout = PEERS[how]
            benchmark.pedantic(peer, (laid_out(net.layers, layout), p, images), rounds=5, warmup_rounds=1)
    if benchmark.stats is not None:
        benchmark.extra_info["us per pixel"] = benchmark.stats.stats.median / pixels * 1e6


@pytest.mark.parametrize("how", ["winograd", "random phase", "bfloat16", "dense"])
@pytest.mark.parametrize("p", PATCH_SIZES)
def test_training_step(benchmark: BenchmarkFixture, p: int, how: str) -> None:
    benchmark.group = f"training step p = {p}, {SIDE} x {SIDE}, one student"
    with torch.inference_mode(False), torch.enable_grad(), keep_freed_memory():
        student, image = PatchNetwork(p), torch.rand(3, SIDE, SIDE)
        channels_last(student)
        stride = 1 if how == "dense" else student.stride
        crop = random_crops([(SIDE, SIDE)], None, stride, np.random.default_rng(0))[0]
        part = crop.receptive_field(image, student).contiguous(memory_format=torch.channels_last)

        def forward(student: PatchNetwork, part: torch.Tensor) -> torch.Tensor:
            if how == "winograd":
                return run_layers(student.layers, part)
            return dense_features_padded(student, part) if how == "dense" else student.grid(part)

        def step() -> None:
            with autocast("bfloat16" if how == "bfloat16" else "float32", torch.device("cpu")):
                loss = forward(student, part).float().square().sum(1).mean()
            loss.backward()  # type: ignore[no-untyped-call]

        benchmark.pedantic(step, rounds=3, warmup_rounds=1)
