"""Channels that students predict well count more: as the equation says, at no cost, and so that it can be undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rounding import rounded
from small import good_images, random_teacher, teacher_file
from torch import Tensor

from stadx import Detector, PatchNetwork, dense_features, normalize_images
from stadx.detectors.student_teacher.channel_weights import channel_weights, scale_weights, weighted
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.networks.patch_network import PatchNetwork as Network

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]

ERRORS = torch.tensor([0.1, 0.2, 0.5, 1.0, 1.0, 2.0, 4.0, 10.0])
OLD = good_images(12, (32, 32))


def ensemble_of(p: int, last_activation: bool = False) -> Ensemble:
    networks = [random_teacher(p, seed) for seed in range(3)]
    if last_activation:
        for number, plain in enumerate(networks):
            networks[number] = PatchNetwork(p, descriptor_size=8, last_activation=True).requires_grad_(False)
            networks[number].load_state_dict(plain.state_dict())
    mean = torch.linspace(-0.5, 0.5, 8)
    return Ensemble(networks[0], networks[1:], mean, torch.linspace(0.5, 2, 8), channel_errors=ERRORS)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_weights_are_inverse_powers_with_a_geometric_mean_of_1(power: float) -> None:
    weights = channel_weights(ERRORS, power)
    assert weights.dtype == torch.float32 and weights.log().mean().abs() < 1e-6
    torch.testing.assert_close(weights / weights[3], ERRORS**-power, rtol=rounded(8), atol=0)
    torch.testing.assert_close(weights * channel_weights(ERRORS, -power), torch.ones(8), rtol=rounded(4), atol=0)


def test_a_channel_without_error_or_none_at_all_weighs_a_finite_amount() -> None:
    weights = channel_weights(torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0]), 2.0)
    assert weights.isfinite().all() and float(weights[0] / weights[1]) == pytest.approx((1 / 0.8e-3) ** 2, rel=1e-4)
    assert torch.equal(channel_weights(torch.zeros(4), 1.5), torch.ones(4))
    assert torch.equal(channel_weights(torch.full((4,), torch.nan), 1.5), torch.ones(4))


@pytest.mark.parametrize("method", ["auto", "direct"])
@pytest.mark.parametrize("last_activation", [False, True])
@pytest.mark.parametrize("p", [17, 33, 65])
def test_the_weighted_error_is_that_of_the_equation(p: int, last_activation: bool, method: Any) -> None:
    plain = ensemble_of(p, last_activation)
    found = weighted(plain, 1.5)
    image = good_images(1, (19, 23))
    x = normalize_images(image)
    target = (dense_features(plain.teacher, x) - plain.mean[:, None, None]) / plain.std[:, None, None]
    said = torch.stack([dense_features(student, x) for student in plain.students])
    w = channel_weights(ERRORS, 1.5)[:, None, None]
    e = (w * (said.mean(0) - target).square()).sum(1)[0]
    v = (w * (said - said.mean(0)).square()).sum(2).mean(0)[0]
    terms = (w * (said.square().amax(0) + target.square())).sum(1)[0]  # of which rounding is a share
    for have, want in zip(found.error_and_variance(image, method=method), (e, v), strict=True):
        assert ((have - want).abs() <= 1e-3 * want + 1e-4 * terms).all()  # two engines', see dense_features
    assert torch.equal(plain.students[0].layers[-1 - last_activation].weight, random_teacher(p, 1).layers[-1].weight)


def test_weights_take_the_place_of_others() -> None:
    plain = ensemble_of(33)
    heavy = weighted(plain, 2.0)
    assert heavy.channel_power == 2 and weighted(heavy, 2.0) is heavy  # not twice
    torch.testing.assert_close(weighted(heavy, 1.5).std, weighted(plain, 1.5).std, rtol=rounded(16), atol=0)
    again = weighted(heavy, 0.0)
    torch.testing.assert_close(again.std, plain.std, rtol=rounded(8), atol=0)
    for one, other in zip(again.students, plain.students, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=rounded(8), atol=0)
    assert weighted(plain, 0.0) is plain
    unmeasured = replace(plain, channel_errors=None)
    assert weighted(unmeasured, 1.5) is unmeasured


def test_scales_count_as_their_weighted_error() -> None:
    errors = [ERRORS, 2 * ERRORS, 2 * ERRORS.flip(0)]  # weights do not depend on units or order
    ensembles = [replace(ensemble_of(17), channel_errors=each) for each in errors]
    assert scale_weights(ensembles, 1.5, 1.0) == pytest.approx([1.5, 0.75, 0.75])
    assert scale_weights(ensembles, 0.0, 2.0) == pytest.approx([2.0, 0.5, 0.5])
    assert scale_weights(ensembles, 1.5, 0.0) == [1.0, 1.0, 1.0]
    uneven = replace(ensembles[0], channel_errors=torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 9]))  # of the same mean
    even = replace(ensembles[0], channel_errors=torch.full((8,), 2.0))
    assert scale_weights([even, uneven], 0.0, 1.0) == pytest.approx([1.0, 1.0])
    assert scale_weights([even, uneven], 1.5, 1.0)[1] > 1.2
    assert scale_weights([*ensembles, replace(ensembles[0], channel_errors=None)], 1.5, 1.0) == [1.0] * 4


def test_a_scale_that_has_learned_more_counts_more(tmp_path: Path) -> None:
    given = {"steps": 10, "students": 2, "image_size": None, "precision": "float32", "image_fpr": 0.1}
    teachers = [teacher_file(tmp_path, 17), teacher_file(tmp_path, 33)]
    plain, found = (
        Detector((17, 33), teachers=teachers, scale_weight=weight, **given).fit(good_images(8, (48, 48)))  # type: ignore[arg-type]
        for weight in (0.0, 1.0)
    )
    weights = scale_weights(found.ensembles_, 1.5, 1.0)
    assert abs(weights[0] - 1) > 0.05 and sum(weights) == pytest.approx(2)
    for weight, one, other in zip(weights, plain.normalizations_, found.normalizations_, strict=True):
        assert other.e_std == pytest.approx(one.e_std / weight) and other.e_mean == one.e_mean


def detector_of(folder: Path, **settings: Any) -> Detector:
    given = {"students": 2, "steps": 60, "image_size": None, "image_fpr": 0.1, "precision": "float32", **settings}
    return Detector((17,), teachers=[teacher_file(folder)], **given)


def channel_errors(ensemble: Ensemble, images: Tensor) -> Tensor:
    """Of each student [M, d], over all pixels that are learned from."""
    x = normalize_images(images)
    teacher, *students = (dense_features(n, x, inside=True) for n in (ensemble.teacher, *ensemble.students))
    target = (teacher - ensemble.mean[:, None, None]) / ensemble.std[:, None, None]
    return torch.stack([(s - target).square().mean((0, 2, 3)) for s in students])


def test_training_measures_the_errors_and_weights_by_them(tmp_path: Path) -> None:
    plain = detector_of(tmp_path, channel_weight=0.0, scale_weight=0.0).fit(OLD)
    detector = detector_of(tmp_path).fit(OLD)
    assert plain.ensembles_[0].channel_errors is None
    (ensemble,) = detector.ensembles_
    assert ensemble.channel_errors is not None and detector.channel_weight == 1.5
    # the same students, weighted
    errors = channel_errors(plain.ensembles_[0], OLD).mean(0)
    assert torch.corrcoef(torch.stack([errors.log(), ensemble.channel_errors.log()]))[0, 1] > 0.9
    w = channel_weights(ensemble.channel_errors, 1.5)
    torch.testing.assert_close(ensemble.std * w.sqrt(), plain.ensembles_[0].std, rtol=rounded(8), atol=0)
    torch.testing.assert_close(channel_errors(ensemble, OLD).mean(0), w * errors, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(detector.score(OLD), plain.score(OLD), atol=0.01)


def test_files_keep_the_errors(tmp_path: Path) -> None:
    detector = detector_of(tmp_path).fit(OLD)
    detector.save(tmp_path / "m.safetensors")
    again = Detector.load(tmp_path / "m.safetensors")
    assert torch.equal(again.score(OLD), detector.score(OLD)) and again.channel_weight == 1.5
    assert torch.equal(again.ensembles_[0].channel_errors, detector.ensembles_[0].channel_errors)  # type: ignore[arg-type]
    assert again.ensembles_[0].channel_power == 1.5


def test_an_update_goes_on_from_the_students_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = detector_of(tmp_path).fit(OLD)
    plain = weighted(detector.ensembles_[0], 0.0)
    loaded: list[dict[str, Tensor]] = []
    load = Network.load_state_dict

    def noted(self: Network, state: Any, *args: Any, **kwargs: Any) -> Any:
        loaded.append(dict(state))
        return load(self, state, *args, **kwargs)

    monkeypatch.setattr(Network, "load_state_dict", noted)
    detector.update(good_images(4, (32, 32), 5), old=OLD, steps=1)
    for student in plain.students:
        assert any(all(torch.equal(state[k], v) for k, v in student.state_dict().items()) for state in loaded)
    (after,) = detector.ensembles_
    assert after.channel_errors is not None and after.channel_errors.isfinite().all()
    torch.testing.assert_close(weighted(after, 0.0).std, plain.std, rtol=rounded(16), atol=0)  # µ and σ stay
