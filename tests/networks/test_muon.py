"""Muon: what a step is, that it trains, and that it can be resumed."""

from __future__ import annotations

import pytest
import torch
from rounding import rounded
from torch import nn

from stadx.networks.muon import Muon, orthogonalize
from stadx.networks.training import restore_training_state, training_state

pytestmark = pytest.mark.arithmetic


@pytest.mark.parametrize("shape", [(256, 3200), (128, 75), (75, 128), (128, 128), (1, 9), (5, 1)])
def test_singular_values_become_about_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = torch.linalg.svdvals(matrix)
    after = torch.linalg.svdvals(orthogonalize(matrix))
    seen = after[before > 0.003 * matrix.norm()]
    assert seen.min() > 0.65 and after.max() < 1.25


@pytest.mark.parametrize("shape", [(256, 3200), (75, 128), (128, 256), (1, 9)])
def test_in_bfloat16_singular_values_become_nearly_so(shape: tuple[int, int]) -> None:
    # spread over three decades, as a gradient's are: composed as in float32, bfloat16 would diverge
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 0, shape[1])
    plain, low = orthogonalize(matrix), orthogonalize(matrix, torch.bfloat16)
    assert low.dtype == torch.bfloat16
    assert torch.linalg.svdvals(low.float()).max() < 1.3
    alike = torch.nn.functional.cosine_similarity(plain.flatten(), low.float().flatten(), dim=0)
    assert alike > 0.99


def test_weights_keep_their_type_in_bfloat16() -> None:
    weight = nn.Parameter(torch.zeros(32, 8, 3, 3))
    weight.grad = torch.randn(32, 8, 3, 3)
    optimizer = Muon([weight], 0.5, bfloat16=True)
    optimizer.step()
    assert weight.dtype == optimizer.state[weight]["momentum"].dtype == torch.float32
    assert 0.08 < weight.square().mean().sqrt() < 0.12


def test_equals_the_iteration_as_it_is_published() -> None:
    matrix = torch.randn(24, 90, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    torch.testing.assert_close(orthogonalize(matrix), x, rtol=1e-5, atol=1e-6)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert float(torch.nn.functional.cosine_similarity(x.flatten(), (u @ v).flatten(), dim=0)) > 0.98


@pytest.mark.parametrize("shape", [(32, 96), (80, 33), (24, 90), (128, 128)])
def test_native_products_are_the_same(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, wanted = orthogonalize(matrix.float()), orthogonalize(matrix)
    # some 20 products of up to 128 terms; each step multiplies what it is given by up to 3.4445
    assert (found - wanted).norm() / wanted.norm() < rounded(20 * 128, gain=3.4445**2)


@pytest.mark.parametrize("shape", [(16, 1), (1, 16)])
def test_a_single_row_or_column(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    for given in (matrix, matrix.T.contiguous().T):
        assert torch.nn.functional.cosine_similarity(orthogonalize(given), matrix, dim=shape.index(16)).item() > 0.9999


@pytest.mark.parametrize("value", [0.0, 1e30, 1e-30])
def test_gradients_of_zero_and_of_any_size(value: float) -> None:
    weight = nn.Parameter(torch.ones(4, 3, 2, 2))
    weight.grad = torch.full_like(weight, value)
    Muon([weight]).step()
    assert torch.isfinite(weight).all()


def test_a_step_has_the_size_that_is_promised() -> None:
    weight, bias, idle = (
        nn.Parameter(torch.zeros(32, 8, 3, 3)),
        nn.Parameter(torch.zeros(32)),
        nn.Parameter(torch.ones(1)),
    )
    weight.grad, bias.grad = torch.randn(32, 8, 3, 3), 1e-3 * (torch.rand(32) + 0.1) * torch.randn(32).sign()
    Muon([weight, bias, idle], 0.5).step()
    assert 0.08 < weight.square().mean().sqrt() < 0.12
    torch.testing.assert_close(bias, -0.5 * bias.grad.sign(), rtol=1e-3, atol=1e-3)  # Adam's first
    assert idle == 1


def test_vectors_go_the_way_of_adam() -> None:
    ours, theirs = nn.Parameter(torch.ones(7)), nn.Parameter(torch.ones(7))
    steps = Muon([ours], 1e-2, weight_decay=0.1), torch.optim.Adam([theirs], 1e-2, weight_decay=0.1)
    for i in range(20):
        for parameter, optimizer in zip((ours, theirs), steps, strict=True):
            parameter.grad = parameter.detach() * torch.arange(7) + i % 3
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_resumed_is_the_same_to_the_bit() -> None:
    def train(net: nn.Module, optimizer: Muon, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            net(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer, again = Muon(net.parameters()), Muon(other.parameters())
    train(net, optimizer, 3)
    state = {name: tensor.clone() for name, tensor in training_state({"net": net}, optimizer).items()}
    restore_training_state({"net": other}, again, state)
    train(net, optimizer, 3)
    train(other, again, 3)
    for ours, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_closure_is_called_with_gradients() -> None:
    weight = nn.Parameter(torch.ones(2, 2))

    def closure() -> float:
        loss = weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    assert Muon([weight]).step(closure) == 4
