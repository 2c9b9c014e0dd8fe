"""Winograd convolutions for training equal PyTorch's, values and gradients, and serve where they are less work."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from rounding import rounded, winograd_gain
from torch import Tensor, nn

from stadx import PatchNetwork
from stadx.networks import winograd
from stadx.networks.engine import MAX_LIMIT
from stadx.networks.patch_network import dense_features_padded
from stadx.networks.winograd import convolve, run_layers, training_grid

pytestmark = pytest.mark.arithmetic


def _case(n: int, c: int, o: int, h: int, w: int, r: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c, h, w, generator=generator)
    weight = torch.randn(o, c, r, r, generator=generator) / (c * r * r) ** 0.5
    return x, weight, torch.randn(o, generator=generator)


def _relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual.detach().double() - expected.detach()).norm() / expected.detach().norm())


def _limit(x: Tensor, weight: Tensor) -> float:
    """Of the relative error of `convolve` and its gradients: sums over channels, outputs or positions."""
    out, channels, r, _ = weight.shape
    tile = winograd._tile_side(x.shape, weight.shape) if winograd._serves(x, weight) else 0
    m = max(1, tile - r + 1)
    sums = max(out, channels, len(x) * -(-x.shape[2] // m) * -(-x.shape[3] // m))
    if tile == 0:
        return rounded(sums * r * r)
    return rounded(sums + 4 * tile, winograd_gain(tile, r))  # and transforms there and back, along rows and columns


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_OVERHEAD", 0.0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "size",
    [
        (1, 16, 32, 24, 31, 5),
        (3, 32, 16, 5, 5, 5),
        (2, 16, 48, 13, 11, 4),
        (5, 48, 16, 9, 40, 2),
        (1, 16, 16, 2, 70, 2),
    ],
)
def test_values_and_gradients_are_those_of_conv2d(
    size: tuple[int, ...], layout: torch.memory_format, always: None
) -> None:
    inputs = [t.requires_grad_() for t in _case(*size)]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    y = convolve(inputs[0].contiguous(memory_format=layout), inputs[1], inputs[2])
    assert "_Convolution" in _graph(y)
    expected, limit = F.conv2d(*exact), _limit(*inputs[:2])
    assert y.shape == expected.shape and _relative(y, expected) < limit
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    for mine, theirs in zip(
        torch.autograd.grad(y, inputs, grad), torch.autograd.grad(expected, exact, grad.double()), strict=True
    ):
        assert mine.shape == theirs.shape and _relative(mine, theirs) < limit


def _graph(y: Tensor) -> str:
    """Names of the autograd nodes behind y, down to the first convolution."""
    names, node = [], y.grad_fn
    while node is not None:
        names.append(type(node).__name__)
        node = node.next_functions[0][0] if node.next_functions else None
    return " ".join(names)


@pytest.mark.parametrize("p, side", [(17, 40), (33, 80), (65, 120), (17, 17), (33, 33), (65, 65)])
def test_a_patch_network_runs_and_learns_the_same(p: int, side: int) -> None:
    """As in float64, where every activation and pool goes the way that it goes in float32.

    Where two values of a pool, or a value and 0, are nearly equal, rounding decides, and the gradient is another one.
    """
    torch.manual_seed(0)
    net = PatchNetwork(p)
    x = torch.randn(2, 3, side, side)
    net.init_from_data(torch.randn(64, 3, p, p))
    exact = copy.deepcopy(net).double()
    y, wanted, limit = x, x.double(), 0.0
    for layer, same in zip(net.layers, exact.layers, strict=True):
        before, y = y, run_layers([layer], y)
        if isinstance(layer, nn.LeakyReLU):
            wanted = torch.where(before > 0, wanted, layer.negative_slope * wanted)
        elif isinstance(layer, nn.MaxPool2d):
            chosen = F.max_pool2d(before, 2, return_indices=True)[1]
            wanted = wanted.flatten(2).gather(2, chosen.flatten(2)).view(chosen.shape)
        else:
            wanted = same(wanted)
            limit += 2 * _limit(before, layer.weight)  # forward and back
    for result in (y, wanted):
        result.square().mean().backward()
    for mine, theirs in zip(net.parameters(), exact.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert _relative(mine.grad, theirs.grad) < limit
    assert _relative(run_layers(net.layers, x), exact.grid(x.double())) < limit  # values have no such choice


@pytest.mark.parametrize("p, stride", [(33, 4), (33, 2), (65, 8), (65, 4)])
@pytest.mark.parametrize("rows, columns", [(4, 6), (2, 2)])
def test_the_grid_of_a_stride_is_part_of_the_dense_map(p: int, stride: int, rows: int, columns: int) -> None:
    torch.manual_seed(0)
    net = PatchNetwork(p, descriptor_size=16)
    net.init_from_data(torch.randn(64, 3, p, p))
    x = torch.randn(2, 3, p + stride * (rows - 1), p + stride * (columns - 1))
    y = training_grid(net, x, stride)
    wanted = dense_features_padded(net, x)[:, :, ::stride, ::stride]
    assert y.shape == (2, 16, rows, columns)
    torch.testing.assert_close(y, wanted, rtol=0, atol=MAX_LIMIT)  # descriptors have a standard deviation of 1
    net, x = net.double(), x.double()  # in float32 a pool's two nearly equal values may change places
    weight = net.layers[0].weight
    both = training_grid(net, x, stride), dense_features_padded(net, x)[:, :, ::stride, ::stride]
    mine, theirs = (torch.autograd.grad(z.square().sum(), weight)[0] for z in both)
    assert _relative(mine, theirs) < rounded(6 * 3200) * 2**-29  # six layers of up to 128 x 5 x 5 products, float64


def test_it_serves_where_it_is_less_work() -> None:
    x, weight, bias = _case(1, 128, 128, 40, 40, 5)
    weight.requires_grad_()
    assert "_Convolution" in _graph(convolve(x, weight, bias))
    colours, first, _ = _case(1, 3, 128, 40, 40, 5)
    assert "_Convolution" not in _graph(convolve(colours, first.requires_grad_(), bias))
    assert "_Convolution" not in _graph(convolve(x[:, :, :5, :5], weight, bias))  # one output
    odd, uneven, _ = _case(1, 24, 128, 40, 40, 5)
    assert "_Convolution" not in _graph(convolve(odd, uneven.requires_grad_(), bias))
    assert "_Convolution" not in _graph(convolve(x.double(), weight.double(), bias.double()))
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve(x, weight, bias).dtype == torch.bfloat16


def test_empty_batches_and_huge_values(always: None) -> None:
    x, weight, bias = _case(2, 16, 32, 12, 12, 5)
    assert convolve(x[:0], weight, bias).shape == (0, 32, 8, 8)
    huge = 1e30 * x
    exact = F.conv2d(huge.double(), weight.double(), bias.double())
    assert _relative(convolve(huge, weight, bias), exact) < _limit(huge, weight)
    x[0, 0, 3, 3] = torch.nan
    y = convolve(x, weight, bias)
    assert y[0].isnan().any() and not y[1].isnan().any()


def test_frozen_weights_and_inputs_keep_no_gradient(always: None) -> None:
    x, weight, bias = _case(1, 16, 16, 12, 12, 5)
    assert convolve(x, weight, bias).grad_fn is None
    y = convolve(x.requires_grad_(), weight, bias)
    y.sum().backward()
    assert x.grad is not None and weight.grad is None
