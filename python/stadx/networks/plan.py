"""Which part of which map each layer of a patch network computes, for all or some of an image's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .border import Span
from .patch_network import PatchNetwork

CHANNEL_BLOCK = 16  # channels of maps are padded to a multiple of it
_WINOGRAD_TILES = {5: 10, 4: 10, 2: 8}  # by kernel


@dataclass(frozen=True)
class Layer:
    """One convolution of a patch network.

    Attributes:
        weight, bias: [O, C, k, k], [O].
        pooled: whether its input is read through 2 x 2 max-pools.
        slope: of the leaky ReLU that follows; 1 for none.
    """

    weight: Tensor
    bias: Tensor
    pooled: bool
    slope: float

    @property
    def kernel(self) -> int:
        """k, the side of the kernel."""
        return self.weight.shape[2]

    @property
    def tile(self) -> int:
        """Side of its Winograd tiles; 0 where direct convolution wins: few input channels, other kernels."""
        few = self.weight.shape[1] == 3 and not self.pooled
        return 0 if few else _WINOGRAD_TILES.get(self.kernel, 0)

    def equals(self, other: Layer) -> bool:
        """Whether both compute the same."""
        if (self.pooled, self.slope) != (other.pooled, other.slope):
            return False
        return torch.equal(self.weight, other.weight) and torch.equal(self.bias, other.bias)


def layers_of(net: PatchNetwork) -> list[Layer]:
    """The convolutions of a patch network in order; they share its memory."""
    layers: list[Layer] = []
    pooled = False
    for module in net.layers:
        if isinstance(module, nn.Conv2d):
            assert module.bias is not None
            layers.append(Layer(module.weight.detach(), module.bias.detach(), pooled, 1.0))
            pooled = False
        elif isinstance(module, nn.LeakyReLU):
            layers[-1] = replace(layers[-1], slope=module.negative_slope)
        else:  # a pool; an activation after it belongs to the convolution before: it is increasing
            pooled = True
    return layers


class Step(NamedTuple):
    """What one layer does along one axis.

    Attributes:
        tile: of the Winograd form; 0 for direct.
        step: of the window from output to output.
        pool_shifts: 0 for no pooling; 1 or 2: how many shifts of the pools are needed.
        start, size: extent of its output; position 0 is the image's first, whatever part is computed.
        offset: where the first window begins in what the layer before has stored, after pooling.
    """

    tile: int
    step: int
    pool_shifts: int
    start: int
    size: int
    offset: int


class AxisPlan(NamedTuple):
    """The work along one axis for some of its pixels.

    Attributes:
        begin, end: positions of the padded image to read; they may lie beyond its end.
        steps: one per layer.
        size: how many output pixels the last layer gives, counted in units of stride / every.
        first, every: which of them are wanted.
    """

    begin: int
    end: int
    steps: list[Step]
    size: int
    first: int
    every: int

    @property
    def wanted(self) -> slice:
        """The wanted of the output pixels."""
        return slice(self.first, None, self.every)


def plan_axis(layers: Sequence[Layer], length: int, begin: int, end: int, stride: int = 1) -> AxisPlan:
    """Plan the pixels [begin, end) of `length` along one axis, of which every stride-th (a power of two) is computed.

    Ranges are widened to whole Winograd tiles, which start at multiples of their size, and what lies beyond the
    image's last needed position is zero for everyone: so results do not depend on begin and end.
    """
    grid = 2 ** sum(layer.pooled for layer in layers)  # pixels from one output of a phase to the next
    phases, skip = max(grid // stride, 1), max(stride // grid, 1)
    every = 2 if skip == 2 else 1  # a direct 4 x 4 convolution of step 2 costs more than Winograd's of step 1
    stride, skip = stride // every, skip // every
    low, high, total = begin // (grid * skip), -(-end // (grid * skip)), -(-length // (grid * skip))
    steps: list[Step] = []
    pools = sum(layer.pooled for layer in layers)
    for layer in reversed(layers):
        step = 1 if steps else skip
        tile = layer.tile if step == 1 else 0
        outputs = tile - layer.kernel + 1 if tile else 1
        start, stop = low // outputs * outputs, -(-high // outputs) * outputs
        size = min(stop, total) - start
        total = (total - 1) * step + layer.kernel
        low, high = start * step, min((stop - 1) * step + layer.kernel, total)
        shifts, offset = 0, low
        if layer.pooled:
            pools -= 1
            shifts = 2 if 2**pools >= stride else 1
            low, high, total = 2 * low, 2 * high + 1, 2 * total + 1
        steps.append(Step(tile, step, shifts, start, size, offset))
    steps.reverse()
    stored = low
    for i, now in enumerate(steps):
        assert not (now.pool_shifts and stored % 2)  # pools begin on their grid
        steps[i] = now._replace(offset=now.offset - (stored // 2 if now.pool_shifts else stored))
        stored = now.start
    last = steps[-1]
    origin = last.start * phases
    size = min((last.start + last.size) * phases, -(-end // stride)) - origin
    return AxisPlan(low, high, steps, size, begin // stride - origin, every)


def buffer_of(layer: int, layers: int, network: int) -> str:
    """Name of the buffer for a layer's output; what the last layer reads is kept per network."""
    return f"kept {network}" if layer == layers - 2 else f"between {layer % 2}"


def buffer_sizes(layers: Sequence[Layer], length: int, pixels: Span, side: int, networks: int) -> dict[str, int]:
    """Floats that each buffer needs for any tile of side x side of `pixels` along both axes, of that length."""
    sizes: dict[str, int] = {}
    for begin in range(pixels.begin, pixels.end, side):
        plan = plan_axis(layers, length, begin, min(begin + side, pixels.end), pixels.stride)
        phases = 1
        for i, (layer, step) in enumerate(zip(layers[:-1], plan.steps, strict=False)):
            phases *= max(step.pool_shifts, 1)
            channels = -(-len(layer.bias) // CHANNEL_BLOCK) * CHANNEL_BLOCK
            for network in range(networks):
                name = buffer_of(i, len(layers), network)
                sizes[name] = max(sizes.get(name, 0), phases**2 * step.size**2 * channels)
    return sizes
