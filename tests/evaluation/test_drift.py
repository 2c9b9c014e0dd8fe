"""The test of a drift keeps its false-alarm rate over all time, and tells shifts from bursts of defects."""

from __future__ import annotations

import argparse
import copy
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stadx import DataError
from stadx.evaluation.monitor import Drift, DriftState
from stadx.evaluation.monitor.bets import Bets, highs, levels
from stadx.evaluation.monitor.drift import group_size

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import monitor_study


def after(reference: NDArray[Any], scores: NDArray[Any], **settings: Any) -> DriftState:
    drift = Drift(reference, **settings)
    for score in scores:
        drift.update(float(score))
    return drift.state


@pytest.mark.parametrize("images", [12, 200])
def test_the_false_alarm_rate_holds_at_all_times_together(images: int) -> None:
    """500 lines without a drift, however few images judged; of an alpha of 0.2, as a lower one would show nothing."""
    rng = np.random.default_rng(images)
    lines = 500
    said = sum(
        after(rng.gamma(4, size=images), rng.gamma(4, size=30), alpha=0.2, group=1).verdict != "none"
        for _ in range(lines)
    )
    assert said <= 0.2 * lines
    assert said >= 5  # the test is not so careful that the rate means nothing


def test_it_holds_where_scores_are_equal_and_defects_are_few() -> None:
    rng = np.random.default_rng(0)
    said = 0
    for _ in range(80):
        scores = rng.integers(0, 4, 140).astype(float)  # nearly all are equal to others
        scores[40:][rng.uniform(size=100) < 0.02] = 50.0
        said += after(scores[:40], scores[40:], alpha=0.1, defect_rate=0.02, group=1).verdict != "none"
    assert said <= 8


@pytest.mark.parametrize(("by", "within"), [(1.0, 80), (2.0, 25), (4.0, 12), (-1.0, 80)])
@pytest.mark.parametrize("images", [40, 300])
def test_shifts_are_found_since_when_they_are(images: int, by: float, within: int) -> None:
    rng = np.random.default_rng(5)
    states = []
    for _ in range(5):
        scores = np.concatenate([rng.normal(size=200), rng.normal(by, 1, size=150)])
        states.append(after(rng.normal(size=images), scores, group=1))
    assert [state.verdict for state in states] == ["level"] * 5
    assert all(state.rises == (by > 0) for state in states)
    said = [state.said_at for state in states if state.said_at is not None]
    since = [state.since for state in states if state.since is not None]
    assert 200 < np.median(said) <= 200 + within
    assert abs(np.median(since) - 201) <= 15


def test_a_drift_is_found_though_few_images_judged() -> None:
    rng = np.random.default_rng(2)
    assert after(rng.normal(size=12), rng.normal(4, 1, size=40), group=1).verdict == "level"


def test_a_burst_of_defects_is_no_drift_of_the_level() -> None:
    rng = np.random.default_rng(3)
    verdicts = []
    for _ in range(6):
        scores = rng.normal(size=500)
        scores[300:][rng.uniform(size=200) < 0.3] += 9
        verdicts.append(after(rng.normal(size=150), scores, group=1).verdict)
    assert verdicts.count("high") >= 5 and "none" not in verdicts


