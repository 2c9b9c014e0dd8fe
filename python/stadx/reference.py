"""The plain-PyTorch twin of every operator: the definition that the native kernels are tested against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

__all__ = ["ensemble_score", "label_regions", "pro_curve"]


def ensemble_score(students: Tensor, teacher: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Regression error e and predictive variance v of a student ensemble (Eqs. 9 and 10).

    Args and returns as `stadx.ops.ensemble_score`, any floating dtype: half precision is computed in float32.
    """
    if teacher.dtype in (torch.bfloat16, torch.float16):
        students, teacher = students.float(), teacher.float()
    mean, std = mean.to(teacher.dtype), std.to(teacher.dtype)
    target = (teacher - mean[:, None, None]) / std[:, None, None]  # [B, d, H, W]
    center = students.mean(dim=0)  # [B, d, H, W]
    error = (center - target).square().sum(dim=1)  # [B, H, W]
    variance = (students - center).square().sum(dim=2).mean(dim=0)  # [B, H, W]
    return error, variance


def label_regions(mask: Tensor, connectivity: int = 8) -> tuple[Tensor, Tensor]:
    """Connected regions of masks, numbered in raster order. Args and returns as `stadx.ops.label_regions`."""
    batch, height, width = mask.shape
    labels = torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
    counts = torch.zeros(batch, dtype=torch.int64, device=mask.device)
    if mask.numel() == 0:
        return labels, counts

    # Every pixel carries a number, falling in raster order; each region's highest one spreads until done.
    inside = mask != 0  # [B, H, W]
    first = torch.arange(height * width, 0, -1, device=mask.device, dtype=torch.float64)
    owner = first.reshape(1, height, width) * inside  # [B, H, W]; 0 outside
    while True:
        if connectivity == 8:
            spread = max_pool2d(owner, 3, stride=1, padding=1)
        else:
            spread = torch.maximum(
                max_pool2d(owner, (3, 1), stride=1, padding=(1, 0)),
                max_pool2d(owner, (1, 3), stride=1, padding=(0, 1)),
            )
        spread = spread * inside
        if torch.equal(spread, owner):
            break
        owner = spread

    for b in range(batch):
        owners = sorted(set(owner[b][inside[b]].tolist()), reverse=True)  # highest number = first in raster order
        for number, value in enumerate(owners, start=1):
            labels[b][owner[b] == value] = number
        counts[b] = len(owners)
    return labels, counts


def pro_curve(
    scores: Tensor, regions: Tensor, num_regions: int, drop_collinear: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Exact per-region-overlap curve. Args and returns as `stadx.ops.pro_curve`."""
    sorted_scores, order = scores.sort(descending=True)
    region = regions[order].long()  # [n]
    sizes = torch.bincount(region, minlength=num_regions + 1)  # [R + 1]; entry 0 is the background
    background = region == 0
    share = torch.where(background, 0.0, 1.0 / sizes[region].double())

    last = torch.ones_like(background)  # last pixel of each group of equal scores
    last[:-1] = sorted_scores[1:] != sorted_scores[:-1]
    fpr = (background.cumsum(0)[last]).double() / sizes[0].double()
    pro = share.cumsum(0)[last] / num_regions
    thresholds = sorted_scores[last].double()

    def framed(x: Tensor, start: float, end: float) -> Tensor:
        return torch.cat([x.new_tensor([start]), x, x.new_tensor([end])])

    fpr, pro = framed(fpr, 0.0, 1.0), framed(pro, 0.0, 1.0)
    thresholds = framed(thresholds, float("inf"), float("-inf"))
    if drop_collinear:
        level = (pro[1:-1] == pro[:-2]) & (pro[1:-1] == pro[2:])
        upright = (fpr[1:-1] == fpr[:-2]) & (fpr[1:-1] == fpr[2:])
        keep = torch.ones_like(pro, dtype=torch.bool)
        keep[1:-1] = ~(level | upright)
        fpr, pro, thresholds = fpr[keep], pro[keep], thresholds[keep]
    return fpr, pro, thresholds
