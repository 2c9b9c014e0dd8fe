"""Normalisation and fusion as Eqs. 8 to 12; tiles give the same bits as the whole image."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from rounding import rounded, scored
from small import error_maps, good_images, random_teacher

from stadx import PatchNetwork, dense_features, normalize_images
from stadx.detectors.student_teacher import cpu_scorer
from stadx.detectors.student_teacher.calibration import normalization_of
from stadx.detectors.student_teacher.cpu_scorer import CpuScorer
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.normalization import Normalization, fuse
from stadx.detectors.student_teacher.scoring import score_bands
from stadx.networks.border import Span
from stadx.networks.choices import Padding
from stadx.networks.dense import Method
from stadx.networks.padding import pad_images
from stadx.networks.plan import buffer_sizes, layers_of
from stadx.networks.upsampling import Upsampler
from stadx.networks.windows import LastRows, TensorRows, padded_window, pieces
from stadx.ops import reference

pytestmark = pytest.mark.arithmetic


def make_ensemble(p: int, students: int) -> Ensemble:
    networks = [random_teacher(p, seed) for seed in range(students + 1)]
    generator = torch.Generator().manual_seed(p)
    mean, std = torch.randn(8, generator=generator), torch.rand(8, generator=generator) + 0.5
    return Ensemble(networks[0], networks[1:], mean, std)


shared_ensemble = cache(make_ensemble)  # for tests that leave the weights alone: the engine is made and checked once


@pytest.mark.parametrize("p, students", [(17, 1), (33, 3), (65, 2)])
def test_error_and_variance_follow_the_equations(p: int, students: int) -> None:
    ensemble = shared_ensemble(p, students)
    image = good_images(1, (19, 23))
    e, v = ensemble.error_and_variance(image)
    x = normalize_images(image)
    block = torch.stack([dense_features(s, x) for s in ensemble.students])
    expected = reference.ensemble_score(block, dense_features(ensemble.teacher, x), ensemble.mean, ensemble.std)
    for found, wanted in zip((e, v), expected, strict=True):  # the same descriptors; then sums of squares
        torch.testing.assert_close(found, wanted[0], rtol=rounded(4 * 8), atol=rounded(4 * 8))
    assert students > 1 or (v == 0).all()


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("p", [17, 33, 65])
def test_tiles_have_the_bits_of_the_whole(p: int, stride: int) -> None:
    ensemble = shared_ensemble(p, 2)
    for size, tiles in (((27, 21), (8, 16, 24)), ((83, 61), (40, 64))):
        image = good_images(1, size)
        whole = ensemble.error_and_variance(image, stride=stride)
        assert whole[0].shape == (-(-size[0] // stride), -(-size[1] // stride))
        for tile in tiles:
            tiled = ensemble.error_and_variance(image, stride=stride, tile=tile)
            assert all(torch.equal(a, b) for a, b in zip(whole, tiled, strict=True))


@pytest.mark.parametrize("method", ["winograd", "direct"])
@pytest.mark.parametrize("p, stride", [(17, 1), (33, 2), (65, 4)])
def test_a_students_own_error_is_that_of_an_ensemble_of_it_alone(p: int, stride: int, method: Method) -> None:
    ensemble, image = shared_ensemble(p, 3), good_images(1, (43, 31))
    pair = ensemble.error_and_variance(image, stride=stride, method=method)
    for number in range(3):
        one = replace(ensemble, students=[ensemble.students[number]])
        expected = *pair, one.error_and_variance(image, stride=stride, method=method)[0]
        for tile in (None, 24) if method == "winograd" else (None,):
            found = ensemble.error_and_variance(image, stride=stride, method=method, tile=tile, alone=number)
            assert len(found) == 3 and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("p", [17, 33])
def test_tiles_by_pytorch_have_the_values_of_the_whole(p: int) -> None:
    ensemble, image = shared_ensemble(p, 2), good_images(1, (43, 31))
    whole = ensemble.error_and_variance(image, stride=2, method="direct")
    tiled = ensemble.error_and_variance(image, stride=2, method="direct", tile=24)
    # oneDNN may choose another kernel for another size: five layers' sums, a difference of two, its square
    limit = 4 * rounded(5 * 128 * 25)
    for a, b in zip(whole, tiled, strict=True):
        torch.testing.assert_close(a, b, rtol=limit, atol=limit)


@pytest.mark.parametrize("padding", ["reflect", "zeros", "replicate"])
@pytest.mark.parametrize("p", [17, 33, 65])
def test_the_engine_scores_as_pytorch_does(p: int, padding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, image = shared_ensemble(p, 2), good_images(1, (29, 34))
    for net in (ensemble.teacher, *ensemble.students):
        monkeypatch.setattr(net, "padding", padding)
    pytorchs = ensemble.error_and_variance(image, method="direct")
    for stride in (1, 4):
        ours = ensemble.error_and_variance(image, stride=stride, method="winograd")
        for a, b in zip(ours, pytorchs, strict=True):
            torch.testing.assert_close(a, b[::stride, ::stride], rtol=scored(), atol=scored())


@pytest.mark.parametrize("padding", ["reflect", "zeros", "replicate"])
@pytest.mark.parametrize("rows", [(0, 20), (90, 110), (190, 230), (225, 240)], ids=str)
def test_a_window_reads_no_more_rows_than_it_shows(rows: tuple[int, int], padding: Padding) -> None:
    asked: list[tuple[int, int]] = []

    class Counted(TensorRows):
        def rows(self, start: int, stop: int) -> torch.Tensor:
            asked.append((start, stop))
            return super().rows(start, stop)

    pixels = good_images(1, (200, 30))
    image = LastRows(Counted(pixels[0]))
    window = padded_window(image, rows, (3, 33), 16, padding)
    padded = pad_images(normalize_images(pixels), 40, padding)[0].permute(1, 2, 0)
    assert torch.equal(window, padded[rows[0] + 24 : rows[1] + 24, 27:57])
    padded_window(image, rows, (7, 20), 16, padding)
    (start, stop), *more = asked  # the neighbour wants the same rows
    assert more == [] and stop - start <= rows[1] - rows[0]


@pytest.mark.parametrize("method", ["winograd", "auto"])
def test_networks_that_the_engine_does_not_serve(method: Method) -> None:
    ensemble, image = make_ensemble(33, 2), good_images(1, (19, 23))
    wanted = ensemble.error_and_variance(image, method="direct")
    convolutions = [m for m in ensemble.students[1].layers if isinstance(m, torch.nn.Conv2d)]
    convolutions[-2].bias.add_(1e4)
    convolutions[-1].weight.sub_(convolutions[-1].weight.mean((2, 3), keepdim=True))
    if method == "winograd":
        with pytest.raises(ValueError, match="exceeds the limits"):
            ensemble.error_and_variance(image, method=method)
    else:
        found = ensemble.error_and_variance(image, method=method)
        assert torch.equal(found[0], ensemble.error_and_variance(image, method="direct")[0])
        assert not torch.equal(found[0], wanted[0])
    with pytest.raises(ValueError, match="stride is 0"):
        ensemble.error_and_variance(image, stride=0)


def test_pieces_cover_every_pixel_once_and_begin_on_the_grid() -> None:
    for length in (1, 7, 8, 70, 129):
        for side in (1, 8, 13, 64, 500):
            for stride in (1, 4, 16):
                parts = list(pieces(0, length, side, stride))
                assert [i for begin, end in parts for i in range(begin, end)] == list(range(length))
                assert all(begin % max(8, stride) == 0 for begin, _ in parts)


def test_tiles_keep_within_memory_and_share_an_image_evenly() -> None:
    def side(length: int, stride: int = 1, students: int = 3) -> int:
        networks = [PatchNetwork(33) for _ in range(students + 1)]
        ensemble = Ensemble(networks[0], networks[1:], torch.zeros(128), torch.ones(128))
        return ensemble.tile_side(TensorRows(torch.empty(3, 1, 1).expand(3, length, length)), stride)

    assert side(256) == 256
    assert side(400) == 200  # two of 200, not one as large as can be and a rest
    assert side(8, students=9) == 8
    assert side(8192) < side(8192, stride=4)
    sizes = buffer_sizes(layers_of(PatchNetwork(33)), 8192, Span(0, 8192), side(8192), 4)
    assert sum(sizes.values()) * 4 <= 420e6


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("height, width", [(1, 1), (5, 3), (17, 22), (33, 40)])
def test_upsampling_is_bilinear_whatever_the_bands(height: int, width: int, stride: int) -> None:
    known = torch.randn(-(-height // stride), -(-width // stride))
    wanted = torch.empty(height, width)
    for r in range(height):
        for c in range(width):
            i, j = r // stride, c // stride
            below, right = min(i + 1, known.shape[0] - 1), min(j + 1, known.shape[1] - 1)
            s, t = (r % stride) / stride, (c % stride) / stride
            top = known[i, j] * (1 - t) + known[i, right] * t
            wanted[r, c] = top * (1 - s) + (known[below, j] * (1 - t) + known[below, right] * t) * s
    whole = Upsampler(height, width, stride).push(known)
    torch.testing.assert_close(whole, wanted)
    for rows in (1, 2, 3):
        upsampler = Upsampler(height, width, stride)
        assert torch.equal(torch.cat([upsampler.push(part) for part in known.split(rows)]), whole)


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


def by_definition(e: np.ndarray, v: np.ndarray, n: Normalization) -> np.ndarray:
    """The score of one image, e and v at every pixel, in float64."""
    coarse = np.sort(e[::8, ::8].ravel())
    level = coarse[int(0.1 * (len(coarse) - 1))]
    level = np.clip(level, n.level / n.limit, n.level * n.limit)
    factor = (n.level / level) ** n.strength
    return (factor * e - n.e_mean) / n.e_std + (factor * v - n.v_mean) / n.v_std


@pytest.mark.parametrize("size", [(8, 9), (40, 67)], ids=str)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_level_of_an_image_is_taken_out(strength: float, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    maps = [tuple(rng.gamma(2, scale, (2, *size))) for scale in (0.7, 1, 1.9)]
    n = Normalization.of([tuple(torch.from_numpy(x).float() for x in pair) for pair in maps], strength)  # type: ignore[misc]
    assert n.limit == 2
    levels = [np.sort(e[::8, ::8].ravel())[int(0.1 * (e[::8, ::8].size - 1))] for e, _ in maps]
    assert n.level == pytest.approx(np.exp(np.mean(np.log(levels))), rel=1e-5)
    scores = [by_definition(e, v, n) for e, v in maps]
    assert np.mean(scores) == pytest.approx(0, abs=1e-4)  # Eq. 11 sees what is left
    for (e, v), want in zip(maps, scores, strict=True):
        got = n.score(torch.from_numpy(e).float(), torch.from_numpy(v).float())
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-4)
    if strength == 1:  # nothing is left of a factor
        e, v = (torch.from_numpy(x * n.level / levels[0]).float() for x in maps[0])
        torch.testing.assert_close(n.score(1.5 * e, 1.5 * v), n.score(e, v), rtol=1e-4, atol=1e-4)
    for shape in ((5, 5), (1, 1)):
        assert n.score(torch.zeros(shape), torch.zeros(shape)).isfinite().all()
        assert (
            Normalization.of([(torch.zeros(shape), torch.zeros(shape))], strength)
            .score(*torch.ones(2, *shape))
            .isfinite()
            .all()
        )
    for times in (0.001, 1000):  # no image blows up, and none is silenced
        e = times * torch.from_numpy(maps[1][0])
        for limit in (2.0, 10.0):  # that of 0.1
            most = limit if times < 1 else 1 / limit
            assert float(replace(n, limit=limit).factor(e)) == pytest.approx(most**strength)
        got = n.score(e.float(), e.float())
        np.testing.assert_allclose(got.numpy(), by_definition(e.numpy(), e.numpy(), n), rtol=1e-4, atol=1e-4)
    e = torch.from_numpy(maps[1][0]).float()
    e[-1, -1] = torch.nan
    assert n.score(e, e).isnan().sum() == 1


@pytest.mark.parametrize("stride", [1, 4, 16])
def test_an_image_of_several_bands_has_one_level(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ensembles = [shared_ensemble(17, 2), shared_ensemble(33, 1)]
    images = good_images(3, (50, 24))
    images[0, :, 25:] = images[0, :, 25:] // 4  # the lower half is darker
    held = [error_maps(ensemble, images) for ensemble in ensembles]
    found = [normalization_of(errors, "both", 0.5) for errors in held]
    scorer = CpuScorer(ensembles, found)
    assert all(n.strength == 0.5 and n.level > 0 for n in found)
    for image in images[::2]:
        whole = list(score_bands(scorer, TensorRows(image), stride, 0))
        with monkeypatch.context() as patched:
            patched.setattr(Ensemble, "tile_side", lambda self, image, stride: 16)
            bands = list(score_bands(scorer, TensorRows(image), stride, 0))
            patched.setattr(cpu_scorer, "_KEPT_PIXELS", 0)  # of larger images
            coarse = list(score_bands(scorer, TensorRows(image), stride, 0))
        assert len(whole) == 1 < len(bands) == len(coarse)
        assert torch.equal(torch.cat(bands), whole[0])
        # the level comes from every 8th pixel alone, by convolutions in another order
        torch.testing.assert_close(torch.cat(coarse), whole[0], rtol=scored(), atol=scored())
    if stride == 1:
        want = fuse([n.score(maps.e, maps.v) for n, maps in zip(found, (errors[2] for errors in held), strict=True)])
        torch.testing.assert_close(whole[0], want, rtol=1e-6, atol=1e-6)
