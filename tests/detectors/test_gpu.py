"""Scoring as on a GPU, but on the CPU with the operators' references; and on a GPU where there is one."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from rounding import rounded, scored
from small import error_maps, good_images, random_teacher, teacher_file
from torch import Tensor

import stadx
from stadx import Detector, PatchNetwork, dense_features, metrics, normalize_images, ops
from stadx.detectors.student_teacher.calibration import normalization_of
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.gpu_scorer import GpuPrecision, GpuScorer
from stadx.detectors.student_teacher.normalization import Normalization, fuse
from stadx.detectors.student_teacher.scoring import score_images
from stadx.metrics import inputs, ranks
from stadx.networks.upsampling import Upsampler, upsample
from stadx.ops import reference

pytestmark = [pytest.mark.arithmetic, pytest.mark.usefixtures("narrow_networks")]

NORMALIZATIONS = [Normalization(0.1, 0.5, 0.2, 0.7), Normalization(0.3, 0.4, 0.0, 1.0)]
# Sums of up to 128 x 5 x 5 products in each of five layers; the square of a difference of two; over the least σ.
LIMIT = 4 * rounded(5 * 3200) / 0.4


def _ensemble(p: int, students: int = 2, padding: str = "reflect", last: bool = False) -> Ensemble:
    torch.manual_seed(p)
    nets = [random_teacher(p, seed) for seed in range(students + 1)]
    if padding != "reflect" or last:
        for i, net in enumerate(nets):
            other = PatchNetwork(p, descriptor_size=8, padding=padding, last_activation=last)  # type: ignore[arg-type]
            other.load_state_dict(net.state_dict())
            nets[i] = other.eval().requires_grad_(False)
    return Ensemble(nets[0], nets[1:], torch.randn(8) * 0.1, torch.rand(8) + 0.5)


def _map(scorer: GpuScorer, images: Tensor, stride: int = 1) -> Tensor:
    (maps,) = scorer.maps(images, stride)
    return maps


def _want(ensembles: list[Ensemble], images: Tensor, stride: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Maps by the definitions, from descriptors that PyTorch computes in `dtype`."""
    x, maps = normalize_images(images).to(dtype), []
    for ensemble, n in zip(ensembles, NORMALIZATIONS, strict=False):
        nets = [copy.deepcopy(net).to(dtype) for net in (ensemble.teacher, *ensemble.students)]
        teacher, *students = (dense_features(net, x, stride=stride, method="direct").double() for net in nets)
        maps.append(n.score(*reference.ensemble_score(torch.stack(students), teacher, ensemble.mean, ensemble.std)))
    return fuse(maps).float()


@pytest.mark.parametrize(
    ("scales", "stride"),
    [*(((p,), stride) for p in (17, 33) for stride in (1, 2, 4, 8)), *(((65,), s) for s in (1, 4, 16)), ((33, 17), 2)],
)
def test_scores_are_those_of_the_direct_way(scales: tuple[int, ...], stride: int, device: torch.device) -> None:
    ensembles = [_ensemble(p) for p in scales]
    scorer = GpuScorer(ensembles, NORMALIZATIONS[: len(scales)], device, "float32")
    for size in ((5, 9), (10, 3)):
        images = good_images(2, size)
        for _ in range(3 if device.type == "cuda" else 1):  # directly, captured, replayed
            got = _map(scorer, images.to(device), stride).cpu()
        torch.testing.assert_close(got, _want(ensembles, images, stride), rtol=LIMIT, atol=LIMIT)


