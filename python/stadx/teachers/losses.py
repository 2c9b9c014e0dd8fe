"""The losses of teacher pretraining (Bergmann et al. 2020, Eqs. 3 to 6)."""

from __future__ import annotations

from torch import Tensor

from .settings import Reduction


def distillation_loss(decoded: Tensor, target: Tensor) -> Tensor:
    """Lk of Eq. 3: the mean over the batch of ‖D(T̂(x)) − P(x)‖².

    Args:
        decoded, target: [N, dim of P], floating.

    Returns:
        A scalar >= 0.
    """
    return (decoded - target).square().sum(1).mean()


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """Lm of Eq. 4 with the anchor swap: the mean over the batch of max(0, δ + δ⁺ − δ⁻).

    δ⁺ = ‖a − p‖ and δ⁻ = min(‖a − n‖, ‖p − n‖). Where a distance is 0 its gradient is 0, not NaN.

    Args:
        anchor, positive, negative: descriptors a, p, n [N, d], floating.
        margin: δ.

    Returns:
        A scalar >= 0.
    """
    near = _length(anchor - positive)
    far = _length(anchor - negative).minimum(_length(positive - negative))
    return (margin + near - far).clamp_min(0).mean()


def compactness_loss(descriptors: Tensor, reduction: Reduction = "sum") -> Tensor:
    """Lc of Eq. 5, squared: Σ_{i≠j} c_ij² over the correlation matrix of the descriptors' dimensions.

    Args:
        descriptors: [N, d], N >= 2.
        reduction: "sum", or "mean" over the d (d - 1) off-diagonal entries.

    Returns:
        A scalar >= 0; 0 for uncorrelated dimensions.
    """
    d = descriptors.shape[1]
    centred = descriptors - descriptors.mean(0)
    unit = centred / centred.norm(dim=0).clamp_min(1e-12)
    correlation = unit.T @ unit
    total: Tensor = correlation.square().sum() - correlation.diagonal().square().sum()
    return total / (d * (d - 1)) if reduction == "mean" else total


def _length(vectors: Tensor) -> Tensor:
    # the square root's gradient is infinite at 0: those rows go around it
    squared = vectors.square().sum(1)
    zero = squared == 0
    return squared.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)
