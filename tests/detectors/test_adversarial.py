"""AnoGAN's search and OCGAN's mining, against what they are for."""

from __future__ import annotations

import pytest
import torch
from small import good_images
from torch import nn

from stadx.detectors.baselines import METHODS, OcganDetector, PatchBaseline

pytestmark = pytest.mark.arithmetic


def test_anogan_finds_what_its_generator_makes() -> None:
    detector = METHODS["anogan"](image_size=32, width=8, latent=6, search_steps=80, search_rate=0.1)
    assert isinstance(detector, PatchBaseline)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        detector.networks_ = nn.ModuleDict(detector._made()).eval().requires_grad_(False)
        for module in detector.networks_.modules():
            if isinstance(module, nn.ConvTranspose2d | nn.Linear):
                module.weight.mul_(4)  # as trained: patches that differ
        codes = torch.rand(2, 6) * 2 - 1
    x = detector.networks_["generator"](codes)
    found = detector._residual(x)
    detector.search_steps = 1
    start = detector._residual(x)
    assert found.shape == (2, 32, 32) and found.mean() < 0.2 * start.mean()
    detector.search_steps = 80
    torch.testing.assert_close(detector._residual(x[1:])[0], found[1], rtol=1e-2, atol=1e-4)
    assert detector._residual(x.flip(1) * -1).mean() > 2 * found.mean()


def test_ocgan_mines_codes_that_look_worse() -> None:
    detector = METHODS["ocgan"](image_size=29, width=8, latent=4)
    assert isinstance(detector, OcganDetector)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        networks = {name: network.eval() for name, network in detector._made().items()}
        drawn = torch.rand(16, 4, 1, 1) * 2 - 1
    decoder, classifier = networks["decoder"], networks["classifier"]
    mined = detector._mined(drawn, decoder, classifier)
    assert (classifier(decoder(mined)) < classifier(decoder(drawn))).all()
    assert mined.abs().max() <= 1 and 0.3 < (mined - drawn).abs().max() <= 0.51  # five steps of at most about 0.1
    assert decoder[0].weight.grad is None and not mined.requires_grad
    detector.mining_steps = 0
    assert torch.equal(detector._mined(drawn, decoder, classifier), drawn)


def test_ocgan_tells_one_class_from_another() -> None:
    good, other = good_images(40, (29, 29)), good_images(10, (29, 29), seed=7)
    few = {"samples": 32, "epochs": 20, "batch": 16, "learning_rate": 2e-3, "width": 8, "mining_steps": 1}
    detector = METHODS["ocgan"](image_size=29, **few).fit(good)
    same, mirrored = (detector.score(images).mean((1, 2)) for images in (other, other.flip(3)))
    assert mirrored.min() > same.max()
