"""The overlay, which is made some rows at a time, has the bits of its formula."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stadx.evaluation.report import overlay as module
from stadx.evaluation.report.overlay import COLOURS, OUTSIDE, STRONGEST_BLEND, Scale, colormaps, frame, outline, overlay

SCALE = Scale(0.3, 2.7)


def formula(
    image: NDArray[np.uint8], scores: NDArray[np.floating], inside: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    share = np.nan_to_num((scores.astype(np.float64) - SCALE.low) / (SCALE.high - SCALE.low), nan=0).clip(0, 1)
    level = np.rint(share * 255).astype(int)
    colour = (colormaps[COLOURS](np.arange(256))[:, :3] * 255).round()[level]
    blend = ((level / 255) ** 0.75 * STRONGEST_BLEND)[..., None]
    grey = np.asarray(Image.fromarray(image).convert("L")).astype(np.float64)[..., None]
    mixed = grey * (1 - blend) + colour * blend
    if inside is not None:
        mixed = np.where(inside[..., None], mixed, grey * OUTSIDE)
    return np.rint(mixed).astype(np.uint8)


@pytest.mark.parametrize("pixels", [1, 100, 1 << 17])
@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (61, 33)], ids=str)
@pytest.mark.parametrize("with_region", [False, True])
def test_it_is_the_formula(
    monkeypatch: pytest.MonkeyPatch, pixels: int, shape: tuple[int, int], with_region: bool
) -> None:
    monkeypatch.setattr(module, "_PIXELS", pixels)
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (*shape, 3), np.uint8)
    scores = random.normal(1, 2, shape).astype(np.float32)
    scores[0, 0] = np.nan
    inside = random.random(shape) < 0.7 if with_region else None
    got, want = overlay(image, scores, SCALE, inside=inside), formula(image, scores, inside)
    assert got.dtype == np.uint8 and np.abs(got.astype(int) - want).max() <= 1  # the formula's last bit
    assert (got == want).mean() > 0.999
    flipped = overlay(image[::-1], scores[::-1], SCALE, inside=None if inside is None else inside[::-1])
    assert np.array_equal(flipped, got[::-1])  # of arrays of any strides, and however rows come together


def test_lines_are_drawn_on_it_alone() -> None:
    random = np.random.default_rng(3)
    image, scores = random.integers(0, 256, (80, 60, 3), np.uint8), random.normal(1, 2, (80, 60)).astype(np.float32)
    mask, kept = np.zeros((80, 60), bool), image.copy()
    mask[20:30, 10:25] = True
    plain = overlay(image, scores, SCALE)
    want = frame(outline(plain, mask, module.PREDICTED), [(10, 20, 15, 10)])
    assert np.array_equal(overlay(image, scores, SCALE, predicted=mask, boxes=[(10, 20, 15, 10)]), want)
    assert np.array_equal(plain, overlay(image, scores, SCALE)) and np.array_equal(image, kept)
    assert not np.array_equal(plain, want)
