"""The dense engine: a patch network at every pixel of an image on the CPU, in float32.

Winograd convolutions (F(6x6, 5x5), F(7x7, 4x4), F(7x7, 2x2)) on the phase maps of Bailer et al. 2017. Tiles lie on
grids that are fixed to the image, so a part of an image gives the same bits as the whole.
"""

from __future__ import annotations

import contextlib
import copy
import math
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stadx import ops

from .patch_network import PatchNetwork, dense_features_padded, normalize_images
from .plan import CHANNEL_BLOCK, AxisPlan, Layer, buffer_of, layers_of, plan_axis

INPUT_LIMIT = 16.0  # normalised images lie within 2.7; rounding errors grow with the largest input nearby
RMS_LIMIT, MAX_LIMIT = 1e-4, 1e-3  # of the error, in standard deviations of the descriptors


class Workspace:
    """Memory for maps, used again from layer to layer and tile to tile: fresh memory costs a page fault per 4 KiB.

    Args:
        sizes: floats to give each buffer at least; see `buffer_sizes`.
    """

    def __init__(self, sizes: Mapping[str, int] = MappingProxyType({})) -> None:
        self._sizes = sizes
        self._buffers: dict[str, Tensor] = {}

    def lend(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Buffer `name`, float32, in this shape."""
        size = math.prod(shape)
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers.pop(name, None)  # first, so that there are never two
            self._buffers[name] = torch.empty(max(size, self._sizes.get(name, 0)))
        return self._buffers[name][:size].view(shape)


class Engine:
    """The convolutions of one patch network, transformed and packed when first needed.

    Args:
        net: in float32 on the CPU. It may change afterwards: the engine has its own copy of the weights.
    """

    def __init__(self, net: PatchNetwork) -> None:
        self.layers = [replace(x, weight=x.weight.clone(), bias=x.bias.clone()) for x in layers_of(net)]
        self.descriptor_size = len(self.layers[-1].bias)
        self._biases = [pad_channels(layer.bias) for layer in self.layers]
        self._packed: dict[tuple[int, int, int], Tensor] = {}
        self._accurate: bool | None = None

    def is_of(self, net: PatchNetwork) -> bool:
        """Whether `net` is still the network that the engine was made from."""
        theirs = layers_of(net)
        return len(theirs) == len(self.layers) and all(map(Layer.equals, self.layers, theirs))

    def _weights(self, index: int, tile: int) -> Tensor:
        key = index, tile, ops.weight_width()  # another instruction set may be chosen later
        if key not in self._packed:
            weight = self.layers[index].weight
            channels = weight.shape[1] if index == 0 else len(self._biases[index - 1])
            self._packed[key] = ops.pack_weights(weight, tile, channels)
        return self._packed[key]

    def arguments(self, index: int, rows: AxisPlan, columns: AxisPlan) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Weights, bias and what else `ops.dense_layer` and `ops.dense_score` need for layer `index`."""
        row, column = rows.steps[index], columns.steps[index]
        settings = {
            "kernel": self.layers[index].kernel,
            "tile": row.tile,
            "pool_shifts": row.pool_shifts,
            "step": row.step,
            "offset": (row.offset, column.offset),
            "size": (row.size, column.size),
            "slope": self.layers[index].slope,
        }
        return self._weights(index, row.tile), self._biases[index], settings

    def before_last(
        self, window: Tensor, rows: AxisPlan, columns: AxisPlan, workspace: Workspace, network: int = 0
    ) -> Tensor:
        """What the last layer reads, [phases, phases, h, w, channels].

        Args:
            window: the part of the padded image that the plans name, float32 [h, w, 3], contiguous.
            rows, columns: from `plan_axis`.
            workspace: lends the memory; the result is good until the next call for the same `network`.
            network: number of the result's buffer.
        """
        x = window[None, None]
        for i in range(len(self.layers) - 1):
            weights, bias, settings = self.arguments(i, rows, columns)
            phases = x.shape[0] * max(settings["pool_shifts"], 1)
            buffer = buffer_of(i, len(self.layers), network)
            out = workspace.lend(buffer, (phases, phases, *settings["size"], len(bias)))
            x = ops.dense_layer(x, weights, bias, **settings, out=out)
        return x

    def descriptors(
        self, window: Tensor, rows: AxisPlan, columns: AxisPlan, workspace: Workspace | None = None
    ) -> Tensor:
        """Descriptors [h, w, d] of the pixels that the plans name; see `before_last`."""
        x = self.before_last(window, rows, columns, workspace or Workspace())
        weights, bias, settings = self.arguments(len(self.layers) - 1, rows, columns)
        out = ops.dense_layer(x, weights, bias, **settings, image=(rows.size, columns.size))
        return out[rows.wanted, columns.wanted, : self.descriptor_size]

    def of_padded(self, padded: Tensor, patch_size: int, stride: int = 1, workspace: Workspace | None = None) -> Tensor:
        """Descriptors [h, w, d] of every stride-th pixel of an image that is padded already.

        Args:
            padded: normalised, float32 [3, H + p - 1, W + p - 1].
            patch_size: p of the network.
            stride, workspace: as in `plan_axis` and `before_last`.
        """
        length_h, length_w = (n - patch_size + 1 for n in padded.shape[1:])
        rows = plan_axis(self.layers, length_h, 0, length_h, stride)
        columns = plan_axis(self.layers, length_w, 0, length_w, stride)
        # a plan reads whole tiles: more positions than there are, which nothing wanted depends on, or fewer
        missing = 0, columns.end - padded.shape[2], 0, rows.end - padded.shape[1]
        return self.descriptors(F.pad(padded, missing).permute(1, 2, 0).contiguous(), rows, columns, workspace)

    def is_accurate(self, net: PatchNetwork) -> bool:
        """Whether its error on a small image keeps within the limits; `net` is its own network."""
        if self._accurate is None:
            rms, largest = measure_error(net, self, normalize_images(_like_a_photo(net.patch_size + 15)))
            self._accurate = rms < RMS_LIMIT and largest < MAX_LIMIT
        return self._accurate


def _like_a_photo(side: int) -> Tensor:
    """An image [1, 3, side, side] in [0, 1] with as much contrast at every scale, as photos have.

    White noise looks nearly the same to a network everywhere, so that its descriptors' deviation, in which errors are
    measured, says little about images.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(1, 3, side, side)
    for cell in (1, 2, 4, 8, 16, 32):
        count = -(-side // cell) + 1
        noise = torch.rand(1, 3, count, count, generator=generator)
        image += F.interpolate(noise, scale_factor=cell, mode="bilinear")[:, :, :side, :side]
    low, high = image.amin(), image.amax()
    return (image - low) / (high - low)


def measure_error(net: PatchNetwork, engine: Engine, padded: Tensor) -> tuple[float, float]:
    """Error of the engine's descriptors against a direct float64 evaluation.

    Args:
        net: the network that `engine` was made from.
        padded: normalised image float32 [1, 3, H + p - 1, W + p - 1].

    Returns:
        Root mean square and maximum, in standard deviations of the descriptors (over pixels, mean over channels of σ²).
    """
    exact = dense_features_padded(copy.deepcopy(net).double(), padded.double())[0].permute(1, 2, 0)
    error = (engine.of_padded(padded[0], net.patch_size) - exact) / exact.var((0, 1), correction=0).mean().sqrt()
    return float(error.square().mean().sqrt()), float(error.abs().max())


def pad_channels(values: Tensor, fill: float = 0.0) -> Tensor:
    """A vector over channels as float32, extended to whole blocks of channels."""
    padded = torch.full((-(-len(values) // CHANNEL_BLOCK) * CHANNEL_BLOCK,), fill)
    padded[: len(values)] = values
    return padded


_engines: weakref.WeakKeyDictionary[PatchNetwork, Engine] = weakref.WeakKeyDictionary()
_watching = threading.local()  # `watch`: what each network was when this thread's `watched_weights` compared it


@contextlib.contextmanager
def watched_weights() -> Iterator[None]:
    """Within, weights that were compared once are compared again only if replaced, or if PyTorch counted a change.

    To compare all weights of an ensemble bit by bit takes 1 % of the time of an image of 256 x 256. That alone also
    notices what is changed past PyTorch's counters (`weight.data.mul_(2)`, `weight.numpy()[:] = 0`, a step of an
    optimizer with `fused=True`); within, such a change is noticed when the outermost block has ended.
    """
    if getattr(_watching, "watch", None) is not None:
        yield
        return
    _watching.watch = weakref.WeakKeyDictionary()
    try:
        yield
    finally:
        _watching.watch = None


def engine_for(net: PatchNetwork) -> Engine:
    """The engine of a network, made anew when its weights are no longer those it was made from."""
    engine = _engines.get(net)
    watch: weakref.WeakKeyDictionary[PatchNetwork, tuple[Engine, _Watched | None]] | None
    watch = getattr(_watching, "watch", None)
    state = None if watch is None else _Watched.of(net)
    if engine is not None and watch is not None and state is not None and watch.get(net) == (engine, state):
        return engine
    if engine is None or not engine.is_of(net):
        engine = _engines[net] = Engine(net)
    if watch is not None:
        watch[net] = engine, state
    return engine


class _Watched:
    """Where the weights of a network are, and how often PyTorch has counted a change of them."""

    def __init__(self, marks: list[Any], weights: list[Tensor]) -> None:
        self._marks = marks
        self._weights = weights  # held, so that no others come to lie where they were

    @staticmethod
    def of(net: PatchNetwork) -> _Watched | None:
        """None if it has tensors of inference mode, of which PyTorch counts no changes."""
        weights = [p.detach() for p in net.layers.parameters()]
        if any(weight.is_inference() for weight in weights):
            return None
        layers = [(type(layer), getattr(layer, "negative_slope", None)) for layer in net.layers]
        return _Watched([layers, *((w.data_ptr(), w._version, w.shape, w.stride()) for w in weights)], weights)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Watched) and self._marks == other._marks

    __hash__ = None  # type: ignore[assignment]
