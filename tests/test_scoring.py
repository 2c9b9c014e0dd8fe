"""Normalisation and fusion as Eqs. 8 to 12; tiles give the same values as the whole image."""

from __future__ import annotations

import pytest
import torch

from small import good_images, random_teacher
from stadx import dense_features, normalize_images, reference, scoring
from stadx.scoring import Ensemble, Normalization, fuse, tiles


def make_ensemble(p: int, students: int) -> Ensemble:
    networks = [random_teacher(p, seed) for seed in range(students + 1)]
    return Ensemble(networks[0], networks[1:], torch.randn(8), torch.rand(8) + 0.5)


@pytest.mark.parametrize("p, students", [(17, 1), (33, 3), (65, 2)])
def test_error_and_variance_follow_the_equations(p: int, students: int) -> None:
    ensemble = make_ensemble(p, students)
    image = good_images(1, (19, 23))
    e, v = ensemble.error_and_variance(image)
    x = normalize_images(image)
    block = torch.stack([dense_features(s, x) for s in ensemble.students])
    expected = reference.ensemble_score(block, dense_features(ensemble.teacher, x), ensemble.mean, ensemble.std)
    torch.testing.assert_close(e, expected[0][0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(v, expected[1][0], rtol=1e-4, atol=1e-4)
    assert students > 1 or (v == 0).all()


@pytest.mark.parametrize("p", [17, 33, 65])
def test_tiles_equal_the_whole(p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, image = make_ensemble(p, 2), good_images(1, (29, 41))
    whole = ensemble.error_and_variance(image)
    monkeypatch.setattr(scoring.tiles, "__defaults__", (13,))
    assert len(list(scoring.tiles(29, 41))) == 12
    for a, b in zip(whole, ensemble.error_and_variance(image), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_tiles_cover_every_pixel_once() -> None:
    seen = torch.zeros(70, 33, dtype=torch.int64)
    for rows, columns in tiles(70, 33, 32):
        seen[rows, columns] += 1
    assert (seen == 1).all()


def test_normalised_scores_have_mean_0_and_variance_1_on_the_held_out_images() -> None:
    maps = [(5 + 2 * torch.rand(9, 8), 100 * torch.rand(9, 8)), (torch.rand(4, 3), torch.rand(4, 3))]
    normalization = Normalization.of(maps)
    e = torch.cat([m[0].flatten() for m in maps]).double()
    v = torch.cat([m[1].flatten() for m in maps]).double()
    expected = (e - e.mean()) / e.std(correction=0) + (v - v.mean()) / v.std(correction=0)
    scores = torch.cat([normalization.score(*m).flatten() for m in maps])
    torch.testing.assert_close(scores.double(), expected, rtol=1e-5, atol=1e-5)


def test_one_student_scores_by_the_error_alone() -> None:
    e = torch.rand(5, 5)
    normalization = Normalization.of([(e, torch.zeros(5, 5))])
    torch.testing.assert_close(normalization.score(e, torch.zeros(5, 5)), (e - e.mean()) / e.std(correction=0))


def test_scales_are_averaged() -> None:
    a, b = torch.rand(3, 4), torch.rand(3, 4)
    torch.testing.assert_close(fuse([a, b]), (a + b) / 2)
