"""The mean map of good images is taken off others, each judging image by the other ones, wherever a model scores."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import good_images, teacher_file
from small_exports import untrained
from torch import Tensor

from stadx import Detector, ModelFileError
from stadx.core.files import read_model, write_model
from stadx.core.progress import silent
from stadx.data.source import ImageSource
from stadx.detectors.export.graph import ExportedDetector, example_inputs
from stadx.detectors.student_teacher.gpu_scorer import GpuScorer
from stadx.detectors.student_teacher.mean_map import MeanMap, take_mean_off
from stadx.detectors.student_teacher.model_file import DETECTOR_VERSION
from stadx.detectors.student_teacher.scoring import score_images
from stadx.detectors.student_teacher.smoothing import smooth
from stadx.experiments.ablations.variants import HeldOut
from stadx.metrics.intervals import percent
from stadx.networks.windows import TensorRows

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]


def maps_of(count: int, size: tuple[int, int], alike: float) -> list[Tensor]:
    """Maps of which the same part has a deviation of `alike`, and each its own of 1."""
    generator = torch.Generator().manual_seed(count)
    same = smooth(torch.randn(1, *size, generator=generator), 2.0)[0]
    return [alike * same / same.std() + torch.randn(size, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("masked", [False, True], ids=["everywhere", "roi"])
def test_each_image_is_judged_by_the_others(stride: int, masked: bool) -> None:
    height, width = 31 * stride - (stride > 1), 27 * stride
    maps = maps_of(6, (31, 27), 2.0)
    insides: list[Tensor | None] = [None] * 6
    if masked:
        insides = [torch.rand(height, width, generator=torch.Generator().manual_seed(i)) < 0.7 for i in range(6)]
    kept = [1.0 if inside is None else inside[::stride, ::stride].double() for inside in insides]

    def mean(of: list[int]) -> Tensor:
        def smoothed(values: list[Tensor]) -> Tensor:
            return smooth(torch.stack(values).sum(0)[None], 4 / stride)[0]

        ones = torch.ones(31, 27, dtype=torch.float64)
        return smoothed([maps[i].double() * kept[i] for i in of]) / smoothed([ones * kept[i] for i in of])

    others = [mean([j for j in range(6) if j != i]) for i in range(6)]
    inside = [torch.ones(31, 27, dtype=torch.bool) if x is None else x[::stride, ::stride] for x in insides]
    values = torch.cat([scores[where].double() for scores, where in zip(maps, inside, strict=True)])
    left = torch.cat([(maps[i].double() - others[i])[inside[i]] for i in range(6)])
    share = float(1 - left.square().sum() / (values - values.mean()).square().sum())
    assert 0.3 < share < 0.9
    given = [scores.clone() for scores in maps]
    found = take_mean_off(given, (height, width), stride, 0.5, insides)
    assert found is not None and found.share == pytest.approx(share)
    for got, scores, other in zip(given, maps, others, strict=True):
        torch.testing.assert_close(got, (scores - 0.5 * share * other).float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.scores, (0.5 * share * mean([*range(6)])).float(), rtol=1e-5, atol=1e-5)


def test_where_a_place_tells_nothing_nothing_is_taken() -> None:
    size = 31, 27
    for maps, strength in (
        (maps_of(8, size, 0.0), 1.0),  # the others' mean predicts worse than that of all pixels
        (maps_of(8, size, 2.0), 0.0),
        (maps_of(1, size, 2.0), 1.0),
        ([torch.full(size, 3.0)] * 8, 1.0),
    ):
        before = [scores.clone() for scores in maps]
        assert take_mean_off(maps, size, 1, strength, [None] * len(maps)) is None
        assert all(torch.equal(x, y) for x, y in zip(maps, before, strict=True))
    alike = take_mean_off(maps_of(30, size, 5.0), size, 1, 1.0, [None] * 30)
    assert alike is not None and alike.share > 0.4
    never = [torch.zeros(31, 27, dtype=torch.bool) for _ in range(8)]
    for mask in never:
        mask[:, :9] = True
    masked = take_mean_off(maps_of(8, size, 2.0), size, 1, 1.0, never)
    assert masked is not None and masked.scores.isfinite().all() and not masked.scores[:, 25:].any()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf], ids=str)
def test_scores_that_are_not_finite_are_still_refused(wrong: float) -> None:
    maps = maps_of(4, (9, 9), 2.0)
    maps[2][3, 3] = wrong
    assert take_mean_off(maps, (9, 9), 1, 1.0, [None] * 4) is None and not maps[2].isfinite().all()


def test_at_other_strides_it_is_interpolated_and_of_other_sizes_nothing() -> None:
    ramp = torch.arange(8.0)[:, None] + 100 * torch.arange(5.0)
    mean_map = MeanMap(ramp, 30, 20, 4, 0.5)
    at_own = mean_map.at(30, 20, 4)
    assert at_own is not None and torch.equal(at_own, ramp)
    (rows, columns), at_two = torch.meshgrid(torch.arange(15), torch.arange(10), indexing="ij"), mean_map.at(30, 20, 2)
    want = (rows / 2).clamp_max(7) + 100 * (columns / 2).clamp_max(4)
    assert at_two is not None
    torch.testing.assert_close(at_two, want)
    at_eight = mean_map.at(30, 20, 8)
    assert at_eight is not None and torch.equal(at_eight, ramp[::2, ::2])
    assert mean_map.at(20, 30, 4) is None
    with pytest.raises(ValueError, match=r"the mean map is torch.float32 \(8, 5\); it must be float32 \(8, 6\)"):
        MeanMap(ramp, 30, 21, 4, 0.5)
    for wrong, stride in ((torch.full((8, 5), torch.nan), 4), (ramp, 0), (ramp.double(), 4)):
        with pytest.raises(ValueError, match="the mean map is"):
            MeanMap(wrong, 30, 20, stride, 0.5)
    maps = torch.rand(2, 8, 5)
    bands = list(mean_map.taken_off([maps[:, :3], maps[:, 3:]], 30, 20, 4))
    assert [band.shape[1] for band in bands] == [3, 5] and torch.equal(torch.cat(bands, 1), maps - ramp)
    assert torch.equal(*mean_map.taken_off([maps], 31, 20, 4), maps)


def objects(count: int, seed: int = 0) -> Tensor:
    """Images uint8 [N, 3, 48, 40] of stripes about a disc that always lies alike, whose rim is noise."""
    images = good_images(count, (48, 40), seed)
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(40), indexing="ij")
    rim = ((rows - 24).square() + (columns - 20).square()).float().sqrt().sub(12).abs() < 3
    noise = torch.randint(0, 256, images.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.uint8)
    return torch.where(rim, noise, images)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    teacher = teacher_file(tmp_path_factory.mktemp("teacher"))
    settings = {"students": 2, "steps": 30, "image_size": (48, 40), "border": "reflect", "stride": 2}
    return Detector((17,), teachers=[teacher], **settings).fit(objects(10))  # type: ignore[arg-type]


def plain_of(detector: Detector) -> Detector:
    """The same without its mean map."""
    kept = detector._held_out_scores()
    return Detector.from_parts(detector.settings, detector.ensembles_, detector.normalizations_, kept)


def test_a_detector_takes_it_off_images_of_its_size(fitted: Detector, tmp_path: Path) -> None:
    mean_map, plain = fitted.mean_map_, plain_of(fitted)
    assert mean_map is not None and mean_map.share > 0.1
    assert (mean_map.height, mean_map.width, mean_map.stride) == (48, 40, 2)
    images = objects(2, seed=5)
    for stride in (1, 2, 4, 8):
        taken = plain.score(images, stride=stride) - fitted.score(images, stride=stride)
        at = mean_map.at(48, 40, stride)
        assert at is not None
        torch.testing.assert_close(taken[:, ::stride, ::stride], at.expand(2, -1, -1), rtol=1e-4, atol=1e-4)
    (image,) = objects(1, seed=6)
    bands = torch.cat(list(fitted.score_bands(TensorRows(image))))
    assert torch.equal(bands, fitted.score(image[None])[0])
    (other,) = good_images(1, (48, 44))
    for alike in zip(fitted.score_bands(TensorRows(other)), plain.score_bands(TensorRows(other)), strict=True):
        assert torch.equal(*alike)
    fitted.save(tmp_path / "m.safetensors")
    loaded = Detector.load(tmp_path / "m.safetensors")
    assert torch.equal(loaded.score(images), fitted.score(images))
    assert loaded.mean_map_ is not None and loaded.mean_map_.share == mean_map.share
    assert loaded.model_hash() == fitted.model_hash() != plain.model_hash()
    plain.save(tmp_path / "plain.safetensors")
    assert Detector.load(tmp_path / "plain.safetensors").mean_map_ is None
    assert fitted.figures()["mean_map_share"] == mean_map.share and plain.figures()["mean_map_share"] is None
    share = percent(mean_map.share)
    assert fitted.facts()["mean map share"].startswith(f"it predicts {share} of the variance of good images' scores")
    assert plain.facts()["mean map share"].startswith("nothing is taken off")
    assert torch.equal(fitted.predict(images).maps, fitted.score(images))


def test_images_of_their_own_sizes_have_none(tmp_path: Path) -> None:
    settings = {"students": 2, "steps": 2, "border": "reflect", "teachers": [teacher_file(tmp_path)]}
    for size in ({"image_size": None}, {"image_size": 40, "keep_aspect": True}):
        assert Detector((17,), **settings, **size).fit(objects(6)).mean_map_ is None  # type: ignore[arg-type]


def test_images_prove_that_a_model_of_parts_learned_from_them(fitted: Detector) -> None:
    parts = fitted.ensembles_, fitted.normalizations_, fitted._held_out_scores(), fitted.mean_map_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = Detector.from_parts(fitted.settings, *parts).update(objects(4, seed=40), old=objects(10), steps=1)
    assert made.lineage_[-1]["images"] == {"new": 4, "old": 10, "unknown": 0}


@pytest.mark.parametrize("damage", [{"stride": 0}, {"share": None}, {"height": 44}, None], ids=str)
def test_damaged_files_are_refused(fitted: Detector, tmp_path: Path, damage: dict[str, Any] | None) -> None:
    fitted.save(tmp_path / "m.safetensors")
    header, tensors = read_model(tmp_path / "m.safetensors", "detector", DETECTOR_VERSION)
    if damage is None:
        tensors["mean_map"] = tensors["mean_map"].log()  # NaN where it was negative
    header["mean_map"] |= damage or {}
    write_model(tmp_path / "m.safetensors", "detector", DETECTOR_VERSION, header, tensors)
    with pytest.raises(ModelFileError, match=r"m\.safetensors"):
        Detector.load(tmp_path / "m.safetensors")


def test_an_ablation_takes_off_less_of_it(fitted: Detector) -> None:
    held_out = HeldOut(fitted, ImageSource(objects(10), (48, 40)), silent)
    images = objects(2, seed=5)
    none, half, whole = [held_out.variant(mean_map=share).score(images) for share in (0.0, 0.5, 1.0)]
    assert torch.equal(whole, fitted.score(images)) and torch.equal(none, plain_of(fitted).score(images))
    torch.testing.assert_close(half, (none + whole) / 2, rtol=1e-4, atol=1e-4)


def test_ranked_images_have_the_scores_of_predict(fitted: Detector) -> None:
    images = objects(3, seed=8)
    ranked = {image.number: image.image_score for image in fitted.rank(images).images}
    for number, score in enumerate(fitted.predict(images).image_scores.tolist()):
        assert ranked[number] == pytest.approx(score, rel=1e-4, abs=1e-4)


def test_the_rim_of_an_object_alarms_no_more_and_a_defect_beside_it_does(fitted: Detector) -> None:
    plain = plain_of(fitted)
    good, spoiled = objects(6, seed=20), objects(6, seed=20)
    spoiled[:, :, 2:8, 2:8] = spoiled[:, :, 2:8, 2:8].flip(3)  # stripes that run the other way
    spot = torch.zeros(48, 40, dtype=torch.bool)
    spot[2:8, 2:8] = True

    def margin(detector: Detector) -> float:
        """By how many deviations of good images' pixels the defect stands above their highest hundredth."""
        scores, of_good = detector.score(spoiled)[:, spot].mean(), detector.score(good)
        return float((scores - of_good.flatten().quantile(0.99)) / of_good.std())

    assert margin(fitted) > margin(plain)


