"""The loss of a batch is λk Lk + λm Lm + λc Lc of its patches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pretrain_photos import P_NET, SETTINGS, mean_colours
from small import random_teacher
from torch import nn

from stadx.networks.patch_network import normalize_images
from stadx.teachers.distillation import patch_grid
from stadx.teachers.losses import compactness_loss, distillation_loss, triplet_loss
from stadx.teachers.objective import Averages, Objective

pytestmark = pytest.mark.arithmetic


GENERATOR = torch.Generator().manual_seed(0)
TRIPLETS = torch.randint(0, 256, (3, 20, 3, 17, 17), generator=GENERATOR, dtype=torch.uint8)


@pytest.mark.parametrize("weights", [(1, 0, 1), (1, 1, 1), (0, 1, 1), (1, 0, 0), (2, 3, 0.5), (0, 2, 0)])
def test_the_loss_is_the_weighted_sum(weights: tuple[float, float, float]) -> None:
    k, m, c = weights
    settings = replace(SETTINGS, distillation_weight=k, triplet_weight=m, compactness_weight=c, triplet_margin=2.5)
    net, decode = random_teacher(17), nn.Linear(8, 12)
    p_net, crops = (P_NET if k else None), (TRIPLETS if m else TRIPLETS[0])
    objective = Objective(settings, patch_grid(net, False), net, decode if k else None, p_net, None)
    terms = objective(*objective.inputs(0, crops))
    decode.requires_grad_(False)
    x, positive, negative = (net(normalize_images(patches)) for patches in TRIPLETS)
    expected = {"compactness": compactness_loss(x)}
    if k:
        target = mean_colours(TRIPLETS[0].float() / 255)
        expected["distillation"] = distillation_loss(decode(x), target)
        expected["variance"] = target.var(0).sum()
    if m:
        expected["triplet"] = triplet_loss(x, positive, negative, 2.5)
    total = k * expected.get("distillation", 0) + m * expected.get("triplet", 0) + c * expected["compactness"]
    assert set(terms) == {*expected, "loss"}
    for name, value in {**expected, "loss": total}.items():
        assert terms[name].item() == pytest.approx(float(value), rel=1e-3), name


def test_every_weighted_term_has_a_gradient() -> None:
    gradients = []
    for weights in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        names = ("distillation_weight", "triplet_weight", "compactness_weight")
        settings = replace(SETTINGS, **dict(zip(names, weights, strict=True)))
        net, decode = random_teacher(17).requires_grad_(True), nn.Linear(8, 12)
        crops = TRIPLETS if weights[1] else TRIPLETS[0]
        p_net = P_NET if weights[0] else None
        objective = Objective(settings, patch_grid(net, False), net, decode, p_net, None)
        objective(*objective.inputs(0, crops))["loss"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    assert all(g.norm() > 0 for g in gradients)
    assert torch.cosine_similarity(gradients[0], gradients[1], 0) < 0.9


def test_running_means() -> None:
    averages = Averages()
    assert averages.update({"distillation": 2.0, "variance": 4.0, "compactness": 1.0, "loss": 3.0}) == {
        "distillation": 2.0,
        "compactness": 1.0,
        "explained": 0.5,
    }
    now = averages.update({"distillation": 1.0, "variance": 4.0, "compactness": 1.0, "loss": 2.0})
    assert now["distillation"] == pytest.approx(1.99) and now["explained"] == pytest.approx(1 - 1.99 / 4)
    assert Averages().update({"compactness": 1.0, "loss": 1.0, "triplet": 2.0}) == {"compactness": 1.0, "triplet": 2.0}
