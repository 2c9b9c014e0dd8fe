"""One scale on a GPU: its networks, and maps of the part of an image whose patches are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stadx import ops
from stadx.networks.plan import Layer, layers_of

from .ensemble import Ensemble


@dataclass
class Scale:
    """The networks of one scale, on the device."""

    patch_size: int
    padding: Any
    inside: bool
    layers: list[Layer]  # of the teacher: kernels, pools, slopes
    weights: list[list[Tensor]]  # [layer][network]; of the first layer one, of all networks together
    biases: list[list[Tensor]]  # [layer][network], float32
    last_bias: Tensor  # [networks, d]
    mean: Tensor
    std: Tensor


Figures = tuple[float, float, float, float]  # e_mean, e_std, v_mean, v_std
ERROR: Figures = (0, 1, 0, math.inf)  # e alone
VARIANCE: Figures = (0, math.inf, 0, 1)  # v alone


class Target(NamedTuple):
    """A map to write: (e − e_mean) / e_std + (v − v_mean) / v_std."""

    out: Tensor
    figures: Figures


def scale_of(ensemble: Ensemble, device: torch.device, dtype: torch.dtype) -> Scale:
    """The networks, on the device, weights of that dtype."""
    networks = [layers_of(net) for net in (ensemble.teacher, *ensemble.students)]
    weights = [
        [net[i].weight.to(device, dtype).contiguous(memory_format=torch.channels_last) for net in networks]
        for i in range(len(networks[0]))
    ]
    weights[0] = [torch.cat(weights[0]).contiguous(memory_format=torch.channels_last)]
    biases = [[net[i].bias.to(device, torch.float32) for net in networks] for i in range(len(networks[0]))]
    return Scale(
        ensemble.teacher.patch_size,
        ensemble.teacher.padding,
        ensemble.inside,
        networks[0],
        weights,
        biases,
        torch.stack(biases[-1]),
        ensemble.mean.to(device, torch.float32),
        ensemble.std.to(device, torch.float32),
    )


def score_window(scale: Scale, window: Tensor, stride: int, targets: Sequence[Target]) -> None:
    """Maps of the pixels whose patches lie in a part of the padded images."""
    layers, p = scale.layers, scale.patch_size
    pools = sum(layer.pooled for layer in layers)
    plain = min(stride.bit_length() - 1, pools)  # pools that need no other phases
    left = stride >> plain  # what the last convolution has to skip by itself
    networks = len(scale.last_bias)
    length = [n - p + 1 for n in window.shape[2:]]
    unit = 1 << pools
    grid = [-(-n // unit) * unit for n in length]
    x = F.pad(window, (0, grid[1] - length[1], 0, grid[0] - length[0]))
    x = x.to(scale.weights[0][0].dtype).contiguous(memory_format=torch.channels_last)
    maps = [x]
    side, pool = p, 0
    for index, layer in enumerate(layers):
        last = index == len(layers) - 1
        step = left if last else 1
        maps = [F.conv2d(m, w, stride=step) for m, w in zip(maps, scale.weights[index], strict=True)]
        if index == 0 and not last:  # one convolution for all networks: they read the same image
            maps = list(maps[0].chunk(networks, dim=1))
        side -= layer.kernel - 1
        if last:
            break
        shifts = 0
        if layers[index + 1].pooled:
            shifts = 1 if pool < plain else 2
            pool += 1
            side //= 2
            grid = [n // 2 for n in grid]
            need = [2 * (n + side - 1) + shifts - 1 for n in grid]
            maps = [m[:, :, : need[0], : need[1]] for m in maps]
        maps = [ops.phase_pool(m, bias, layer.slope, shifts) for m, bias in zip(maps, scale.biases[index], strict=True)]
    for target in targets:
        ops.phase_score(
            maps,
            scale.last_bias,
            scale.mean,
            scale.std,
            slope=layers[-1].slope,
            pools=pools - plain,
            normalization=target.figures,
            weight=1.0,
            add=False,
            out=target.out,
        )