def test_new_images_alone_are_judged_with_the_map_that_is_kept(fitted: Detector, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    detector = Detector.load(tmp_path / "m.safetensors")
    images, mean_map = objects(4, seed=30), detector.mean_map_
    with pytest.warns(UserWarning, match="the model keeps no image"):
        detector.update(images)
    assert detector.mean_map_ is mean_map
    want = sorted(detector.predict(images).image_scores.tolist())
    np.testing.assert_allclose(sorted(detector.heldout_image_scores_[1, 10:].tolist()), want, rtol=1e-4, atol=1e-4)
    detector.update(objects(4, seed=40), old=torch.cat([objects(10), images]), steps=2)
    assert detector.mean_map_ is not None and detector.mean_map_ is not mean_map


def test_a_gpu_and_an_export_take_it_off_too() -> None:
    detector = untrained((17, 33), stride=4, smoothing=1.0)
    size = 72, 80
    detector.mean_map_ = MeanMap(torch.randn(18, 20, generator=torch.Generator().manual_seed(0)), *size, 4, 0.5)
    images = good_images(2, size)
    scorer = GpuScorer(detector.ensembles_, detector.normalizations_, torch.device("cpu"), "float32")
    want = detector.score(images)
    got = score_images(scorer, images, None, 4, 1.0, None, detector.mean_map_)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3)
    thresholds = example_inputs(size)[1:]
    maps = ExportedDetector(detector, size)(images.permute(0, 2, 3, 1), *thresholds)[0]
    torch.testing.assert_close(maps, want, rtol=1e-4, atol=1e-3)
    other = good_images(1, (64, 80))
    maps = ExportedDetector(detector, (64, 80))(other.permute(0, 2, 3, 1), *thresholds)[0]
    torch.testing.assert_close(maps, detector.score(other), rtol=1e-4, atol=1e-3)
