"""A drawn category: a turned metal washer with bolt holes, with scratch, dent and chip defects."""

from __future__ import annotations

import numpy as np

from .drawing import Drawing, Float, bent_curve, distance_to_curve, grid, smooth_noise, smoothstep

NAME = "washer"
DEFECTS = ("scratch", "dent", "chip")
GRAIN = 0.008

_OUTER, _INNER = 0.37, 0.135  # radii, in units of the image side
_HOLES, _HOLE_CIRCLE, _HOLE = 6, 0.262, 0.036
_BEVEL = 0.016
_STEEL = np.array([0.80, 0.82, 0.85], np.float32)
_TABLE = np.array([0.135, 0.150, 0.175], np.float32)


def draw(size: int, rng: np.random.Generator, defect: str | None) -> Drawing:
    """Draw one washer, [size, size, 3], and the same washer with `defect`."""
    washer = _Washer(size, rng)
    good = washer.render()
    if defect is None:
        return Drawing(good, None)
    if defect == "chip":
        return Drawing(good, washer.render(bite=washer.bite(rng)))
    relief = washer.scratch(rng) if defect == "scratch" else washer.dent(rng)
    return Drawing(good, washer.render(relief=relief))


class _Washer:
    """The random place, turn, light and surface of one washer; `render` draws it whole or damaged."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.y, self.x = grid(size)
        self.centre = 0.5 + rng.normal(0, 0.010, 2)
        self.turn = rng.normal(0, 0.07)
        self.light = np.deg2rad(-125 + rng.normal(0, 6))
        self.gain = rng.normal(1, 0.03)
        self.dy, self.dx = self.y - self.centre[0], self.x - self.centre[1]
        self.radius = np.hypot(self.dy, self.dx)
        self.angle = np.arctan2(self.dy, self.dx)
        # Turning leaves grooves: noise over the radius that hardly changes along the circle.
        grooves = np.convolve(rng.normal(size=1200), np.ones(3) / 3, "same").astype(np.float32)
        waver = 0.0012 * np.sin(2 * self.angle + rng.uniform(0, 6))
        self.grooves = np.interp(self.radius + waver, np.linspace(0, 0.75, 1200), grooves).astype(np.float32)
        self.dust = smooth_noise(size, rng, 0.004)
        self.cloud = smooth_noise(size, rng, 0.08)

    def render(self, bite: Float | None = None, relief: tuple[Float, Float] | None = None) -> Float:
        """Draw [S, S, 3] in [0, 1]. `bite` [S, S]: distance to a piece broken off, negative inside it;
        `relief`: slope toward the light and whiteness [S, S] added to the surface."""
        depth = self._depth(bite)
        shade = self._table()
        metal = smoothstep(-0.0025, 0.0025, depth)[..., None]
        return np.asarray(shade * (1 - metal) + self._metal(depth, relief) * metal, dtype=np.float32)

    def bite(self, rng: np.random.Generator) -> Float:
        """A piece of the rim broken off, between the bolt holes or not: uneven, a few hundredths deep."""
        where, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.030, 0.055)
        cy = self.centre[0] + (_OUTER + 0.012) * np.sin(where)
        cx = self.centre[1] + (_OUTER + 0.012) * np.cos(where)
        uneven = 0.009 * smooth_noise(self.y.shape[0], rng, 0.018)
        return np.asarray(np.hypot(self.y - cy, self.x - cx) - depth - 0.012 + uneven, dtype=np.float32)

    def scratch(self, rng: np.random.Generator) -> tuple[Float, Float]:
        """A fine line across the face: bright ground, one flank lit and one dark, fading at its ends."""
        centre, where = self._face_point(rng, 0.23, 0.29)
        angle = where + rng.uniform(0.25, 0.75) * np.pi * rng.choice([-1, 1])
        curve = bent_curve(rng, centre, rng.uniform(0.16, 0.28), angle, rng.uniform(-0.7, 0.7))
        width = rng.uniform(0.005, 0.008)
        distance, place = distance_to_curve(self.y, self.x, curve)
        fade = smoothstep(0, 0.15, place) * smoothstep(1, 0.8, place)
        line = smoothstep(width, 0.3 * width, distance) * fade
        beside, _ = distance_to_curve(self.y - 0.006, self.x - 0.004, curve)
        dark = smoothstep(width, 0.3 * width, beside) * fade
        return np.asarray(-0.35 * dark, dtype=np.float32), np.asarray(0.5 * line, dtype=np.float32)

    def dent(self, rng: np.random.Generator) -> tuple[Float, Float]:
        """A shallow round dent: dark on the side that faces away from the light, bright on the other."""
        (cy, cx), _ = self._face_point(rng, 0.19, 0.30)
        size = rng.uniform(0.026, 0.042)
        dy, dx = (self.y - cy) / size, (self.x - cx) / size * rng.uniform(0.8, 1.25)
        bowl = np.exp(-1.2 * (dy**2 + dx**2))
        slope = (dy * np.sin(self.light) + dx * np.cos(self.light)) * bowl
        return np.asarray(-0.85 * slope, dtype=np.float32), np.asarray(-0.08 * bowl, dtype=np.float32)

    def _face_point(
        self, rng: np.random.Generator, nearest: float, farthest: float
    ) -> tuple[tuple[float, float], float]:
        """A place on the face, and its direction from the centre."""
        where, radius = rng.uniform(0, 2 * np.pi), rng.uniform(nearest, farthest)
        y, x = self.centre[0] + radius * np.sin(where), self.centre[1] + radius * np.cos(where)
        return (float(y), float(x)), float(where)

    def _depth(self, bite: Float | None) -> Float:
        """Distance [S, S] from the nearest edge of the metal, positive inside it."""
        pitch = 2 * np.pi / _HOLES
        # Fold every hole onto the first one.
        folded = np.mod(self.angle - self.turn + pitch / 2, pitch) - pitch / 2
        hole = np.hypot(self.radius * np.cos(folded) - _HOLE_CIRCLE, self.radius * np.sin(folded)) - _HOLE
        depth = np.minimum(np.minimum(_OUTER - self.radius, self.radius - _INNER), hole)
        return np.asarray(depth if bite is None else np.minimum(depth, bite), dtype=np.float32)

    def _table(self) -> Float:
        """The dark table with the washer's soft shadow, [S, S, 3]."""
        offset = 0.022
        y, x = self.dy + offset * np.sin(self.light), self.dx + offset * np.cos(self.light)
        radius = np.hypot(y, x)
        under = smoothstep(_OUTER + 0.045, _OUTER - 0.03, radius)
        under = under * smoothstep(_INNER - 0.05, _INNER + 0.015, radius)
        glow = 1.15 - 0.5 * ((self.y - 0.45) ** 2 + (self.x - 0.45) ** 2)
        light = self.gain * glow * (1 - 0.75 * under) * (1 + 0.03 * self.dust + 0.02 * self.cloud)
        return np.asarray(light[..., None] * _TABLE, dtype=np.float32)

    def _metal(self, depth: Float, relief: tuple[Float, Float] | None) -> Float:
        """The brushed face with its bevels, [S, S, 3]."""
        # Circular brushing reflects in two opposite fans, as on a pan or a record.
        fans = np.cos(self.angle - self.light - 0.5) ** 2
        face = 0.50 + 0.24 * fans**2 + 0.05 * np.cos(self.angle - self.light)
        face = face + 0.030 * self.grooves + 0.012 * self.dust + 0.012 * self.cloud
        gy, gx = np.gradient(depth, 1 / depth.shape[0])
        toward = -(gy * np.sin(self.light) + gx * np.cos(self.light))
        edge = smoothstep(_BEVEL, 0.3 * _BEVEL, depth)
        face = face + edge * (0.26 * toward - 0.06)
        if relief is not None:
            face = face + relief[0] + relief[1]
        shine = smoothstep(0.62, 1.0, np.asarray(face, dtype=np.float32))[..., None]
        return np.asarray(self.gain * face[..., None] * (_STEEL + 0.06 * shine), dtype=np.float32)