@pytest.mark.parametrize(("terms", "stride"), [("e", 1), ("v", 2), ("both", 1), ("both", 16)])
def test_levels_are_taken_out(terms: Any, stride: int, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    ensembles = [_ensemble(17), _ensemble(33)]
    images = good_images(2, (24, 40))
    images[1] //= 4
    held = [error_maps(ensemble, images) for ensemble in ensembles]
    found = [normalization_of(errors, terms, 0.5) for errors in held]
    maps = []
    for image in images:
        pairs = [e.error_and_variance(image[None], stride=stride) for e in ensembles]
        scores = [n.score(*pair, n.factor(pair[0], stride)) for n, pair in zip(found, pairs, strict=True)]
        maps.append(fuse(scores))
    scorer = GpuScorer(ensembles, found, device, "float32")
    for _ in range(3 if device.type == "cuda" else 1):
        got = _map(scorer, images.to(device), stride).cpu()
    limit = 2 * scored() / min(1, *(std for n in found for std in (n.e_std, n.v_std)))
    torch.testing.assert_close(got, torch.stack(maps), rtol=limit, atol=limit)
    monkeypatch.setattr(GpuScorer, "_pixels_at_once", lambda self, scale: 128)  # tile by tile
    again = _map(GpuScorer(ensembles, found, device, "float32"), images[:1].to(device), stride).cpu()
    torch.testing.assert_close(again, torch.stack(maps)[:1], rtol=limit, atol=limit)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_batches_are_cut_where_memory_ends(count: int, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    ensembles = [_ensemble(17, 1)]
    images = good_images(5, (8, 9))[:count].to(device)
    scorer = GpuScorer(ensembles, NORMALIZATIONS[:1], device, "float32")
    want = score_images(scorer, images, None, 2, 0)
    assert want.shape == (count, 8, 9)
    monkeypatch.setattr(GpuScorer, "_pixels_at_once", lambda self, scale: 2 * 24 * 25)
    torch.testing.assert_close(score_images(scorer, images, None, 2, 0), want, rtol=LIMIT, atol=LIMIT)


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
def test_paddings_and_a_last_activation(padding: str, device: torch.device) -> None:
    ensembles = [_ensemble(33, 1, padding, last=True)]
    images = good_images(1, (9, 14))
    got = _map(GpuScorer(ensembles, NORMALIZATIONS[:1], device, "float32"), images.to(device)).cpu()
    torch.testing.assert_close(got, _want(ensembles, images, 1), rtol=LIMIT, atol=LIMIT)


@pytest.mark.parametrize("stride", [1, 4])
def test_tiles_do_not_show(stride: int, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    ensembles = [_ensemble(33, 1)]
    images = good_images(1, (17, 10)).float() / 255
    want = _map(GpuScorer(ensembles, NORMALIZATIONS[:1], device, "float32"), images.to(device), stride)
    monkeypatch.setattr(GpuScorer, "_pixels_at_once", lambda self, scale: 128)
    got = _map(GpuScorer(ensembles, NORMALIZATIONS[:1], device, "float32"), images.to(device), stride)
    torch.testing.assert_close(got, want, rtol=LIMIT, atol=LIMIT)


# tf32 keeps as many bits of a number as float16.
@pytest.mark.parametrize(
    "precision, half", [("tf32", torch.float16), ("bfloat16", torch.bfloat16), ("float16", torch.float16)], ids=str
)
def test_precisions(precision: GpuPrecision, half: torch.dtype, device: torch.device) -> None:
    """At most twice as far from float64 as PyTorch's own convolutions in half precision are."""
    ensembles = [_ensemble(33)]
    images = good_images(1, (12, 20))
    want = _want(ensembles, images, 1)
    got = _map(GpuScorer(ensembles, NORMALIZATIONS[:1], device, precision), images.to(device)).cpu()
    assert got.dtype == torch.float32
    pytorchs = (_want(ensembles, images, 1, half) - want).abs().max()
    assert (got - want).abs().max() < 2 * pytorchs + LIMIT


@pytest.mark.parametrize(("precision", "setting"), [("tf32", "tf32"), ("float32", "ieee")])
def test_settings_of_the_convolutions_are_put_back(precision: GpuPrecision, setting: str) -> None:
    cudnn: Any = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.conv.fp32_precision
    scorer = GpuScorer([_ensemble(17, 1)], NORMALIZATIONS[:1], torch.device("cpu"), precision)
    with scorer._convolutions(benchmark=True):
        assert (cudnn.benchmark, cudnn.conv.fp32_precision) == (True, setting)
    assert (cudnn.benchmark, cudnn.conv.fp32_precision) == before


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (7, 20), (16, 9)])
def test_upsample_is_the_bands_one(size: tuple[int, int], stride: int, device: torch.device) -> None:
    height, width = size
    known = torch.randn(2, -(-height // stride), -(-width // stride))
    got = upsample(known.to(device), height, width, stride).cpu()
    for one, whole in zip(known, got, strict=True):
        torch.testing.assert_close(whole, Upsampler(height, width, stride).push(one), rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    teacher = teacher_file(tmp_path_factory.mktemp("teacher"))
    images = good_images(6)
    return Detector((17,), students=2, image_size=(20, 24), steps=2, teachers=[teacher], seed=1).fit(images)


def test_a_detector_scores_where_it_is_told(detector: Detector, device: torch.device) -> None:
    images = good_images(2, (31, 40), seed=5)
    small = good_images(2, (20, 24), seed=5)
    want, want_small = detector.score(images), detector.score(small)
    try:
        moved = detector.to(device, "float32")
        assert moved is detector
        got = moved.score(images)
        assert got.device.type == "cpu"  # where the images are
        # resized there, one pixel in six is another by one of its 255 levels
        assert float((got - want).abs().mean()) < 0.05 * float(want.std())
        torch.testing.assert_close(moved.score(small), want_small, rtol=1e-3, atol=1e-2)
        there = moved.predict(images.to(device), stride=2)
        assert there.maps.device.type == device.type
        assert there.masks.shape == want.shape
    finally:
        detector.to("cpu")


def test_a_detector_that_scored_can_be_pickled(detector: Detector) -> None:
    detector._gpu_scorer = GpuScorer(detector.ensembles_, detector.normalizations_, torch.device("cpu"))
    try:
        copy = pickle.loads(pickle.dumps(detector))
    finally:
        detector._gpu_scorer = None
    images = good_images(1)
    assert torch.equal(copy.score(images), detector.score(images))


def test_unknown_devices_are_named(detector: Detector) -> None:
    with pytest.raises(ValueError, match="unknown"):
        detector.to("meta")
    with pytest.raises(ValueError, match="unknown"):
        detector.to("cpu", "int8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'toaster' is unknown"):
        detector.to("toaster")
    with pytest.raises(ValueError, match="finds no such GPU; see: stadx info"):
        detector.to("cuda:99")


def _set(seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(40 + i, 50, generator=generator).round(decimals=2) for i in range(5)]
    masks = [torch.zeros(40 + i, 50, dtype=torch.uint8) for i in range(5)]
    for i in (0, 2, 3):
        masks[i][5 : 9 + i, 3:17] = 1
        masks[i][20, 20:30] = 255
        maps[i][masks[i] > 0] += 1.5
    return maps, masks


@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0])
def test_au_pro_is_that_of_the_cpu_to_the_bit(limit: float, device: torch.device) -> None:
    maps, masks = _set()
    want = metrics.au_pro(maps, masks, fpr_limit=limit)
    got = metrics.au_pro([x.to(device) for x in maps], [x.to(device) for x in masks], fpr_limit=limit)
    assert got == want
    evaluator = metrics.ProEvaluator().update([x.to(device) for x in maps], [x.to(device) for x in masks])
    assert evaluator.compute(fpr_limit=limit).au_pro(limit) == want


@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0])
def test_au_pro_by_the_gpus_steps(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps that a GPU takes, on the CPU: its cut, and sums by region from an operator."""
    maps, masks = _set(1)
    want = metrics.evaluate_maps(list(zip(maps, masks, strict=True)))
    called = []
    cut = ops.score_cut
    monkeypatch.setattr(ops, "score_cut", lambda *a: called.append("cut") or cut(*a))
    sums = ops.region_sums
    monkeypatch.setattr(ops, "region_sums", lambda *a: called.append("sums") or sums(*a))
    monkeypatch.setattr(ranks, "is_on_gpu", lambda scores: True)
    monkeypatch.setattr(inputs, "on_gpu", lambda item: isinstance(item, Tensor))
    got = metrics.evaluate_maps(list(zip(maps, masks, strict=True)), fpr_limit=limit)
    assert got.au_pro(limit) == want.au_pro(limit)
    assert ("cut" in called) == (limit < 1)
    assert "sums" in called
    if limit == 1:
        assert got.auroc == want.auroc
        assert [r.au_pro for r in got.regions()] == [r.au_pro for r in want.regions()]


def test_maps_and_masks_on_a_gpu_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "on_gpu", lambda item: isinstance(item, Tensor))
    ones = torch.ones(2, 3)
    with pytest.raises(stadx.core.errors.DataError, match=r"have shape \(2, 3\) but masks \(3, 2\)"):
        metrics.au_pro([ones], [torch.ones(3, 2, dtype=torch.bool)])
    with pytest.raises(stadx.core.errors.DataError, match="give bool or integers"):
        metrics.au_pro([ones], [ones])
    with pytest.raises(stadx.core.errors.DataError, match="give real numbers"):
        metrics.au_pro([ones.to(torch.complex64)], [ones > 0])


def test_images_on_several_devices_are_named() -> None:
    here, there = torch.zeros(2, 3), torch.zeros(2, 3, device="meta")
    with pytest.raises(stadx.core.errors.DataError, match="some images are on cpu, others on meta"):
        list(inputs.groups([(here, here > 0), (there, there > 0)]))


def test_the_command_line_takes_a_device(detector: Detector, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from stadx.cli.app import app

    model = tmp_path / "model.safetensors"
    detector.save(model)
    arguments = ["predict", str(model), str(tmp_path), "--out", str(tmp_path / "out")]
    (tmp_path / "a.png").write_bytes(b"")
    for device, message in {"nowhere": "nowhere", "meta": "unknown"}.items():
        result = CliRunner().invoke(app, [*arguments, "--device", device])
        assert result.exit_code == 2
        assert message in result.output
