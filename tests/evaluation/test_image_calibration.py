"""The choice of an image threshold: against a search over all thresholds, and what it says of itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stadx.core.errors import DataError
from stadx.evaluation.calibration import Share, choose_threshold
from stadx.evaluation.calibration_curve import CalibrationCurve, Cost, Goal, ImageFpr, Recall

GOOD = [1.0, 2.0, 3.0, 4.0]
DEFECTS = [3.5, 5.0, 6.0, 7.0]


def overlapping(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    good, defects = rng.normal(0, 1, int(rng.integers(2, 30))), rng.normal(1, 1, int(rng.integers(2, 30)))
    return (np.round(good), np.round(defects)) if ties else (good, defects)


def candidates(good: np.ndarray, defects: np.ndarray) -> list[tuple[float, float]]:
    """Recall and false-alarm rate of every threshold that makes a difference: at each score, and below all."""
    thresholds = [-np.inf, *good, *defects]
    return [(float(np.mean(defects > t)), float(np.mean(good > t))) for t in thresholds]


@pytest.mark.parametrize("ties", [False, True])
def test_each_goal_is_met_as_well_as_any_threshold_can(ties: bool) -> None:
    for seed in range(40):
        good, defects = overlapping(seed, ties)
        if len(np.unique([*good, *defects])) == 1:
            continue
        every = candidates(good, defects)

        def reached(goal: Goal, good: np.ndarray = good, defects: np.ndarray = defects) -> tuple[float, float]:
            found = choose_threshold(good.tolist(), defects.tolist(), goal)
            rates = float(np.mean(defects > found.threshold)), float(np.mean(good > found.threshold))
            assert rates == (found.found.k / found.found.n, found.flagged.k / found.flagged.n)
            return rates

        for share in (0.0, 0.3, 0.95, 1.0):
            lowest = min(fpr for recall, fpr in every if recall >= share)
            assert reached(Recall(share)) == (max(recall for recall, fpr in every if fpr == lowest), lowest)
            highest = max(recall for recall, fpr in every if fpr <= share)
            assert reached(ImageFpr(share)) == (highest, min(fpr for recall, fpr in every if recall == highest))
        for rate in (0.01, 0.5):
            costs = [20 * rate * (1 - recall) + (1 - rate) * fpr for recall, fpr in every]
            recall, fpr = reached(Cost(20, 1, rate))
            assert 20 * rate * (1 - recall) + (1 - rate) * fpr == pytest.approx(min(costs), abs=1e-12)


def test_the_threshold_is_in_the_middle_between_two_scores() -> None:
    assert choose_threshold(GOOD, DEFECTS, Recall(1.0)).threshold == 3.25
    assert choose_threshold(GOOD, DEFECTS, ImageFpr(0.0)).threshold == 4.5
    assert choose_threshold([1.0, 9.0], [2.0, 8.0], ImageFpr(0.0)).threshold == 9.5  # above all: as far as from 8 to it
    assert choose_threshold([2.0, 8.0], [1.0, 9.0], Recall(1.0)).threshold == 0.5


def test_shares_are_of_whole_images() -> None:
    """0.28 * 25 is a little more than 7 in float64, and 0.29 * 100 a little less than 29."""
    many = [float(i) for i in range(25)]
    assert choose_threshold([-1.0, 24.5], many, Recall(0.28)).found.k == 25  # one flagged: all below come for nothing
    assert choose_threshold([17.5, 30.0], many, Recall(0.28)).found.k == 7
    hundred = [float(i) for i in range(100)]
    assert choose_threshold(hundred, [-1.0, 70.5], ImageFpr(0.29)).found.k == 1


def test_the_default_goal_is_most_of_the_defects() -> None:
    assert choose_threshold(GOOD, DEFECTS).goal == Recall(0.95)


def test_with_each_image_left_out_the_others_choose() -> None:
    """Every threshold found again by the public function."""
    for seed in range(6):
        good, defects = (scores.tolist() for scores in overlapping(seed))
        if min(len(good), len(defects)) < 3:
            continue
        for goal in (Recall(0.9), ImageFpr(0.1), Cost(5, 1, 0.2)):
            chosen = choose_threshold(good, defects, goal)
            found = flagged = 0
            for i, score in enumerate(defects):
                found += score > choose_threshold(good, defects[:i] + defects[i + 1 :], goal).threshold
            for i, score in enumerate(good):
                flagged += score > choose_threshold(good[:i] + good[i + 1 :], defects, goal).threshold
            assert chosen.found_left_out == Share(found, len(defects))
            assert chosen.flagged_left_out == Share(flagged, len(good))


def test_leaving_out_tells_more_of_new_images_than_the_images_that_chose() -> None:
    """The threshold that none of n good images exceeds is exceeded by about one of n + 1 new ones."""
    rng = np.random.default_rng(0)
    own, left_out, new = [], [], []
    for _ in range(300):
        chosen = choose_threshold(rng.normal(0, 1, 10).tolist(), [20.0, *rng.normal(0, 1, 8)], ImageFpr(0.0))
        assert chosen.flagged_left_out is not None
        own.append(chosen.flagged.k / 10)
        left_out.append(chosen.flagged_left_out.k / 10)
        new.append(float(np.mean(rng.normal(0, 1, 1000) > chosen.threshold)))
    assert np.mean(own) == 0
    assert np.mean(left_out) == pytest.approx(np.mean(new), abs=0.02)


def test_the_curve_goes_from_nothing_to_everything() -> None:
    curve = CalibrationCurve.of(np.array(GOOD), np.array(DEFECTS))
    assert (curve.found[0], curve.flagged[0], curve.found[-1], curve.flagged[-1]) == (0, 0, 4, 4)
    assert (np.diff(curve.thresholds) < 0).all() and len(curve.thresholds) == 9
    assert (np.diff(curve.found) + np.diff(curve.flagged) == 1).all()


def test_it_says_what_few_images_do_not_tell() -> None:
    notes = " ".join(choose_threshold([float(i) for i in range(12)], [100.0, 101.0], Recall(1.0)).notes())
    assert "The images chose the threshold" in notes and "each image left out" in notes
    assert "With 12 good images, 0 flagged, the true share may be up to 26 %." in notes
    assert "With 2 defect images, 2 found, the true share may be as low as 16 %." in notes
    rng = np.random.default_rng(0)
    many = choose_threshold(rng.normal(0, 1, 300).tolist(), rng.normal(9, 1, 300).tolist())
    assert len(many.notes()) == 1


def test_one_image_of_a_kind_cannot_be_left_out() -> None:
    chosen = choose_threshold(GOOD, [9.0])
    assert chosen.found_left_out is chosen.flagged_left_out is None
    assert "The images chose the threshold, so its figures are too good." in chosen.notes()
    assert chosen.to_json()["found_left_out"] is None


def test_kinds_that_are_exchanged_are_told() -> None:
    assert any("exchanged" in note for note in choose_threshold(DEFECTS, GOOD).notes())
    assert not any("exchanged" in note for note in choose_threshold(GOOD, DEFECTS).notes())


def test_goals_that_the_model_cannot_meet_are_told() -> None:
    assert any("Most good images" in note for note in choose_threshold(GOOD, [0.0, *DEFECTS], Recall(1.0)).notes())
    assert any("No defect is found" in note for note in choose_threshold([*GOOD, 9.0], DEFECTS, ImageFpr(0.0)).notes())
    assert not any("with this goal" in note for note in choose_threshold(GOOD, DEFECTS).notes())


def test_another_threshold_is_measured_on_the_same_images() -> None:
    assert choose_threshold(GOOD, DEFECTS).at(5.0) == (Share(2, 4), Share(0, 4))


def test_json_holds_the_curve() -> None:
    chosen = choose_threshold(GOOD, DEFECTS, Cost(20, 1))
    read = json.loads(json.dumps(chosen.to_json()))
    assert read["goal"] == {"Cost": {"miss": 20, "alarm": 1, "defect_rate": 0.01}}
    assert read["threshold"] == chosen.threshold and read["found"]["k"] == chosen.found.k
    assert read["curve"]["thresholds"] == chosen.curve.thresholds.tolist()
    assert read["image_auroc"] == 15 / 16


@pytest.mark.parametrize(
    ("good", "defects", "message"),
    [
        ([], [1.0], "no good images"),
        ([1.0], [], "no defect images"),
        ([1.0, float("nan")], [2.0], "scores of the good images"),
        ([1.0], [float("inf")], "scores of the defect images"),
        ([2.0, 2.0], [2.0], "all images score 2"),
    ],
)
def test_scores_that_choose_nothing_are_refused(good: list[float], defects: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_threshold(good, defects)


def test_goals_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"recall is 1\.5"):
        Recall(1.5)
    with pytest.raises(ValueError, match="image_fpr is nan"):
        ImageFpr(float("nan"))
    with pytest.raises(ValueError, match="defect_rate is 2"):
        Cost(1, 1, 2)
    with pytest.raises(ValueError, match="both must be positive"):
        Cost(0, 1)
