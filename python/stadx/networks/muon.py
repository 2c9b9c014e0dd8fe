"""Muon: an optimiser that takes steps of equal size in every direction of a weight matrix (Jordan et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor, nn

from stadx import ops

_MOMENTUM = 0.9
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam, for the biases
_ITERATIONS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315  # Jordan's polynomial: takes singular values from 0.003 … 1 to 0.7 … 1.2
_SCALE = 0.2  # root mean square of a step over the learning rate, about that of Adam (Liu et al. 2025)


class Muon(torch.optim.Optimizer):
    """Muon for the weights of convolutions, as matrices [out, in · k · k]; Adam for vectors.

    The step is the nearest orthogonal matrix of the gradient's running mean (with Nesterov's look ahead), so that the
    weak directions of a gradient are learned as fast as its strong ones. PyTorch's own Muon takes matrices alone and
    always works in bfloat16, which many CPUs emulate.

    Args:
        parameters: weights to train.
        learning_rate: a step's root mean square is a fifth of it; a tensor, as a CUDA graph needs it, is read anew.
        weight_decay: added to the gradient times the weight, as in `torch.optim.Adam`.
        bfloat16: whether matrices are multiplied in bfloat16; weights and running means stay in their own type.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float | Tensor = 2e-3,
        *,
        weight_decay: float = 0.0,
        bfloat16: bool = False,
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "weight_decay": weight_decay})
        self._kind = torch.bfloat16 if bfloat16 else None

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Change every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                state = self.state[parameter]
                if not state:
                    _start(gradient, state)
                if parameter.ndim < 2:
                    step = _adam_step(gradient, state)
                else:
                    step = _muon_step(gradient, state, self._kind or gradient.dtype)
                parameter.sub_(step.mul_(group["lr"]))
        return loss


def _start(gradient: Tensor, state: dict[str, Tensor]) -> None:
    names = ("exp_avg", "exp_avg_sq") if gradient.ndim < 2 else ("momentum",)
    state.update({name: torch.zeros_like(gradient) for name in names})
    if gradient.ndim < 2:
        state["step"] = torch.zeros((), device=gradient.device)


def _muon_step(gradient: Tensor, state: dict[str, Tensor], kind: torch.dtype) -> Tensor:
    momentum = state["momentum"]
    momentum.lerp_(gradient, 1 - _MOMENTUM)
    ahead = gradient.lerp_(momentum, _MOMENTUM)
    if ahead.ndim == 4:  # the order of columns is free: that of channels-last memory takes no copy
        ahead = ahead.permute(0, 2, 3, 1)
    matrix = ahead.flatten(1)
    scale = _SCALE * max(matrix.shape) ** 0.5  # an orthogonal matrix has root mean square max(shape) ** -0.5
    step = orthogonalize(matrix, kind).to(matrix.dtype).mul_(scale).view(ahead.shape)
    return step.permute(0, 3, 1, 2) if step.ndim == 4 else step


def _adam_step(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    count, mean, square = state["step"], state["exp_avg"], state["exp_avg_sq"]
    count += 1
    mean.lerp_(gradient, 1 - _BETAS[0])
    square.lerp_(gradient.square(), 1 - _BETAS[1])
    unbiased = (square / (1 - _BETAS[1] ** count)).sqrt_().add_(_EPSILON)
    return mean / (1 - _BETAS[0] ** count) / unbiased


def orthogonalize(matrix: Tensor, kind: torch.dtype | None = None) -> Tensor:
    """The matrix with its singular values made about 1: Newton and Schulz's iteration, five steps.

    Every factor is a polynomial of X Xᵀ, so only matrices of the smaller side are multiplied on the way: a third of the
    multiplications of the plain iteration for 256 x 3200. In bfloat16 X Xᵀ is too inexact for that, and the plain
    iteration corrects itself.

    Args:
        matrix: float [m, n].
        kind: what is multiplied in; None: the matrix's own.

    Returns:
        Same shape, of that kind; singular values above 0.003 of the matrix's norm come to lie between 0.68 and 1.2.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalize(matrix.T, kind).T
    x: Tensor = (matrix / (matrix.norm() + 1e-7)).to(kind or matrix.dtype)
    if x.dtype == torch.bfloat16:
        for _ in range(_ITERATIONS):
            gram = x @ x.T
            x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
        return x
    x = x.contiguous()
    gram, product = _times(x, x.T), None
    for i in range(_ITERATIONS):
        factor = _times(gram, gram).mul_(_C).add_(gram, alpha=_B)
        factor.diagonal().add_(_A)
        product = factor if product is None else _times(factor, product)
        if i < _ITERATIONS - 1:
            gram = _times(_times(factor, gram), factor)
    assert product is not None
    return _times(product, x)


def _times(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, which may be the transpose of a contiguous matrix; on the CPU twice as fast as PyTorch's."""
    if left.device.type != "cpu" or left.dtype != torch.float32 or right.shape[1] % 16:
        return left @ right
    transposed = not right.is_contiguous()
    stored = right.T if transposed else right
    return ops.matrix_products(left[None], stored[None], right_transposed=transposed)[0]
