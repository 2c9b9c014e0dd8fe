"""The score of an image: the mean of its map's highest values, whole or in parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stadx.detectors.thresholds import strided_image_scores
from stadx.metrics.image_score import HighestValues, image_scores
from stadx.networks.upsampling import upsample


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (7, 13), (64, 80)], ids=str)
def test_it_is_the_mean_of_the_highest(share: float, size: tuple[int, int]) -> None:
    maps = torch.randn(3, *size, generator=torch.Generator().manual_seed(0)).transpose(1, 2)
    count = max(1, round(share * size[0] * size[1]))
    want = np.sort(maps.flatten(1).numpy(), 1)[:, ::-1][:, :count].astype(np.float64).mean(1)
    np.testing.assert_allclose(image_scores(maps, share).numpy(), want, rtol=1e-5, atol=1e-6)
    for one, score in zip(maps, want, strict=True):
        in_parts = HighestValues(one.numel(), share)
        for rows in one.split(5):
            in_parts.add(rows)
        assert in_parts.score() == pytest.approx(score, rel=1e-5, abs=1e-6)
    assert image_scores(torch.zeros(0, 4, 5), share).shape == (0,)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(0, 4, 5), (1, 300, 200), (3, 37, 41)], ids=str)
def test_it_has_the_bits_of_topk(share: float, shape: tuple[int, ...]) -> None:
    count = max(1, round(share * shape[1] * shape[2]))
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    for values in (maps, maps.round(decimals=1), maps.double(), maps.to(torch.bfloat16), maps.clone().fill_(-0.0)):
        kept = values.clone()
        want = values.flatten(1).topk(count, 1).values.mean(1)
        assert torch.equal(image_scores(values, share), want if count > 1 else values.flatten(1).amax(1))
        assert torch.equal(values, kept)
    if len(maps):
        maps[0, 2, 3] = torch.nan
        assert image_scores(maps, share)[0].isnan() and not image_scores(maps, share)[1:].isnan().any()


@pytest.mark.parametrize("share", [0.0, 0.02])
def test_it_can_be_mapped(share: float) -> None:
    maps = torch.randn(4, 2, 30, 40, generator=torch.Generator().manual_seed(3))
    got = torch.vmap(lambda each: image_scores(each, share))(maps)
    torch.testing.assert_close(got, image_scores(maps.flatten(0, 1), share).reshape(4, 2))


@pytest.mark.parametrize("share", [0.0, 0.02])
def test_scores_of_every_nth_pixel_are_those_of_maps_interpolated_between(share: float) -> None:
    every = torch.randn(40, 48, generator=torch.Generator().manual_seed(1))
    for own in (1, 2, 4):
        got = strided_image_scores([every[::own, ::own]], own, share)[:, 0]
        for stride, score in zip((1, 2, 4, 8), got, strict=True):
            step = max(own, stride)
            whole = upsample(every[None, ::step, ::step], 40, 48, step)
            assert score == pytest.approx(float(image_scores(whole, share)), rel=1e-5)
