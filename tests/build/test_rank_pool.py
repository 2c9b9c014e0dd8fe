"""The pool that the study of rankings reviews: copies of images of new kinds, and which part each image shows."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from stadx.data.images import read_image, write_image

# at the end: a module of the tests with the same name wins
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import rank_pool

PER_PART = 2


def pool_of(category: Path, folder: Path, copies: int) -> rank_pool.Images:
    given = argparse.Namespace(images=PER_PART, copies=copies, brightness=[1.2, 0.8], degrees=5.0)
    return rank_pool.images_of(category, folder, 0, given)


def test_new_kinds_come_as_often_as_asked_and_the_rest_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in {"train/good": 7 * PER_PART, "test/good": 1, "test/bad": 2 * PER_PART}.items():
        for number in range(count):
            write_image(tmp_path / f"part/{part}/{number}.png", rng.integers(40, 200, (20, 24, 3), np.uint8))
    once, often = (pool_of(tmp_path / "part", tmp_path / str(copies), copies) for copies in (1, 4))
    assert len(once.pool) == 4 * PER_PART == len(set(once.part)) and len(often.pool) == 7 * PER_PART
    counts = Counter(often.part)
    for shown, new, good in zip(often.part, often.is_new, often.is_good, strict=True):
        assert counts[shown] == (4 if new else 1) and good >= new
    first = next(shown for shown, new in zip(often.part, often.is_new, strict=True) if new)
    copies = [read_image(path) for path, shown in zip(often.pool, often.part, strict=True) if shown == first]
    apart = [np.abs(image.astype(int) - copies[0]).mean() for image in copies[1:]]
    assert all(0.5 < distance < 5 for distance in apart)
    # one copy alone: the images of the same study without the option
    assert sorted(p.name for p in once.pool) == sorted(p.name for p in often.pool if "_" not in p.stem)
