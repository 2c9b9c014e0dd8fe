"""The patches that networks on pixels train on, and those that an image is scored by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stadx.detectors.baselines import METHODS, PatchBaseline


def test_patches_cover_the_image_and_overlaps_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = METHODS["ssim-ae"](image_size=None, patch=32, step=20)
    assert isinstance(detector, PatchBaseline)
    detector.networks_ = nn.ModuleDict()
    image = torch.rand(3, 45, 83, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(detector, "_residual", lambda x: x[:, 0])
    torch.testing.assert_close(detector._map(image, 1), detector._pixels(image)[0])
    places = iter(range(100))
    monkeypatch.setattr(detector, "_residual", lambda x: torch.stack([torch.full_like(p[0], next(places)) for p in x]))
    rows, columns = (0, 13), (0, 20, 40, 51)
    total, count = torch.zeros(45, 83), torch.zeros(45, 83)
    for number, (r, c) in enumerate((r, c) for r in rows for c in columns):
        total[r : r + 32, c : c + 32] += number
        count[r : r + 32, c : c + 32] += 1
    torch.testing.assert_close(detector._map(image, 1), total / count)


def test_a_training_patch_is_a_part_of_the_image() -> None:
    detector = METHODS["ssim-ae"](image_size=None, patch=32, rotation=0.0, shift=0.0)
    assert isinstance(detector, PatchBaseline)
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    source: Any = [torch.stack([rows, columns, 0 * rows]) / 50]
    detector._pixels = lambda image: image  # type: ignore[method-assign]
    corners = set()
    for number in range(20):
        y, x, _ = 50 * detector._training_patch(source, [0], number)
        torch.testing.assert_close(y[1:] - y[:-1], torch.ones(31, 32), rtol=0, atol=1e-4)
        torch.testing.assert_close(x[:, 1:] - x[:, :-1], torch.ones(32, 31), rtol=0, atol=1e-4)
        assert min(y.min(), x.min()) >= -1e-4 and y.max() <= 39 + 1e-4 and x.max() <= 49 + 1e-4
        corners.add(round(float(x[0, 0]), 2))
    assert len(corners) > 15
    detector.rotation = 90.0
    y, _, _ = 50 * detector._training_patch(source, [0], 3)
    angle = np.radians(np.random.default_rng([0, 7, 3]).uniform(-90, 90))
    middle = slice(14, 18)
    turned = (y[1:] - y[:-1])[middle, middle]
    torch.testing.assert_close(turned, torch.full((4, 4), float(np.cos(angle))), rtol=0, atol=1e-3)