def test_images_of_one_part_count_as_one() -> None:
    def parts(rng: np.random.Generator, images: int) -> NDArray[np.float64]:
        return np.repeat(rng.normal(size=images // 4), 4) * 0.8 + 0.6 * rng.normal(size=images)

    wrong = {None: 0, 1: 0, 4: 0}
    rng = np.random.default_rng(4)
    for _ in range(15):
        reference, scores = parts(rng, 200), parts(rng, 400)
        for group in wrong:
            wrong[group] += after(reference, scores, group=group).verdict != "none"
    assert wrong[1] > 3  # taken for independent they look like a drift
    assert wrong[None] <= 1 and wrong[4] <= 1
    assert group_size(rng.normal(size=200)) == 1 and group_size(parts(rng, 200)) >= 4


def test_the_state_follows_each_image_and_a_verdict_stays() -> None:
    rng = np.random.default_rng(6)
    drift, again = Drift(np.zeros(20), seed=1), Drift(iter([0.0] * 20), seed=1)
    scores = [0.0] * 30 + [1.0] * 30 + [0.0] * 100
    states = [drift.update(score) for score in scores]
    assert states == [again.update(score) for score in scores]  # of one seed
    assert [state.images for state in states] == list(range(1, 161))
    said = next(state for state in states if state.verdict != "none")
    assert said.images == said.said_at and said.since is not None and 26 <= said.since <= 32
    assert max(said.log10_level, said.log10_high) >= drift.log10_limit == math.log10(200)
    assert states[-1].verdict == said.verdict == "level" and states[-1].said_at == said.said_at
    grouped = Drift(rng.normal(size=60), group=3)
    assert grouped.update(0.1).log10_high == 0  # its group is not whole


def test_bad_input_is_refused_and_changes_nothing() -> None:
    with pytest.raises(DataError, match="9 images are too few to compare with; 10 are needed"):
        Drift(np.arange(9.0))
    with pytest.raises(DataError, match="4 groups of 5 images that follow each other are too few"):
        Drift(np.arange(20.0), group=5)
    with pytest.raises(DataError, match="finite"):
        Drift([math.nan] * 20)
    for settings in ({"alpha": 0}, {"alpha": 1}, {"defect_rate": 0.5}, {"group": 0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            Drift(np.arange(20.0), **settings)
    drift = Drift(np.arange(20.0))
    with pytest.raises(DataError, match="image 1 has the score nan"):
        drift.update(math.nan)
    assert drift.update(1.0).images == 1


def test_no_density_wins_on_average() -> None:
    """Means over uniform ranks are at most 1, with as many strangers at the top as are allowed too."""
    ranks = (np.arange(20_000) + 0.5) / 20_000
    means = np.exp([levels(rank) for rank in ranks]).mean(axis=0)
    np.testing.assert_allclose(means, 1, atol=0.01)
    for strangers in (0.0, 0.05, 0.95):
        densities = highs(strangers)
        means = np.exp([densities(rank) for rank in ranks]).mean(axis=0)
        assert len(means) == (9 if strangers < 0.9 else 6)  # more than all cannot be high
        assert ((1 - strangers) * means + strangers * np.exp(densities(1 - 1e-9)) <= 1.01).all()


def test_capital_is_one_at_first_and_the_mean_of_what_may_come() -> None:
    bets = Bets(levels)
    assert bets.log_capital == 0
    for rank in (0.9, 0.2, 0.99):
        bets.add(rank)
    next_ones = []
    for rank in (np.arange(2000) + 0.5) / 2000:
        copied = copy.deepcopy(bets)
        copied.add(rank)
        next_ones.append(math.exp(copied.log_capital))
    assert np.mean(next_ones) == pytest.approx(math.exp(bets.log_capital), rel=0.01)


def test_the_study_counts_what_it_says() -> None:
    given = argparse.Namespace(lines=4, drifts=4, images=30, alpha=0.01)
    kinds = {"none": (4, 0), "parts": (4, 0), "shift": (4, 4), "burst": (4, None)}
    done = []
    for kind, (lines, said) in kinds.items():
        case = next(c for c in monitor_study.cases() if c["kind"] == kind and c.get("by", 4.0) == 4.0)
        line = {"case": case, **monitor_study.run(case, given)}
        assert line["lines"] == lines and said in (None, line["said"])
        done.append(line)
    assert 1 <= done[2]["delay"] <= done[2]["delay90"] < 20
    table = monitor_study.tables(done)
    assert (
        "| 20 | 0 % | 0 of 4 (0 % … 60 %) |" in table
        and "| shift | 20 judged, from image 1 |" in table
        and "| +4 σ | 4 of 4: " in table
    )
    cases = [str(case) for case in monitor_study.cases()]
    assert len(set(cases)) == len(cases)
