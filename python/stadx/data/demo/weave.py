"""A drawn category: canvas woven from coloured threads, with cut, stain and foreign defects."""

from __future__ import annotations

import numpy as np

from .drawing import Bool, Drawing, Float, bent_curve, distance_to_curve, grid, smooth_noise, smoothstep

NAME = "weave"
DEFECTS = ("cut", "stain", "foreign")
GRAIN = 0.010

_THREADS = 15  # across the image
_WARP = np.array([0.235, 0.40, 0.52], np.float32)  # blue-grey, runs down the image
_WEFT = np.array([0.87, 0.82, 0.72], np.float32)  # natural linen, runs across it
_OIL = np.array([0.62, 0.47, 0.30], np.float32)
_FIBRES = np.array([[0.62, 0.10, 0.10], [0.12, 0.12, 0.13], [0.16, 0.36, 0.17]], np.float32)


def draw(size: int, rng: np.random.Generator, defect: str | None) -> Drawing:
    """Draw one piece of cloth of its own, [size, size, 3], and the same piece with `defect`."""
    cloth = _Cloth(size, rng)
    good = cloth.render()
    if defect is None:
        return Drawing(good, None)
    centre = (float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.2, 0.8)))
    if defect == "cut":
        return Drawing(good, cloth.render(_cut(cloth, centre, rng)))
    return Drawing(good, (_stained if defect == "stain" else _with_fibre)(good, centre, rng))


class _Cloth:
    """The random state of one piece of cloth; `render` draws it whole or with threads missing."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        y, x = grid(size)
        angle = rng.normal(0, 0.012)
        direction, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.07)
        threads = _THREADS + 8
        # Thread coordinates: u counts warp threads, v weft threads.
        self.u = self._coordinate(x, y, -angle, rng)
        self.v = self._coordinate(y, x, angle, rng)
        self.tint = rng.normal(1, 0.045, (2, threads)).astype(np.float32)
        self.width = rng.normal(0.46, 0.018, (2, threads)).astype(np.float32)
        self.shift = rng.normal(0, 0.035, (2, threads)).astype(np.float32)
        ramp = np.cos(direction) * (2 * x - 1) + np.sin(direction) * (2 * y - 1)
        self.light = (rng.normal(1, 0.015) + strength * ramp).astype(np.float32)[..., None]
        self.fibre = smooth_noise(size, rng, 0.004)

    @staticmethod
    def _coordinate(across: Float, along: Float, angle: float, rng: np.random.Generator) -> Float:
        wobble = 0.06 * np.sin(2 * np.pi * (along * rng.uniform(0.7, 1.5) + rng.uniform()))
        turned = across * np.cos(angle) + along * np.sin(angle)
        return np.asarray(turned * _THREADS + rng.uniform(2, 4) + wobble, dtype=np.float32)

    def render(self, missing: Bool | None = None) -> Float:
        """Draw [S, S, 3] in [0, 1]; `missing` [S, S] is where warp threads are gone."""
        warp, warp_shade = self._threads(self.u, self.v, 0)
        weft, weft_shade = self._threads(self.v, self.u, 1, missing)
        if missing is not None:
            warp = np.where(missing, np.float32(-1), warp)
        over = (warp > weft)[..., None]
        colour = np.where(over, warp_shade[..., None] * _WARP, weft_shade[..., None] * _WEFT)
        bare = (np.maximum(warp, weft) < -0.9)[..., None]
        colour = np.where(bare, (0.10 + 0.03 * self.fibre)[..., None] * _WEFT, colour)
        return np.asarray(colour * self.light, dtype=np.float32)

    def _threads(self, across: Float, along: Float, kind: int, slack: Bool | None = None) -> tuple[Float, Float]:
        """Height and shade [S, S] of the threads counted by `across` that run along `along`."""
        index = np.floor(across).astype(np.int64)
        width = self.width[kind][index]
        tint = self.tint[kind][index]
        offset = (across - index - 0.5 - self.shift[kind][index]) / width
        profile = np.sqrt(np.clip(1 - offset**2, 0, 1))
        # Plain weave: neighbours alternate, and one system rises where the other dips.
        wave = np.cos(np.pi * (along - 0.5 + index + kind))
        if slack is not None:
            # With nothing to pass over, threads lie low and flat.
            wave = np.where(slack, -0.45, wave)
        height = np.where(np.abs(offset) < 1, 0.55 * wave + 0.35 * profile, -1)
        twist = np.sin(2 * np.pi * (2.6 * along + 0.8 * offset) + 40 * tint)
        shade = 0.42 + 0.40 * profile + 0.20 * wave - 0.16 * offset
        shade = shade + 0.055 * twist * profile + 0.05 * self.fibre
        return height.astype(np.float32), (shade * tint).astype(np.float32)


def _cut(cloth: _Cloth, centre: tuple[float, float], rng: np.random.Generator) -> Bool:
    """Where one or two neighbouring warp threads are torn out over a few crossings, with frayed ends."""
    size = cloth.u.shape[0]
    row, column = (int(c * size) for c in centre)
    first = np.floor(cloth.u[row, column])
    last = first + rng.integers(1, 3)
    half = rng.uniform(1.2, 2.4)
    frayed = np.abs(cloth.v - cloth.v[row, column]) + 0.12 * cloth.fibre
    return np.asarray((cloth.u >= first) & (cloth.u < last) & (frayed < half))


def _stained(good: Float, centre: tuple[float, float], rng: np.random.Generator) -> Float:
    """A blot of oil: an uneven outline, a darker rim, more visible on the light threads."""
    size = good.shape[0]
    y, x = grid(size)
    radius = rng.uniform(0.06, 0.12)
    distance = np.hypot(y - centre[0], (x - centre[1]) * rng.uniform(0.75, 1.3))
    distance = distance / radius + 0.16 * smooth_noise(size, rng, 0.04)
    soaked = smoothstep(1.12, 0.85, distance) * (0.75 + 0.25 * smoothstep(0.4, 0.95, distance))
    strength = np.float32(rng.uniform(0.45, 0.85))
    return np.asarray(good * (1 - strength * soaked[..., None] * (1 - _OIL)), dtype=np.float32)


def _with_fibre(good: Float, centre: tuple[float, float], rng: np.random.Generator) -> Float:
    """A stray fibre that lies on the cloth and throws a soft shadow."""
    y, x = grid(good.shape[0])
    curve = bent_curve(rng, centre, rng.uniform(0.24, 0.4), rng.uniform(0, np.pi), rng.uniform(-3, 3))
    width = rng.uniform(0.007, 0.011)
    distance, _ = distance_to_curve(y, x, curve)
    below, _ = distance_to_curve(y - 0.012, x - 0.009, curve)
    shadow = 1 - 0.45 * smoothstep(2.2 * width, 0.4 * width, below)[..., None]
    round_ = np.sqrt(np.clip(1 - (distance / width) ** 2, 0, 1))[..., None]
    cover = smoothstep(width, 0.8 * width, distance)[..., None]
    fibre = _FIBRES[rng.integers(len(_FIBRES))] * (0.55 + 0.75 * round_)
    return np.asarray(good * shadow * (1 - cover) + fibre * cover, dtype=np.float32)
