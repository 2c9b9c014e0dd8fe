"""What the drawn demo categories share: coordinates, soft steps, smooth noise, distances, and exact masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]

OVERSAMPLING = 2  # drawn at this multiple of the size and averaged down, against jagged edges
_VISIBLE = 3.0 / 255  # a smaller change counts as none


@dataclass(frozen=True)
class Drawing:
    """One drawing in [0, 1], oversampled [S, S, 3]: without and, if it has a defect, with it."""

    good: Float
    damaged: Float | None


def finish(drawing: Drawing, grain: float, rng: np.random.Generator) -> tuple[UInt8, Bool]:
    """Average down, add sensor noise, round: uint8 [H, W, 3], and the mask bool [H, W] of changed pixels.

    The mask is exactly the set of pixels that differ from the same image without the defect.
    """
    good = _average(drawing.good)
    noise = rng.normal(0, grain, good.shape)
    image = _quantise(good + noise)
    mask = np.zeros(image.shape[:2], np.bool_)
    if drawing.damaged is None:
        return image, mask
    damaged = _average(drawing.damaged)
    mask |= np.abs(damaged - good).max(axis=2) > _VISIBLE
    changed = _quantise(damaged + noise)
    # Saturation can hide a change; one grey level, which nobody sees, keeps mask and changed pixels equal.
    hidden = mask & (changed == image).all(axis=2)
    changed[hidden] ^= 1
    return np.where(mask[..., None], changed, image), mask


def grid(size: int) -> tuple[Float, Float]:
    """Coordinates y and x [S, S] of the pixel centres, in units of the image side."""
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + np.float32(0.5)) / np.float32(size)
    return y, x


def smoothstep(low: float, high: float, value: Float) -> Float:
    """0 below `low`, 1 above `high`, smooth between; falling if `low` > `high`."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def smooth_noise(size: int, rng: np.random.Generator, scale: float) -> Float:
    """Periodic Gaussian noise [S, S] of unit variance, blurred by `scale` of the image side."""
    frequency = np.fft.fftfreq(size, 1 / size)[:, None] ** 2 + np.fft.rfftfreq(size, 1 / size)[None] ** 2
    blur = np.exp(-2 * (np.pi * scale) ** 2 * frequency)
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) * blur, s=(size, size))
    return np.asarray(noise / noise.std(), dtype=np.float32)


def distance_to_curve(y: Float, x: Float, points: npt.NDArray[np.float64]) -> tuple[Float, Float]:
    """Distance [S, S] to a polyline of `points` [K, 2] (y, x), and the place along it in [0, 1]."""
    best = np.full(y.shape, np.inf, np.float32)
    place = np.zeros(y.shape, np.float32)
    steps = len(points) - 1
    for i in range(steps):
        (y0, x0), (dy, dx) = points[i], points[i + 1] - points[i]
        t = np.clip(((y - y0) * dy + (x - x0) * dx) / (dy * dy + dx * dx), 0, 1)
        distance = (y - y0 - t * dy) ** 2 + (x - x0 - t * dx) ** 2
        nearer = distance < best
        best = np.where(nearer, distance, best).astype(np.float32)
        place = np.where(nearer, (i + t) / steps, place).astype(np.float32)
    return np.sqrt(best), place


def bent_curve(
    rng: np.random.Generator,
    centre: tuple[float, float],
    length: float,
    angle: float,
    bend: float,
    steps: int = 12,
) -> npt.NDArray[np.float64]:
    """Points [steps + 1, 2] (y, x) of an arc of `length` around `centre` whose direction turns by `bend`."""
    along = np.linspace(-0.5, 0.5, steps)
    turns = angle + bend * (along + 0.2 * np.sin(2 * np.pi * (along + rng.uniform())))
    moves = np.stack([np.sin(turns), np.cos(turns)], axis=1) * (length / steps)
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    return np.asarray(points - points.mean(axis=0) + np.asarray(centre))


def _average(image: Float) -> Float:
    size = image.shape[0] // OVERSAMPLING
    blocks = image.reshape(size, OVERSAMPLING, size, OVERSAMPLING, 3)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _quantise(image: npt.NDArray[np.floating[Any]]) -> UInt8:
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), dtype=np.uint8)
