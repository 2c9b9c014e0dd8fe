"""Pixels whose patch reaches beyond the image are not computed, not learned from, and take the nearest value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import scored
from small import good_images, random_teacher, teacher_file
from torch import Tensor

from stadx import Detector
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.batches import Batches
from stadx.detectors.student_teacher.cpu_scorer import CpuScorer
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.first_patches import random_patches
from stadx.detectors.student_teacher.gpu_scorer import GpuScorer
from stadx.detectors.student_teacher.normalization import Normalization
from stadx.detectors.student_teacher.scoring import score_bands, score_images
from stadx.detectors.student_teacher.settings import DetectorSettings
from stadx.detectors.student_teacher.targets import TeacherTargets
from stadx.networks.border import Computed, Span, computed_pixels
from stadx.networks.windows import TensorRows

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]

SCALES = 17, 33
MEANS = [Normalization(2.0, 1.5, 0.5, 0.4, 1.0, strength) for strength in (0.5, 0.5)]


def ensemble_of(p: int, inside: bool) -> Ensemble:
    students = [random_teacher(p, seed) for seed in (1, 2)]
    return Ensemble(random_teacher(p), students, torch.zeros(8), torch.ones(8), inside)


def nearest(values: Tensor, p: int, stride: int) -> Tensor:
    """By definition: every stride-th pixel takes the value of the nearest of these whose patch lies within the image.

    Args:
        values: at every stride-th pixel of an image [h, w] whose sides are multiples of the stride.
    """
    index = []
    for count in values.shape:
        pixels = np.arange(count) * stride
        # the last pixel of the image is stride − 1 behind the last of these
        inside = [i for i, x in enumerate(pixels) if p // 2 <= x < count * stride - p // 2]
        if not inside:
            return values
        index.append(torch.tensor([min(inside, key=lambda i, j=j: abs(i - j)) for j in range(count)]))  # type: ignore[misc]
    return values[index[0]][:, index[1]]


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("size", [(96, 64), (64, 32), (32, 32), (16, 96)], ids=str)
def test_pixels_take_the_value_of_the_nearest_whose_patch_is_inside(size: tuple[int, int], stride: int) -> None:
    if min(size) < stride:
        pytest.skip("there is but one pixel")
    image = good_images(1, size, seed=3)
    for p in SCALES:
        inside = ensemble_of(p, True)
        e, v = ensemble_of(p, False).error_and_variance(image, stride=stride)
        computed = inside.computed(TensorRows(image[0]), stride)
        for whole, part in zip((e, v), inside.error_and_variance(image, stride=stride), strict=True):
            assert torch.equal(computed.continued(part), nearest(whole, p, stride))  # to the bit


@pytest.mark.parametrize("larger_inside", [True, False])
@pytest.mark.parametrize("stride", [1, 4, 16])
@pytest.mark.parametrize("size", [(70, 90), (35, 33), (20, 90)], ids=str)
def test_bands_and_a_gpus_code_agree(
    size: tuple[int, int], stride: int, larger_inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensembles = [ensemble_of(p, inside) for p, inside in zip(SCALES, (True, larger_inside), strict=True)]
    images = good_images(2, size, seed=4)
    scorer = CpuScorer(ensembles, MEANS)
    want = score_images(scorer, images, None, stride, 0)
    got = score_images(GpuScorer(ensembles, MEANS, torch.device("cpu"), "float32"), images, None, stride, 0)
    limit = 2 * scored() / 0.4
    torch.testing.assert_close(got, want, rtol=limit, atol=limit)
    monkeypatch.setattr(Ensemble, "tile_side", lambda self, image, stride: 8)  # bands without any computed pixel
    bands = torch.cat(list(score_bands(scorer, TensorRows(images[0]), stride, 0)))
    assert torch.equal(bands, want[0])
    monkeypatch.setattr("stadx.detectors.student_teacher.cpu_scorer._KEPT_PIXELS", 0)
    coarse = torch.cat(list(score_bands(scorer, TensorRows(images[0]), stride, 0)))
    torch.testing.assert_close(coarse, want[0], rtol=limit, atol=limit)  # the level by convolutions in another order


def test_the_border_of_an_image_changes_no_score_inside() -> None:
    """No pixel that is computed sees what lies beyond the image, in whichever way that is continued."""
    image = good_images(1, (60, 50))
    for p in SCALES:
        found = []
        for padding in ("reflect", "zeros", "replicate"):
            ensemble = ensemble_of(p, True)
            for net in (ensemble.teacher, *ensemble.students):
                net.padding = padding
            found.append(ensemble.error_and_variance(image, method="direct")[0])
        assert all(torch.allclose(x, found[0], rtol=1e-4, atol=1e-4) for x in found[1:])


def test_students_learn_nothing_of_patches_beyond_the_image() -> None:
    images, p = good_images(3, (60, 44)), 33
    source = ImageSource(images, None)
    everywhere = TeacherTargets(random_teacher(p), source, [0, 1, 2])
    targets = TeacherTargets(random_teacher(p), source, [0, 1, 2], inside=True)
    assert set(targets.sizes.values()) == {(28, 12)}
    assert torch.equal(targets.whole(1), everywhere.whole(1)[16:44, 16:28])
    settings = DetectorSettings(batch=3, crop=9, precision="float32")
    batches = Batches(targets, settings, torch.zeros(8), torch.ones(8))
    for step in range(20):
        batch = batches.of_step(step)
        for image, crop, part in zip(batch.images, batch.crops, batch.part, strict=True):
            reach = crop.stride * (crop.height - 1) + p, crop.stride * (crop.width - 1) + p
            cut = images[image][:, crop.row : crop.row + reach[0], crop.column : crop.column + reach[1]]
            assert part.shape[1:] == reach == cut.shape[1:]  # it ends within the image
            low = part - part.amin((1, 2), keepdim=True)
            torch.testing.assert_close(low / low.amax((1, 2), keepdim=True), _spread(cut.float()))
    patches = random_patches(source, [0, 1, 2], p, settings)
    windows = images.unfold(2, p, 1).unfold(3, p, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, p, p).float()
    windows = windows / 255
    mean, std = (torch.tensor(x)[:, None, None] for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    distances = torch.cdist(patches[:40].flatten(1), ((windows - mean) / std).flatten(1))
    assert distances.amin(1).max() < 0.1  # the next one is 10 away


def _spread(values: Tensor) -> Tensor:
    low = values - values.amin((1, 2), keepdim=True)
    return low / low.amax((1, 2), keepdim=True)


def test_statistics_and_level_are_of_the_inside_alone(tmp_path: Path) -> None:
    images = good_images(6, (60, 70))
    framed = images.clone()
    framed[:, :, :4] = 255  # no patch of p = 17 that lies inside sees the whole of it
    settings = {"students": 2, "steps": 4, "image_size": None, "precision": "float32", "stride": 1}
    detector = Detector((17,), teachers=[teacher_file(tmp_path)], **settings).fit(framed)  # type: ignore[arg-type]
    ensemble, n = detector.ensembles_[0], detector.normalizations_[0]
    factors = [n.factor(ensemble.error_and_variance(x[None])[0]) for x in framed]
    assert ensemble.error_and_variance(framed[:1])[0].shape == (44, 54)
    score = n.score(*ensemble.error_and_variance(framed[:1]), factors[0])
    torch.testing.assert_close(detector.score(framed[:1])[0, 8:-8, 8:-8], score, rtol=1e-5, atol=1e-5)
    assert torch.equal(detector.score(framed[:1])[0, 0], detector.score(framed[:1])[0, 8])


def test_the_paper_and_files_of_before_compute_every_pixel() -> None:
    assert Detector().border == "inside" and Detector.paper_settings["border"] == "reflect"
    with pytest.warns(DeprecationWarning, match="padding is now called border: give border='zeros'"):
        assert Detector(padding="zeros").border == "zeros"


def test_images_smaller_than_the_patch_are_computed_all_over() -> None:
    assert computed_pixels(32, 90, 33, True) == Computed(Span(0, 32), Span(0, 90))
    assert computed_pixels(33, 90, 33, True) == Computed(Span(16, 17, 1, 16, 16), Span(16, 74, 1, 16, 16))
    assert computed_pixels(40, 90, 33, True, 32) == Computed(Span(0, 40, 32), Span(0, 90, 32))  # none of every 32nd
    assert computed_pixels(90, 90, 33, False) == Computed(Span(0, 90), Span(0, 90))


@pytest.mark.parametrize("scales, inside", [((65,), [True]), ((17, 65), [True, False])], ids=str)
def test_the_largest_patch_beside_smaller_ones_sees_reflected_images(
    scales: tuple[int, ...], inside: list[bool], tmp_path: Path
) -> None:
    teachers = [teacher_file(tmp_path, p) for p in scales]
    detector = Detector(scales, students=2, steps=1, image_size=None, teachers=teachers)
    detector.fit(good_images(4, (96, 72)), checkpoint=tmp_path / "part")
    assert [ensemble.inside for ensemble in detector.ensembles_] == inside
    assert {net.padding for e in detector.ensembles_ for net in (e.teacher, *e.students)} == {"reflect"}
    detector.save(tmp_path / "m")
    found = Detector.load(tmp_path / "m")
    assert [ensemble.inside for ensemble in found.ensembles_] == inside and found.border == "inside"
    image = good_images(1, (96, 72), 5)
    assert torch.equal(found.score(image), detector.score(image))
    updated = found.update(good_images(2, (96, 72), 9), old=good_images(4, (96, 72)), steps=1)
    assert [ensemble.inside for ensemble in updated.ensembles_] == inside
