"""Small teachers and images that several tests use."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stadx import Detector, PatchNetwork
from stadx.core.files import write_model
from stadx.detectors.student_teacher.calibration import ErrorMaps
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.networks import patch_network
from stadx.networks.windows import TensorRows
from stadx.teachers.teacher_files import TEACHER_VERSION


def random_teacher(p: int = 17, seed: int = 0) -> PatchNetwork:
    """A teacher that was never trained, but has descriptors of unit variance; a copy, which a test may change."""
    return copy.deepcopy(_random_teacher(p, seed, patch_network._LAYERS[p]))


@cache
def _random_teacher(p: int, seed: int, layers: object) -> PatchNetwork:  # `layers`: they may be narrow ones
    generator = torch.Generator().manual_seed(seed)
    net = PatchNetwork(p, descriptor_size=8)
    net.init_from_data(torch.randn(32, 3, p, p, generator=generator), generator)
    return net.eval().requires_grad_(False)


def make_narrow(patch: pytest.MonkeyPatch) -> None:
    """What the fixture narrow_networks does."""
    for p, layers in patch_network._LAYERS.items():
        narrow = ((kernel, out // 8 if isinstance(out, int) else out, pooled) for kernel, out, pooled in layers)
        patch.setitem(patch_network._LAYERS, p, tuple(narrow))


def teacher_file(folder: Path, p: int = 17) -> Path:
    """The same as a file."""
    net = random_teacher(p)
    path = folder / f"teacher{p}.safetensors"
    write_model(path, "teacher", TEACHER_VERSION, {"network": net.settings, "card": {}}, net.state_dict())
    return path


def good_images(count: int = 6, size: tuple[int, int] = (20, 24), seed: int = 0) -> Tensor:
    """Images uint8 [N, 3, H, W] of diagonal stripes with noise."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    phase = torch.randint(0, 6, (count, 1, 1), generator=generator)
    stripes = ((rows + columns + phase) % 6 < 3).float() * 120 + 60
    noise = 8 * torch.randn(count, 3, *size, generator=generator)
    return (stripes[:, None] + noise).clamp(0, 255).to(torch.uint8)


def small_model(folder: Path) -> Path:
    """A model file of one student that learned for two steps, of images at their own size."""
    detector = Detector((17,), teachers=[teacher_file(folder)], students=1, steps=2, image_size=None, held_out=0.4)
    detector.fit(good_images(8)).save(folder / "m.safetensors")
    return folder / "m.safetensors"


def error_maps(ensemble: Ensemble, images: Tensor) -> list[ErrorMaps]:
    """What `calibrate` needs of images [B, 3, H, W], at every pixel."""
    return [
        ErrorMaps(*ensemble.error_and_variance(image[None]), ensemble.computed(TensorRows(image))) for image in images
    ]
