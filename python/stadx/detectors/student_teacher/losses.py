"""What a step of a student lowers: Eq. 7, or, as in EfficientAD (Batzner et al., WACV 2024), its hardest elements."""

from __future__ import annotations

import torch
from torch import Tensor

from stadx.metrics.image_score import pixels_that_count


def mean_inside(losses: Tensor, weight: Tensor) -> Tensor:
    """The mean of losses [B, h, w] over the pixels whose `weight` is 1, not 0; over all where that is empty."""
    if not weight.numel():
        return losses.mean()
    return (losses * weight).sum() / weight.sum().clamp_min(1)


def mean_of_learned(losses: Tensor, learns: Tensor, weight: Tensor, all_learn: bool = False) -> Tensor:
    """Eq. 7: the mean of losses [B, h, w] over the pixels of the images that a student learns from.

    Args:
        losses: of each pixel, summed over the d channels.
        learns: [B], 1 where the student learns from an image, else 0.
        weight: [B, h, w], 1 at pixels that are looked at, else 0; empty where all are.
        all_learn: whether `learns` is 1 throughout.
    """
    if weight.numel():
        return mean_inside(losses, weight * learns[:, None, None])
    if all_learn:
        return losses.mean()
    return (losses.mean((1, 2)) * learns).sum() / learns.sum().clamp_min(1)


def mean_of_hardest(squares: Tensor, share: float, learns: Tensor, weight: Tensor) -> Tensor:
    """d times the mean of the highest `share` of a step's elements [B, d, h, w]; of all of them it is Eq. 7.

    EfficientAD's is their mean without d, from a quantile on. Elements of images that the student does not learn from,
    and of pixels that are not looked at, neither count nor are counted. Shapes follow from shapes alone, as a CUDA
    graph needs them.

    Args:
        squares: (S − (T − µ)/σ)² of each pixel and channel.
        share: above 0, at most 1; at least one element counts.
        learns, weight: as in `mean_of_learned`.
    """
    counts = learns[:, None, None].expand(-1, *squares.shape[2:])
    if weight.numel():
        counts = counts * weight
    # nothing squared is below 0, so what does not count comes last
    highest = (squares * counts[:, None]).flatten().topk(pixels_that_count(squares.numel(), share)).values
    channels = squares.shape[1]
    wanted = (share * (channels * counts.sum(dtype=torch.float64))).round().clamp(1, len(highest))
    ranks = torch.arange(len(highest), device=squares.device)
    return channels * (highest * (ranks < wanted)).sum() / wanted.to(squares.dtype)


def penalty(predicted: Tensor) -> Tensor:
    """‖S‖² of a student's output [B, d, h, w] on photos, the mean over their pixels: EfficientAD's, times d."""
    return predicted.square().sum(1).mean()
