"""Time and memory of scoring large images. Run `python benchmarks/huge.py --help`."""

from __future__ import annotations

import time
from typing import Annotated

import torch
import typer

from memory import peak_of
from stadx import Detector, PatchNetwork
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.normalization import Normalization
from stadx.detectors.thresholds import HeldOutScores


def main(
    side: Annotated[int, typer.Option(min=1, help="Side of the image in pixels.")] = 2048,
    stride: Annotated[int, typer.Option(min=1, help="Score every n-th pixel.")] = 4,
    patch_size: Annotated[int, typer.Option(help="17, 33 or 65.")] = 33,
    students: Annotated[int, typer.Option(min=1, help="M.")] = 3,
) -> None:
    """Score one image of noise in memory and print the time per pixel and the memory above the image's own.

    Example: python benchmarks/huge.py --side 8192 --stride 4
    """
    detector = untrained(patch_size, students)
    image = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
    start = time.perf_counter()
    scores, peak = peak_of(lambda: detector.score(image, stride=stride), 0.02)
    seconds = time.perf_counter() - start
    print(
        f"{side} x {side}, p = {patch_size}, M = {students}, stride {stride}: {seconds:.1f} s, "
        f"{seconds / scores.numel() * 1e6:.3f} microseconds a pixel; memory above the image's own "
        f"{peak / 2**20:.0f} MiB, of which the map {scores.nbytes / 2**20:.0f} MiB"
    )


def untrained(patch_size: int, students: int) -> Detector:
    """A detector that has learned nothing but takes as long as one that has."""
    networks = [PatchNetwork(patch_size).requires_grad_(False) for _ in range(students + 1)]
    for network in networks:
        network.init_from_data(torch.randn(64, 3, patch_size, patch_size))
    settings = {"scales": (patch_size,), "students": students, "image_size": None}
    ensemble = Ensemble(networks[0], networks[1:], torch.zeros(128), torch.ones(128))
    return Detector.from_parts(settings, [ensemble], [Normalization(0, 1, 0, 1)], HeldOutScores.of([torch.ones(1, 1)]))


if __name__ == "__main__":
    typer.run(main)
