"""Wrappers of the operators that score an ensemble of students."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def ensemble_score(students: Tensor, teacher: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Regression error and predictive variance of a student ensemble, at every pixel (Eqs. 9 and 10).

    With ŷ = (T − µ)/σ and the ensemble mean S̄ = mean_i Sᵢ: e = ‖S̄ − ŷ‖² and v = mean_i ‖Sᵢ − S̄‖².
    One pass over memory; contiguous and channels-last maps are read in place. For scoring only: there is no
    gradient, and `backward` says so.

    Args:
        students: descriptors Sᵢ of M ≥ 1 students, [M, B, d, H, W], float32 or bfloat16; on a GPU also float16, and
            at most 63 of them.
        teacher: descriptors T, [B, d, H, W], same dtype.
        mean: µ per channel, [d].
        std: σ per channel, [d]; zeros follow IEEE rules (inf or NaN).

    Returns:
        e and v, [B, H, W], float32, accumulated in float32; v is zero for M = 1.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit together.
    """
    # µ and σ have d elements: converting them costs nothing beside the maps.
    e, v = torch.ops.stadx.ensemble_score(students, teacher, mean.float(), std.float())
    return e, v


def phase_pool(x: Tensor, bias: Tensor, slope: float, shifts: int) -> Tensor:
    """Bias, leaky ReLU and 2 x 2 max-pools of stride 2 of a convolution's result, in one read on a GPU.

    Args:
        x: [B, C, H, W], float32, bfloat16 or float16; read in place where channels are innermost in memory.
        bias: float32 [C].
        slope: of the leaky ReLU.
        shifts: 0: no pool. 1: one. 2: four, shifted by 0 or 1 pixel in both directions (the phases of Bailer et al.
            2017), of equal size.

    Returns:
        [B, C, H, W], [B, C, ⌊H / 2⌋, ⌊W / 2⌋] or [4 B, C, ⌊(H - 1) / 2⌋, ⌊(W - 1) / 2⌋], the shifts (0, 0), (0, 1),
        (1, 0), (1, 1) one after the other; dtype of x, rounded once, channels innermost. NaN wins.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit together.
    """
    pooled: Tensor = torch.ops.stadx.phase_pool(x, bias, slope, shifts)
    return pooled


def phase_score(
    maps: Sequence[Tensor],
    bias: Tensor,
    mean: Tensor,
    std: Tensor,
    *,
    slope: float,
    pools: int,
    normalization: Sequence[float],
    weight: float,
    add: bool,
    out: Tensor,
) -> None:
    """The anomaly map of one scale (Eqs. 9 to 12) from the last convolutions of all networks, still in phases.

    Args:
        maps: of the teacher, then of the students, [4^pools B, d, h, w], float32, bfloat16 or float16, channels
            innermost; the batch counts the shift of the last pool, …, of the first, then the image, as `phase_pool`
            leaves them.
        bias: of these convolutions, float32 [M + 1, d].
        mean, std: µ and σ, float32 [d].
        slope: of a leaky ReLU after the bias; 1 for none.
        pools: how many pools had four shifts, 0 to 3.
        normalization: e_mean, e_std, v_mean, v_std.
        weight: of this scale.
        add: to what `out` holds; else overwrite it.
        out: float32 [B, H, W], contiguous; H and W at most 2^pools times those of the maps.

    Raises:
        RuntimeError: shapes, dtypes or devices do not fit together.
    """
    torch.ops.stadx.phase_score(maps, bias, mean, std, slope, pools, normalization, weight, add, out)
