"""The region of interest: nothing outside is learned, judged, or can alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rounding import scored
from small import good_images, random_teacher, teacher_file
from torch import Tensor

from stadx import Detector
from stadx.core.errors import DataError, ModelFileError
from stadx.data.roi import Roi
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
from stadx.metrics.image_score import image_scores
from stadx.networks.training import Checkpoint
from stadx.networks.windows import TensorRows

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]

SIZE = 64, 96
FAST: dict[str, Any] = {"students": 2, "steps": 6, "image_size": None, "precision": "float32", "stride": 1, "crop": 9}


def left(columns: int = 40, size: tuple[int, int] = SIZE) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[:, :columns] = True
    return mask


def trained(tmp_path: Path, images: Tensor, roi: Any = None, **settings: Any) -> Detector:
    detector = Detector((17,), teachers=[teacher_file(tmp_path)], **{**FAST, **settings})
    return detector.fit(images) if roi is None else detector.fit(images, roi=roi)


def learned(detector: Detector) -> list[Tensor]:
    ensemble = detector.ensembles_[0]
    weights = [w for student in ensemble.students for w in student.state_dict().values()]
    return [ensemble.mean, ensemble.std, *weights]


@pytest.mark.parametrize("masks", ["one", "each"])
def test_a_region_of_all_gives_the_bits_of_none(tmp_path: Path, masks: str) -> None:
    images = good_images(6, SIZE)
    everywhere = np.ones((4, 4)) if masks == "one" else np.ones((6, *SIZE))
    found, want = trained(tmp_path, images, everywhere), trained(tmp_path, images)
    assert all(map(torch.equal, learned(found), learned(want)))
    assert found.normalizations_ == want.normalizations_ and found.threshold_ == want.threshold_
    assert np.array_equal(found.heldout_image_scores_, want.heldout_image_scores_)
    assert found.roi_ is None
    assert torch.equal(found.score(images[:1], roi=np.ones((2, 2))), want.score(images[:1]))


@pytest.mark.parametrize("settings", [{}, {"cross": False}, {"crop": None}, {"dense": True}, {"focus": 0.0}], ids=str)
def test_what_lies_outside_is_not_learned(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Beyond the patches of its pixels nothing matters: training, statistics, level, thresholds."""
    images = good_images(6, SIZE)
    noisy = images.clone()
    noisy[..., 56:] = good_images(6, (64, 40), seed=7).flip(2) // 2  # half a patch and a stride of 8 beyond it
    detectors = [trained(tmp_path, x, left(), **settings) for x in (images, noisy)]
    for one, other in zip(*map(learned, detectors), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)  # the engine's tiles round otherwise
    one, other = (d.normalizations_[0] for d in detectors)
    assert (one.e_mean, one.e_std, one.level) == pytest.approx((other.e_mean, other.e_std, other.level), rel=1e-2)
    for fpr in (0.0, 0.01, 0.5):
        thresholds = [d.set_target_fpr(fpr).threshold_ for d in detectors]
        assert thresholds[0] == pytest.approx(thresholds[1], rel=1e-2, abs=1e-2)
    highest = [d.heldout_image_scores_ for d in detectors]
    np.testing.assert_allclose(*highest, rtol=1e-2, atol=1e-2)
    whole = trained(tmp_path, noisy, **settings)
    assert not torch.allclose(whole.ensembles_[0].mean, detectors[0].ensembles_[0].mean, atol=1e-3)


