"""The losses of pretraining equal their plain definitions, and so do their gradients."""

from __future__ import annotations

import math

import pytest
import torch

from stadx.teachers.losses import compactness_loss, distillation_loss, triplet_loss

pytestmark = pytest.mark.arithmetic


GENERATOR = torch.Generator().manual_seed(0)


def rows(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=GENERATOR, dtype=torch.float64)


def test_distillation_is_the_mean_squared_distance() -> None:
    a, b = rows(5, 3), rows(5, 3)
    expected = sum(float(((x - y) ** 2).sum()) for x, y in zip(a, b, strict=True)) / 5
    assert distillation_loss(a, b).item() == pytest.approx(expected)


@pytest.mark.parametrize("margin", [1.0, 0.2, 5.0])
def test_triplets_swap_the_anchor(margin: float) -> None:
    a, p, n = rows(40, 3), rows(40, 3), 2 * rows(40, 3)
    terms = []
    for x, y, z in zip(a, p, n, strict=True):
        far = min(math.dist(x, z), math.dist(y, z))
        terms.append(max(0.0, margin + math.dist(x, y) - far))
    assert triplet_loss(a, p, n, margin).item() == pytest.approx(sum(terms) / 40)
    assert sum(term > 0 for term in terms) > 0 and (margin > 1 or min(terms) == 0)
    torch.testing.assert_close(triplet_loss(a, p, n), triplet_loss(p, a, n))


def test_compactness_is_the_sum_of_squared_correlations() -> None:
    x = rows(50, 7)
    c = torch.corrcoef(x.T)
    expected = c.square().sum() - 7
    torch.testing.assert_close(compactness_loss(x), expected)
    torch.testing.assert_close(compactness_loss(5 * x + 3), expected)
    torch.testing.assert_close(compactness_loss(x, "mean"), expected / 42)
    assert compactness_loss(torch.ones(4, 3)) == 0  # constant descriptors: no correlation, no NaN


def test_gradients() -> None:
    a, p, n = (rows(6, 4).requires_grad_() for _ in range(3))
    assert torch.autograd.gradcheck(triplet_loss, (a, p, n, 3.0))
    assert torch.autograd.gradcheck(distillation_loss, (a, p))
    assert torch.autograd.gradcheck(compactness_loss, (a,))
    assert torch.autograd.gradcheck(lambda x: compactness_loss(x, "mean"), (a,))


@pytest.mark.parametrize("same", ["positive", "negative", "all"])
def test_equal_descriptors_have_gradients_that_are_numbers(same: str) -> None:
    a, p, n = (rows(4, 3) for _ in range(3))
    p = a.clone() if same in ("positive", "all") else p
    n = a.clone() if same in ("negative", "all") else n
    leaves = [x.requires_grad_() for x in (a, p, n)]
    loss = triplet_loss(a, p, n, 10.0)
    loss.backward()
    assert all(torch.isfinite(x.grad).all() for x in leaves if x.grad is not None)
    if same == "all":
        assert loss.item() == 10 and all(x.grad is not None and not x.grad.any() for x in leaves)
