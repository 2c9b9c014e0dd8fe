"""The image threshold keeps its promise: on average, and the interval that is stated for it holds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from stadx.detectors.thresholds import FalseAlarms, counted_image_threshold_at, image_threshold_at
from stadx.metrics.intervals import independent_number


@pytest.mark.parametrize(("images", "asked"), [(19, 0.05), (54, 0.05), (300, 0.05), (30, 0.2), (10, 0.1)])
def test_the_share_is_met_on_average_and_lies_within_the_interval(images: int, asked: float) -> None:
    """Scores of good images drawn 4,000 times from one distribution, whose true shares are known."""
    rng = np.random.default_rng(images)
    shares, within = [], []
    for scores in rng.uniform(size=(4000, images)).astype(np.float32):
        threshold = image_threshold_at(asked, scores)
        share = 1 - threshold  # of a uniform distribution
        promise = FalseAlarms.of(asked, threshold, scores)
        shares.append(share)
        within.append(promise.low <= share <= promise.high)
    error = np.std(shares) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - asked) < 4 * error + 1e-6
    assert np.mean(within) >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / 4000)


def grouped(rng: np.random.Generator, images: int, of_each: int, alike: float) -> np.ndarray:
    """Normal scores of images, so many of each part after the other, of which the part explains the share `alike`."""
    parts = np.repeat(rng.normal(size=-(-images // of_each)), of_each)[:images]
    return np.sqrt(alike) * parts + np.sqrt(1 - alike) * rng.normal(size=images)


@pytest.mark.parametrize(("images", "of_each", "alike"), [(160, 4, 0.55), (54, 3, 0.6), (300, 20, 0.5), (300, 2, 0.8)])
def test_several_images_of_one_part_promise_less(images: int, of_each: int, alike: float) -> None:
    """Exact intervals that take them for independent hold in 74 to 94 % of the cases here."""
    rng = np.random.default_rng(images)
    shares, within, independent = [], [], []
    for _ in range(400):
        scores = grouped(rng, images, of_each, alike).astype(np.float32)
        threshold = image_threshold_at(0.05, scores)
        share = norm.sf(threshold)
        promise = FalseAlarms.of(0.05, threshold, scores)
        shares.append(share)
        independent.append(promise.independent)
        within.append(promise.low <= share <= promise.high)
    assert np.mean(within) >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 400)
    assert 0.02 < np.mean(shares) < 0.05 + 4 * np.std(shares) / 20  # rather too few than too many
    assert images / of_each * 0.6 < np.mean(independent) < images * 0.75


def test_how_many_are_independent() -> None:
    rng = np.random.default_rng(0)
    alone = rng.normal(size=200).astype(np.float32)
    assert independent_number(alone) == 200
    of_fours = [independent_number(np.repeat(rng.normal(size=50), 4)) for _ in range(50)]
    assert 38 < np.mean(of_fours) < 55
    assert independent_number(np.zeros(50, np.float32)) == 50  # equal scores say nothing of it
    assert independent_number(np.arange(19.0)) == 19  # too few to tell
    assert independent_number(np.arange(2e6)) < 5  # a long line that drifts: n² operations would take an hour
    promise = FalseAlarms.of(0.05, 9.0, np.repeat(alone[:10], 4))
    assert promise.images == 40 and promise.independent < 19
    assert "the 40 say no more than" in promise.sentence() and "too few to promise" in promise.sentence()
    assert image_threshold_at(0.05, np.repeat(alone[:10], 4)) == alone[:10].max()


def test_too_few_images_take_the_highest() -> None:
    scores = np.array([3, 1, 2], np.float32)
    assert image_threshold_at(0.05, scores) == 3 == image_threshold_at(0, scores)
    assert image_threshold_at(1, scores) == 1
    assert image_threshold_at(0.5, scores) == 2 and image_threshold_at(0.375, scores) == 2.5
    assert counted_image_threshold_at(0.34, scores) == 2 and counted_image_threshold_at(0.33, scores) == 3


def test_it_is_said_in_words() -> None:
    scores = np.arange(54, dtype=np.float32) * 29 % 54  # neighbours differ
    promise = FalseAlarms.of(0.05, image_threshold_at(0.05, scores), scores)
    assert (promise.flagged, promise.images, promise.independent) == (2, 54, 54)
    assert promise.sentence() == (
        "Asked for: 5 % of good images flagged. Of the 54 good images that judged 2 exceed the image threshold: "
        "with 95 % confidence it flags 0.45 % to 13 % of good ones. 60 more would likely bring that below 10 %."
    )
    few = FalseAlarms.of(0.05, 9.0, np.arange(10, dtype=np.float32))
    assert "10 good images that judged 0 exceed" in few.sentence() and "0 % to 31 %" in few.sentence()
    assert few.sentence().endswith("the threshold is not below the highest of their scores; give 19 images or more.")
    chosen = FalseAlarms.of(None, 2.0, scores)
    assert chosen.sentence().startswith("Of the 54 good images") and "more" not in chosen.sentence()
    many = FalseAlarms.of(0.05, 949.5, np.arange(1000, dtype=np.float32) * 371 % 1000)
    assert many.sentence().endswith("of good ones.")