def test_statistics_of_the_teacher_are_of_the_inside(tmp_path: Path) -> None:
    images = good_images(3, SIZE)
    masks = np.stack([left(40).numpy(), np.ones(SIZE), left(11).numpy()])
    targets = TeacherTargets(random_teacher(17), ImageSource(images, None, roi=Roi(masks)), [0, 1, 2], inside=True)
    mean, std = targets.statistics()
    values = [targets.whole(i).float()[torch.from_numpy(masks[i])[8:-8, 8:-8] > 0] for i in range(3)]
    want_std, want_mean = torch.std_mean(torch.cat(values).double(), 0, correction=0)
    torch.testing.assert_close(mean, want_mean.float(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(std, want_std.float(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("focus", [0.0, 0.8])
def test_parts_of_images_and_first_patches_are_of_the_inside(focus: float) -> None:
    images = good_images(4, SIZE)
    masks = np.ones((4, *SIZE), bool)
    masks[0] = False
    masks[0, 20:24, 70:76] = True  # a small one
    masks[1] = left(12)
    source = ImageSource(images, None, roi=Roi(masks))
    targets = TeacherTargets(random_teacher(17), source, [0, 1, 2], inside=True)
    settings = DetectorSettings(batch=3, crop=9, precision="float32", focus=focus, dense=True)
    batches = Batches(targets, settings, torch.zeros(8), torch.ones(8))
    for step in range(30):
        batch = batches.of_step(step)
        for image, crop, weight in zip(batch.images, batch.crops, batch.weight, strict=True):
            inside = torch.from_numpy(masks[image])[8:-8, 8:-8]
            assert torch.equal(weight, crop.of(inside).float())
            assert weight.any()
        batches.seen(batch, 1e3 * torch.rand(batch.weight.shape))
    held_out = batches.held_out(TeacherTargets(random_teacher(17), source, [0, 3], 0, True), [0, 3])
    assert held_out.weight.flatten(1).any(1).all()
    patches = random_patches(source, [0], 17, settings)
    windows = images[0].unfold(1, 17, 1).unfold(2, 17, 1)[:, 12:16, 62:68].permute(1, 2, 0, 3, 4).reshape(-1, 3, 17, 17)
    mean, std = (torch.tensor(x)[:, None, None] for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    distances = torch.cdist(patches.flatten(1), ((windows / 255 - mean) / std).flatten(1))
    assert distances.amin(1).max() < 0.1


def test_a_defect_outside_cannot_alarm(tmp_path: Path) -> None:
    images = good_images(6, SIZE)
    detector = trained(tmp_path, images, left())
    assert detector.roi_ is not None and np.array_equal(detector.roi_, left())
    broken = images[:2].clone()
    broken[:, :, 20:40, 70:90] = 255
    maps, scores, masks = detector.predict(broken)
    lowest = float(detector.heldout_scores_[-1])
    assert (maps[:, :, 40:] == lowest).all() and not masks[:, :, 40:].any()
    assert torch.equal(scores, image_scores(maps[:, :, :40], detector.top_share))
    detector.set_target_fpr(1.0)  # the lowest threshold that there is
    assert not detector.predict(broken).masks[:, :, 40:].any()
    assert detector.predict(broken, roi=np.ones((2, 2))).masks[:, :, 40:].any()
    assert not detector.predict(broken, roi=~left().numpy()).masks[:, :, :40].any()
    each = torch.stack([left(30), ~left(30)])
    assert ((detector.predict(broken, roi=each).maps == lowest) == ~each).float().mean() > 0.99
    detector.roi_ = None
    assert detector.predict(broken).masks[:, :, 40:].any()
    for wrong, told in ((np.zeros((3, 3)), "roi is black"), (np.ones((3, 4, 4)), r"roi has shape \[3, 4, 4\]")):
        with pytest.raises(DataError, match=told):
            detector.predict(broken, roi=wrong)


@pytest.mark.parametrize("stride", [1, 4])
def test_the_level_is_of_the_inside_on_all_paths(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    students = [random_teacher(17, seed) for seed in (1, 2)]
    ensemble = Ensemble(random_teacher(17), students, torch.zeros(8), torch.ones(8), True)
    n = Normalization(2.0, 1.5, 0.5, 0.4, 1.0, 0.5)
    images = good_images(2, SIZE, seed=4)
    images[0, :, :, 48:] //= 4
    roi = torch.stack([left(), ~left(20)])
    scorer = CpuScorer([ensemble], [n])
    found = score_images(scorer, images, None, stride, 0, roi)
    for image, mask, scores in zip(images, roi, found, strict=True):
        e, v = ensemble.error_and_variance(image[None], stride=stride)
        level = e[:: 8 // stride, :: 8 // stride][mask[8:-8:8, 8:-8:8]].sort().values
        factor = (n.level / level[int(0.1 * (len(level) - 1))].clamp(0.1, 10)) ** 0.5
        want = ensemble.computed(TensorRows(image), stride).continued(n.score(e, v, factor))
        torch.testing.assert_close(scores[::stride, ::stride], want, rtol=1e-5, atol=1e-5)
    gpu = score_images(GpuScorer([ensemble], [n], torch.device("cpu"), "float32"), images, None, stride, 0, roi)
    limit = 2 * scored() / 0.4
    torch.testing.assert_close(gpu, found, rtol=limit, atol=limit)
    monkeypatch.setattr(Ensemble, "tile_side", lambda self, image, stride: 16)
    bands = torch.cat(list(score_bands(scorer, TensorRows(images[0]), stride, 0, roi[0])))
    assert torch.equal(bands, found[0])
    monkeypatch.setattr("stadx.detectors.student_teacher.cpu_scorer._KEPT_PIXELS", 0)
    coarse = torch.cat(list(score_bands(scorer, TensorRows(images[0]), stride, 0, roi[0])))
    torch.testing.assert_close(coarse, found[0], rtol=limit, atol=limit)


def test_images_by_strips_are_as_whole_ones(tmp_path: Path) -> None:
    images = good_images(6, SIZE)
    detector = trained(tmp_path, images, left())
    for roi in (None, ~left().numpy(), np.eye(3)):
        bands = torch.cat(list(detector.score_bands(TensorRows(images[0]), roi=roi)))
        assert torch.equal(bands, detector.score(images[:1], roi=roi)[0])


def test_the_file_keeps_one_mask_but_no_others(tmp_path: Path) -> None:
    images = good_images(6, SIZE)
    detector = trained(tmp_path, images, left())
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model")
    assert again.roi_ is not None and np.array_equal(again.roi_, left())
    assert torch.equal(again.score(images[:2]), detector.score(images[:2]))
    own = trained(tmp_path, images, np.stack([left(30 + i).numpy() for i in range(6)]))
    assert own.roi_ is None
    detector.fit(images)
    assert detector.roi_ is None
    detector.save(tmp_path / "model")
    assert Detector.load(tmp_path / "model").roi_ is None


def test_a_checkpoint_belongs_to_its_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoint, "due", lambda self: self.path is not None)
    images = good_images(6, SIZE)
    regions: list[Any] = [None, left(), left(41)]
    for started in regions:
        part = tmp_path / f"part{len(list(tmp_path.iterdir()))}"
        detector = Detector((17,), teachers=[teacher_file(tmp_path)], **FAST)
        detector.fit(images, checkpoint=part, roi=started)
        for other in regions:
            if other is started:
                detector.fit(images, checkpoint=part, roi=other)
            else:
                with pytest.raises(ModelFileError, match=r"other settings \(roi\)"):
                    detector.fit(images, checkpoint=part, roi=other)


def test_a_region_in_the_images_border_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image 0: no pixel of its region of interest is learned from, with p = 17"):
        trained(tmp_path, good_images(6, SIZE), left(8))
    trained(tmp_path, good_images(6, SIZE), left(8), border="reflect", steps=1)


def test_a_region_finer_than_the_stride_has_thresholds_at_all_strides(tmp_path: Path) -> None:
    thin = torch.zeros(SIZE, dtype=torch.bool)
    thin[30:40, 13] = True  # none of every second pixel
    detector = trained(tmp_path, good_images(6, SIZE), thin)
    assert np.isfinite(detector.heldout_image_scores_).all()
    score = float(detector.predict(good_images(1, SIZE), stride=8).image_scores)
    assert detector.heldout_image_scores_[3].min() / 2 < score < 2 * detector.heldout_image_scores_[3].max()


def test_a_region_too_fine_for_the_image_is_refused(tmp_path: Path) -> None:
    images = good_images(4, SIZE)
    detector, mask = trained(tmp_path, images), torch.zeros(640, 960, dtype=torch.bool)
    mask[1, 1] = True
    for work in (detector.predict, detector.score):
        with pytest.raises(DataError, match="no pixel left at 96x64"):
            work(images, roi=mask)
    maps, scores, masks = detector.predict(images[:0], roi=left())
    assert maps.shape == masks.shape == (0, *SIZE) and scores.shape == (0,)
