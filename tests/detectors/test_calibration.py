"""Held-out images give the scores' statistics and thresholds, whatever is in memory at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small import good_images, random_teacher

from stadx import StadxError
from stadx.core.progress import silent
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.calibration import ErrorMaps, calibrate, judges, normalization_of, unseen_errors
from stadx.detectors.student_teacher.division import Division
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.normalization import Normalization, fuse
from stadx.detectors.student_teacher.settings import DetectorSettings, Terms
from stadx.detectors.student_teacher.smoothing import smooth
from stadx.detectors.thresholds import HeldOutScores, threshold_at, threshold_levels
from stadx.networks.windows import TensorRows

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]


@pytest.mark.parametrize("scales", [(17,), (17, 33, 33)], ids=str)
@pytest.mark.parametrize("terms, level, smoothing", [("e", 0.5, 0.0), ("both", 0.0, 1.5)])
def test_one_scale_after_the_other_is_all_at_once(
    scales: tuple[int, ...], terms: Terms, level: float, smoothing: float
) -> None:
    ensembles = [
        Ensemble(
            random_teacher(p), [random_teacher(p, i + j) for j in (1, 2)], torch.full((8,), 0.1 * i), torch.ones(8)
        )
        for i, p in enumerate(scales)
    ]
    source = ImageSource(good_images(4, (31, 26)), None)
    told: list[tuple[int, int]] = []
    division = Division([1], [0, 3, 2], [])
    errors = unseen_errors(
        ensembles, source, division, 1, lambda stage, done, total, figures: told.append((done, total))
    )
    settings = DetectorSettings(terms=terms, level=level, smoothing=smoothing, top_share=0.0, image_size=None)
    found, scores, _ = calibrate(errors, settings)
    every = list(unseen_errors(ensembles, source, division, 1, silent))
    assert found == [normalization_of(scale, terms, level) for scale in every]
    fused = [
        fuse([n.score(maps.e, maps.v) for n, maps in zip(found, image, strict=True)])
        for image in zip(*every, strict=True)
    ]
    for got, want in zip(scores, HeldOutScores.of([smooth(x[None], smoothing)[0] for x in fused]), strict=True):
        np.testing.assert_array_equal(got, want)
    assert told == [(i + 1, 3 * len(scales)) for i in range(3 * len(scales))]


def test_statistics_of_several_images_are_those_of_all_their_pixels() -> None:
    maps = [(1000 + torch.rand(size), torch.randn(size) * 1e-3) for size in ((5, 7), (1, 1), (40, 3))]
    n = Normalization.of(maps)
    e, v = (torch.cat([pair[i].flatten() for pair in maps]).double() for i in (0, 1))
    want = [float(x) for values in (e, v) for x in (values.mean(), values.std(correction=0))]
    np.testing.assert_allclose([n.e_mean, n.e_std, n.v_mean, n.v_std], want, rtol=1e-12)
    alike = Normalization.of([(torch.full(size, 0.1), torch.zeros(size)) for size in ((5, 7), (1, 1), (40, 3))])
    assert (alike.e_std, alike.v_mean, alike.v_std) == (1, 0, 1)  # nothing to divide by


def test_thresholds_are_the_scores_themselves() -> None:
    maps = [torch.randn(n, 50, generator=torch.Generator().manual_seed(n)) for n in (30, 70, 1)]
    before = [scores.clone() for scores in maps]
    fprs, thresholds = threshold_levels(maps)
    assert all(torch.equal(x, y) for x, y in zip(maps, before, strict=True))
    every = torch.cat(maps).flatten().numpy()
    assert len(fprs) == len(thresholds) <= 4096 and fprs.dtype == thresholds.dtype == np.float32
    for fpr, threshold in zip(fprs[::50], thresholds[::50], strict=True):
        assert np.mean(every > threshold) == pytest.approx(fpr, abs=1e-7)
    assert threshold_at(0, fprs, thresholds) == every.max() and threshold_at(1, fprs, thresholds) == every.min()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf], ids=str)
def test_scores_that_are_not_finite_are_refused(wrong: float) -> None:
    maps = [torch.randn(6, 5), torch.randn(4, 4)]
    maps[1][2, 1] = wrong
    with pytest.raises(StadxError, match="not finite"):
        threshold_levels(maps)


@pytest.mark.parametrize(
    ("folds", "seeds"),
    [([[0, 3, 4], [1, 2]], (1, 2)), ([[1, 2], [0, 3, 4]], (1, 2)), ([[0, 1, 2, 3], [4]], (1, 0))],
    ids=["easier", "harder", "by heart"],  # g is 0.7 to 0.95, 1.05 to 1.3, 2.2: the last student is the teacher
)
def test_images_that_one_student_left_out_are_raised_by_what_it_says_of_them(
    folds: list[list[int]], seeds: tuple[int, int]
) -> None:
    teacher, students = random_teacher(), [random_teacher(17, seed) for seed in seeds]
    ensemble = Ensemble(teacher, students, torch.zeros(8), torch.ones(8), inside=True)
    images = good_images(5, (31, 26))
    for stride in (1, 4):
        (found,) = unseen_errors(
            [ensemble], ImageSource(images, None), Division([*range(5)], [], folds), stride, silent
        )
        pairs = [ensemble.error_and_variance(images[i][None], stride=stride) for i in range(5)]
        alone = [
            replace(ensemble, students=[students[i not in folds[0]]]).error_and_variance(images[i][None], stride=stride)
            for i in range(5)
        ]
        seen = sum(float(e.sum()) for e, _ in pairs)
        without_v = sum(float(e1.sum() - v.sum()) for (e1, _), (_, v) in zip(alone, pairs, strict=True))
        gap = max(1.0, without_v / seen)
        weight = min(1.0, gap - 1)
        for got, (e, v), (e1, _) in zip(found, pairs, alone, strict=True):
            less = torch.maximum(e1 - v, e1 / 10)
            torch.testing.assert_close(got.e, (1 - weight) * gap * e + weight * less)
            torch.testing.assert_close(got.v, gap * v)
            assert got.computed == ensemble.computed(TensorRows(images[0]), stride)


def test_processes_send_each_other_maps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def joined(own: dict[int, Any]) -> dict[int, Any]:
        maps = [part for value in own.values() if isinstance(value, ErrorMaps) for part in value[:2]]
        sent.extend(part.untyped_storage().nbytes() for part in maps)
        return own

    monkeypatch.setattr("stadx.detectors.student_teacher.calibration.joined", joined)
    monkeypatch.setattr("stadx.detectors.student_teacher.calibration.world_size", lambda: 2)
    ensemble = Ensemble(random_teacher(), [random_teacher(17, 1)], torch.zeros(8), torch.ones(8))
    source = ImageSource(good_images(3, (31, 26)), None)
    list(unseen_errors([ensemble], source, Division([], [0, 1, 2], []), 1, silent))
    assert sent == [31 * 26 * 4] * 6  # not the blocks of memory that they lie in


def test_how_images_are_divided() -> None:
    settings = DetectorSettings(students=3, held_out=0.25)
    learned, held_out, folds, _ = Division.of(settings, 10)
    assert learned == [*range(10)] and held_out == []
    assert sorted(i for part in folds for i in part) == learned and sorted(map(len, folds)) == [3, 3, 4]
    assert Division.of(replace(settings, seed=1), 10).folds != folds
    for other in (replace(settings, cross=False), replace(settings, students=1)):
        learned, held_out, folds, _ = Division.of(other, 10)
        assert (len(learned), len(held_out), folds) == (8, 2, []) and sorted(learned + held_out) == [*range(10)]
    assert Division.of(settings, 2).folds == [[1], [0], []] or Division.of(settings, 2).folds == [[0], [1], []]


@pytest.mark.parametrize("most", [4, None])
def test_judges_are_spread_over_all_that_could_judge(most: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageSource(good_images(12, (33, 34)), None)
    if most is None:  # memory has room for the computed pixels of four
        monkeypatch.setattr("stadx.detectors.student_teacher.calibration._MOST_PIXELS", 4 * 33 * 34 + 5)
    folds = [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    chosen = judges(source, Division(list(range(12)), [], folds, most), 1)
    assert chosen == [(0, 0), (1, 3), (0, 6), (1, 9)]
    held_out = judges(source, Division([], list(range(12)), [], most), 1)
    assert [index for _, index in held_out] == [0, 3, 6, 9]
    assert judges(source, Division([], [3, 1], [], 5), 1) == [(0, 1), (0, 3)]
