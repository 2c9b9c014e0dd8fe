"""What the benchmark compares: cases, each with competitors that do the same work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

import stadx
from efficientad_shape import SIDE, EfficientADShape
from peers import (
    PEERS,
    available_bytes,
    compiled,
    laid_out,
    multiply_adds,
    patch_by_patch,
    peak_bytes,
    phase_split_channels_last,
)
from stadx import PatchNetwork, ops
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.networks.patch_network import channels_last
from stadx.ops import reference
from timing import Competitor, best_seconds

PATCHES = 512  # in the sample of patch by patch: all 65,536 take minutes
STUDENTS = 3
STRIDES = (1, 2, 4)
DESCRIPTOR = 128
GIGA = 1e9


@dataclass
class Case:
    """Competitors that take turns: a row group of the table."""

    section: str
    name: str
    competitors: list[Competitor]


@dataclass
class Peak:
    """The best rates of this machine in float32, GFLOP/s."""

    convolution: float
    matmul: float

    @property
    def best(self) -> float:
        """The larger of the two."""
        return max(self.convolution, self.matmul)


def measure_peak(side: int = 2048, rounds: int = 5) -> Peak:
    """Rates of a side x side matrix product, and of a channels-last 3 x 3 convolution with as many operations."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    pixels = max(side // 16, 8)
    convolution = torch.nn.Conv2d(256, 256, 3, padding=1)
    channels_last(convolution)
    x = torch.randn(1, 256, pixels, pixels).contiguous(memory_format=torch.channels_last)
    operations = 2 * convolution.weight.numel() * pixels**2
    return Peak(
        convolution=operations / best_seconds(partial(convolution, x), rounds) / GIGA,
        matmul=2 * side**3 / best_seconds(partial(torch.mm, a, b), rounds) / GIGA,
    )


def dense_cases(patch_sizes: tuple[int, ...], sizes: tuple[int, ...], patches: int = PATCHES) -> Iterator[Case]:
    """The descriptors of one network at every pixel of one image; patch by patch only a sample of them."""
    for size in sizes:
        for p in patch_sizes:
            yield Case("dense", f"descriptors, p = {p}, {size} x {size}", dense_competitors(p, size, patches))


def dense_competitors(p: int, size: int, patches: int = PATCHES) -> list[Competitor]:
    """stadx and plain PyTorch; those that need more memory than there is are marked as skipped."""
    net = PatchNetwork(p).requires_grad_(False)
    channels_last(net)
    images = torch.randn(1, 3, size, size)
    work = 2 * multiply_adds(net.layers, p, size, size) / GIGA
    found = [Competitor("stadx", partial(stadx.dense_features, net, images), "stadx", work=work)]

    count = min(patches, size * size)
    found.append(
        Competitor(
            "patch by patch",
            partial(patch_by_patch, net.layers, p, images, count),
            scale=size * size / count,
            note=f"scaled from {count} patches",
            skip=_too_large(peak_bytes(net.layers, p, 1, 1, count)),
        )
    )
    skip = _too_large(peak_bytes(net.layers, p, size, size))
    for name, (peer, layout) in PEERS.items():
        run = partial(peer, laid_out(net.layers, layout), p, images)
        found.append(Competitor(name, run, work=work, skip=skip))
    fast = partial(compiled(phase_split_channels_last), net.layers, p, images)
    found.append(Competitor("channels-last, compiled", fast, work=work, skip=skip))
    return found


def _too_large(size: int) -> str | None:
    free = available_bytes()
    return None if size <= free else f"needs about {size / GIGA:.1f} GB, {free / GIGA:.1f} GB are free"


def score_inputs(dtype: torch.dtype, planar: bool, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Descriptors of three students and the teacher at side x side pixels, and the teacher's statistics."""
    shape = (STUDENTS, 1, DESCRIPTOR, side, side)
    students, teacher = torch.randn(shape).to(dtype), torch.randn(shape[1:]).to(dtype)
    if not planar:
        students = students.movedim(2, -1).contiguous().movedim(-1, 2)
        teacher = teacher.contiguous(memory_format=torch.channels_last)
    return students, teacher, torch.randn(DESCRIPTOR), torch.rand(DESCRIPTOR) + 0.1


def score_cases(side: int) -> Iterator[Case]:
    """ensemble_score beside its definition and beside merely reading the same bytes."""
    for dtype in (torch.float32, torch.bfloat16):
        for planar in (True, False):
            inputs = score_inputs(dtype, planar, side)
            size = (inputs[0].numel() + inputs[1].numel()) * dtype.itemsize
            words, work = torch.ones(size // 8, dtype=torch.int64), size / GIGA
            layout = "planar" if planar else "channels-last"
            competitors = [
                Competitor("stadx", partial(ops.ensemble_score, *inputs), "stadx", work=work),
                Competitor("eager reference", partial(reference.ensemble_score, *inputs), work=work),
                Competitor("compiled reference", partial(compiled(reference.ensemble_score), *inputs), work=work),
                Competitor("reading the bytes", words.max, "bound", work=work),
            ]
            name = f"score, {str(dtype).removeprefix('torch.')}, {layout}, M = {STUDENTS}, {side} x {side}"
            yield Case("score", name, competitors)


def image_cases(patch_sizes: tuple[int, ...], side: int, divide: int) -> Iterator[Case]:
    """A whole image with three students, beside a network of the shape of EfficientAD-S."""
    image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
    for p in patch_sizes:
        networks = [PatchNetwork(p).eval().requires_grad_(False) for _ in range(STUDENTS + 1)]
        for net in networks:
            channels_last(net)
        ensemble = Ensemble(networks[0], networks[1:], torch.zeros(DESCRIPTOR), torch.ones(DESCRIPTOR))
        competitors = []
        for stride in STRIDES:
            keywords = {} if stride == 1 else {"stride": stride}
            run = partial(ensemble.error_and_variance, image, **keywords)
            competitors.append(Competitor(f"stadx, stride {stride}", run, "stadx"))
        competitors += efficientad_competitors(divide)
        yield Case("image", f"image, p = {p}, M = {STUDENTS}, {side} x {side}", competitors)


def efficientad_competitors(divide: int = 1) -> list[Competitor]:
    """The EfficientAD-S shape in both layouts and compiled."""
    net = EfficientADShape(divide=divide).eval().requires_grad_(False)
    image = torch.randn(1, 3, SIDE, SIDE)
    note = "" if divide == 1 else f"{SIDE} x {SIDE}, 1/{divide} of the channels: no comparison"
    planar = Competitor("EfficientAD-S shape, planar", partial(net, image), note=note)
    other = EfficientADShape(divide=divide).eval().requires_grad_(False)
    channels_last(other)
    image = image.contiguous(memory_format=torch.channels_last)
    return [
        planar,
        Competitor("EfficientAD-S shape, channels-last", partial(other, image), note=note),
        Competitor("EfficientAD-S shape, compiled", partial(compiled(other), image), note=note),
    ]
