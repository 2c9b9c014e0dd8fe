"""Changed weights are noticed, however they change, and weights that stay are not compared for every image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_networks import make_network
from torch import Tensor, nn

from stadx.networks.dense import dense_features, engines_for
from stadx.networks.engine import Engine, engine_for, watched_weights
from stadx.networks.patch_network import PatchNetwork

Change = Callable[[nn.Conv2d], None]


def network() -> PatchNetwork:
    return make_network(17, torch.float32, channels=4).requires_grad_(False)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[PatchNetwork]:
    """The networks that were compared bit by bit, in their order."""
    found: list[PatchNetwork] = []
    by_bits = Engine.is_of
    monkeypatch.setattr(Engine, "is_of", lambda engine, net: (found.append(net), by_bits(engine, net))[1])
    return found


def in_place(layer: nn.Conv2d) -> None:
    layer.weight.mul_(1.5)


def of_a_view(layer: nn.Conv2d) -> None:
    layer.weight.detach().view(-1)[3] += 1


def bias(layer: nn.Conv2d) -> None:
    assert layer.bias is not None
    layer.bias.add_(1)


def state(layer: nn.Conv2d) -> None:
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()})


def data(layer: nn.Conv2d) -> None:
    layer.weight.data = layer.weight.data * 1.5


def another_parameter(layer: nn.Conv2d) -> None:
    layer.weight = nn.Parameter(layer.weight * 1.5, requires_grad=False)


def past_the_counter(layer: nn.Conv2d) -> None:
    layer.weight.data.mul_(1.5)


def by_numpy(layer: nn.Conv2d) -> None:
    layer.weight.numpy()[0] = 0


def by_a_fused_optimizer(layer: nn.Conv2d) -> None:
    weight = layer.weight.requires_grad_(True)
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=0.1, fused=True).step()
    weight.requires_grad_(False)


def same_scores_as_anew(net: PatchNetwork, images: Tensor) -> bool:
    """Whether the network gives what a network that was just made of its weights gives."""
    fresh = network()
    fresh.load_state_dict(net.state_dict())
    return torch.equal(dense_features(net, images, method="winograd"), dense_features(fresh, images, method="winograd"))


@pytest.mark.parametrize("change", [in_place, of_a_view, bias, state, data, another_parameter])
@pytest.mark.parametrize("place", [0, -1])
def test_a_change_is_noticed_at_once(change: Change, place: int) -> None:
    net, images = network(), torch.rand(1, 3, 9, 9)
    layer = [layer for layer in net.layers if isinstance(layer, nn.Conv2d)][place]
    with watched_weights():
        before = dense_features(net, images, method="winograd")
        for _ in range(3):  # memory that was freed may be given out again
            change(layer)
            assert same_scores_as_anew(net, images)
        assert not torch.equal(dense_features(net, images, method="winograd"), before)


@pytest.mark.parametrize("change", [past_the_counter, by_numpy, by_a_fused_optimizer])
def test_what_pytorch_does_not_count_is_noticed_by_the_next(change: Change) -> None:
    net, images = network(), torch.rand(1, 3, 9, 9)
    layer = net.layers[0]
    assert isinstance(layer, nn.Conv2d)
    with watched_weights():
        dense_features(net, images, method="winograd")
        change(layer)
    with watched_weights():
        assert same_scores_as_anew(net, images)
    change(layer)
    assert same_scores_as_anew(net, images)  # and where nobody watches


def test_what_stays_is_compared_once(compared: list[PatchNetwork]) -> None:
    nets = [network(), network()]
    engines = engines_for(nets, None, "auto")
    compared.clear()
    assert engines_for(nets, None, "auto") == engines
    assert compared == nets  # once, not for each of the two questions
    compared.clear()
    with watched_weights():
        for _ in range(3):
            with watched_weights():
                assert engines_for(nets, None, "auto") == engines
    assert compared == nets


def test_weights_of_inference_mode_are_compared_each_time(compared: list[PatchNetwork]) -> None:
    with torch.inference_mode():
        net = network()
        engine_for(net)
        with watched_weights():
            for _ in range(3):
                engine_for(net)
            assert compared == [net] * 3
            net.layers[0].weight.mul_(2)
            assert torch.equal(engine_for(net).layers[0].weight, net.layers[0].weight)
