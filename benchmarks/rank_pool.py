"""The images that the study of rankings works with: learned, a pool to review, and others to measure by."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from stadx.data.images import read_image
from stadx.data.layouts import open_category
from update_study import changed

NOISE = 2.0  # standard deviation, of 255, of a copy's


class Images(NamedTuple):
    """What a run works with: files by part."""

    learned: list[Path]
    pool: list[Path]
    is_good: list[bool]  # of the pool
    is_new: list[bool]
    part: list[int]  # which image is shown: the same number for copies
    old_kind: list[Path]
    new_kind: list[Path]
    defects: list[Path]


def images_of(category: Path, folder: Path, seed: int, given: argparse.Namespace) -> Images:
    """The parts, drawn by the seed; changed images are written to `folder`."""
    found = open_category(category)
    rng = np.random.default_rng([seed, 11])
    good = [found.train[i] for i in rng.permutation(len(found.train))]
    bad = [item.path for item in found.test if not item.is_good]
    bad = [bad[i] for i in rng.permutation(len(bad))]
    n = given.images
    parts = [good[start : start + size] for start, size in ((0, 2 * n), (2 * n, 2 * n), (4 * n, n), (5 * n, n))]
    learned, same, fresh, same_test = (list(part) for part in parts)
    fresh_test = good[6 * n : 7 * n]
    folder.mkdir(parents=True, exist_ok=True)

    def new_kind(paths: Sequence[Path], name: str) -> list[Path]:
        kinds = [argparse.Namespace(brightness=b, tint=1.0, degrees=given.degrees) for b in given.brightness]
        return [changed(p, folder / f"{name}{i}.png", kinds[i % len(kinds)], rng) for i, p in enumerate(paths)]

    fresh, fresh_test = new_kind(fresh, "pool"), new_kind(fresh_test, "test")
    noise = np.random.default_rng([seed, 17])  # of its own: one copy alone is drawn as before
    more = range(2, given.copies + 1)
    fresh += [noisy(path, path.with_stem(f"{path.stem}_{number}"), noise) for path in fresh for number in more]
    # as learned, of new kinds, their copies, with defects
    part_of = [*range(3 * n), *(2 * n + i for i in range(n) for _ in more), *range(3 * n, 4 * n)]
    pool = [*same, *fresh, *bad[:n]]
    order = rng.permutation(len(pool))
    good_ones, new_ones = len(same) + len(fresh), range(len(same), len(same) + len(fresh))
    return Images(
        learned,
        [pool[i] for i in order],
        [bool(i < good_ones) for i in order],
        [i in new_ones for i in order],
        [part_of[i] for i in order],
        same_test,
        fresh_test,
        bad[n : 2 * n],
    )


def noisy(path: Path, place: Path, rng: np.random.Generator) -> Path:
    """A copy with noise on every value, as a camera makes it of the same part; written to `place`."""
    pixels = read_image(path)
    values = pixels + rng.normal(0, NOISE, pixels.shape)
    Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).save(place)
    return place
