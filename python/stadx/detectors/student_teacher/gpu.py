"""Scoring on a GPU: PyTorch's convolutions, and between and after them the operators that work on phases.

Everything of an image of one size is one CUDA graph: no kernel waits for Python. The same code runs on the CPU with the
operators' plain-PyTorch twins, which is how it is tested without a GPU.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stadx.data.tensors import ImageSize, resize
from stadx.networks.padding import padded_positions
from stadx.networks.patch_network import IMAGENET_MEAN, IMAGENET_STD
from stadx.networks.upsampling import upsample
from stadx.networks.windows import pieces

from .ensemble import Ensemble
from .gpu_scale import Scale, Target, scale_of, score_window
from .normalization import Normalization
from .smoothing import smooth

GpuPrecision = Literal["tf32", "float32", "bfloat16", "float16"]
_DTYPES = {"tf32": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MAP_BYTES = 2 << 30  # that maps may take at once; on a GPU a quarter of its memory
_GRAPHS = 4  # kept, one for every kind of input


class GpuScorer:
    """Anomaly maps of image batches on one device.

    Args:
        ensembles, normalizations: of every scale.
        device: where to.
        precision: of the convolutions: "tf32", "float32", "bfloat16" or "float16"; sums and scores are float32.
    """

    def __init__(
        self,
        ensembles: Sequence[Ensemble],
        normalizations: Sequence[Normalization],
        device: torch.device,
        precision: GpuPrecision = "tf32",
    ) -> None:
        self.device = device
        self.precision = precision
        self._scales = [
            scale_of(e, n, device, _DTYPES[precision]) for e, n in zip(ensembles, normalizations, strict=True)
        ]
        self._graphs: OrderedDict[tuple[object, ...], Callable[[Tensor], Tensor]] = OrderedDict()
        self._seen: tuple[object, ...] = ()
        self._lock = threading.RLock()
        self._stream: Any = None
        self._pool: Any = None
        self._done: Any = None
        # Copied to the device once: a capture must not copy from the host.
        self._image_mean = torch.tensor(IMAGENET_MEAN, device=device)[:, None, None]
        self._image_std = torch.tensor(IMAGENET_STD, device=device)[:, None, None]
        self._positions: dict[tuple[object, ...], Tensor] = {}

    @torch.no_grad()
    def score_images(self, images: Tensor, image_size: ImageSize, stride: int, smoothing: float = 0.0) -> Tensor:
        """Anomaly scores of images of any size.

        Args:
            images: RGB [B, 3, H, W], uint8 or floating in [0, 1], on any device.
            image_size: what they are resized to before.
            stride: as in `score`; what is between is interpolated bilinearly.
            smoothing: sigma in pixels of what they are resized to.

        Returns:
            float32 [B, H, W] on the images' device.
        """
        height, width = images.shape[2:]
        there = images.to(self.device)
        small = _resized(there, image_size)
        maps = upsample(self.score(small, stride), small.shape[2], small.shape[3], stride)
        maps = smooth(maps, smoothing)
        if small.shape != there.shape:
            maps = F.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
        return maps.to(images.device)

    @torch.no_grad()
    def score(self, images: Tensor, stride: int = 1) -> Tensor:
        """Anomaly scores at every stride-th pixel (Eqs. 9 to 12).

        Args:
            images: RGB [B, 3, H, W] on the device, uint8 or floating in [0, 1].
            stride: a power of two.

        Returns:
            float32 [B, ⌈H / stride⌉, ⌈W / stride⌉].
        """
        batch, _, height, width = images.shape
        most = min(self._pixels_at_once(x) // _padded_area(x, height, width) for x in self._scales)
        most = max(most, 1)
        if batch != min(batch, most) or not batch:  # whole images, as many as fit, rather than tiles of all
            parts = [self.score(part, stride) for part in torch.split(images, most)] if batch else []
            return torch.cat([torch.empty(0, -(-height // stride), -(-width // stride), device=self.device), *parts])
        with self._lock:  # graphs and PyTorch's settings are shared
            if self.device.type != "cuda":
                return self._compute(images, stride)
            key = tuple(images.shape), images.dtype, stride
            with torch.cuda.device(self.device):
                if key not in self._graphs and key != self._seen:  # a size that comes once is not worth a graph
                    self._seen = key
                    with self._convolutions(benchmark=False):
                        return self._compute(images, stride)
                if key not in self._graphs:
                    with self._convolutions(benchmark=True):
                        self._graphs[key] = self._capture(images, stride)
                    if len(self._graphs) > _GRAPHS:
                        self._graphs.popitem(last=False)
                self._graphs.move_to_end(key)
                return self._graphs[key](images)

    @contextmanager
    def _convolutions(self, benchmark: bool) -> Iterator[None]:
        """Precision, and whether cuDNN tries its algorithms out."""
        cudnn: Any = torch.backends.cudnn
        before = cudnn.benchmark, cudnn.conv.fp32_precision
        cudnn.benchmark, cudnn.conv.fp32_precision = benchmark, "tf32" if self.precision == "tf32" else "ieee"
        try:
            yield
        finally:
            cudnn.benchmark, cudnn.conv.fp32_precision = before

    def _capture(self, images: Tensor, stride: int) -> Callable[[Tensor], Tensor]:
        # Ordinary tensors even in inference mode: replays outside of it write to them.
        with torch.inference_mode(False), torch.no_grad():
            if self._stream is None:
                self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
                self._pool = torch.cuda.graph_pool_handle()
            static_in = images.clone()
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self._stream):  # first uses load libraries and allocate, which a capture must not
                for _ in range(2):
                    self._compute(static_in, stride)
            torch.cuda.current_stream(self.device).wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # Graphs share their memory: they never run at once, and what they give is copied before the next.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                static_out = self._compute(static_in, stride)
        done = self._done = self._done or torch.cuda.Event()  # type: ignore[no-untyped-call]

        def replay(batch: Tensor) -> Tensor:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(done)  # the last call may have been on another stream
            static_in.copy_(batch)
            graph.replay()
            maps = static_out.clone()
            done.record(stream)
            return maps

        return replay

    def _compute(self, images: Tensor, stride: int) -> Tensor:
        batch, _, height, width = images.shape
        out = torch.empty(batch, -(-height // stride), -(-width // stride), device=self.device)
        normalized = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        normalized = (normalized - self._image_mean) / self._image_std
        for index, scale in enumerate(self._scales):
            n, weight = scale.normalization, 1 / len(self._scales)
            if not n.strength:
                figures = n.e_mean, n.e_std, n.v_mean, n.v_std
                self._fill(scale, normalized, stride, [Target(out, figures, weight, index > 0)])
                continue
            weighted = torch.empty_like(out)
            targets = [Target(weighted, (0, n.e_std, 0, n.v_std))]
            if math.isfinite(n.v_std):  # else it is e but for a factor
                targets.append(Target(torch.empty_like(out), (0, 1, 0, math.inf)))
            self._fill(scale, normalized, stride, targets)
            e = targets[1].out if len(targets) > 1 else weighted * n.e_std
            scores = weighted * n.factor(e, stride) - (n.e_mean / n.e_std + n.v_mean / n.v_std)
            out = weight * scores if index == 0 else out + weight * scores
        return out

    def _fill(self, scale: Scale, normalized: Tensor, stride: int, targets: Sequence[Target]) -> None:
        """Write maps of one scale, tile by tile."""
        batch, _, height, width = normalized.shape
        padded = self._padded(normalized, scale)
        side = self._tile_side(scale, batch, max(height, width), stride)
        for top, bottom in pieces(height, side, stride):
            for left, right in pieces(width, side, stride):
                reach = scale.patch_size - 1
                window = padded[:, :, top : bottom + reach, left : right + reach]
                rows = slice(top // stride, -(-bottom // stride))
                columns = slice(left // stride, -(-right // stride))
                parts = [target.out[:, rows, columns] for target in targets]
                whole = [part.contiguous() for part in parts]
                own = [target._replace(out=x) for target, x in zip(targets, whole, strict=True)]
                score_window(scale, window, stride, own)
                for part, x in zip(parts, whole, strict=True):
                    if part.data_ptr() != x.data_ptr():
                        part.copy_(x)

    def _padded(self, normalized: Tensor, scale: Scale) -> Tensor:
        margin = scale.patch_size // 2
        if scale.padding == "zeros":
            return F.pad(normalized, (margin,) * 4)
        for dim in (2, 3):
            length = normalized.shape[dim]
            key = length, margin, scale.padding
            if key not in self._positions:
                index = padded_positions(0, length + 2 * margin, length, margin, scale.padding)
                self._positions[key] = index.to(self.device)
            normalized = normalized.index_select(dim, self._positions[key])
        return normalized

    def _pixels_at_once(self, scale: Scale) -> int:
        """Pixels whose maps, in and out of the widest layer of all networks, fit into memory."""
        room = _MAP_BYTES
        if self.device.type == "cuda":
            room = torch.cuda.get_device_properties(self.device).total_memory // 4
        networks, channels = len(scale.last_bias), max(len(layer.bias) for layer in scale.layers)
        size = torch.finfo(_DTYPES[self.precision]).bits // 8
        # and a convolution's result keeps within the 2^31 elements that all of cuDNN's algorithms take
        return int(min(room // (networks * 2 * channels * size), (2**31 - 1) // (networks * channels)))

    def _tile_side(self, scale: Scale, batch: int, length: int, stride: int) -> int:
        pixels = self._pixels_at_once(scale) / batch
        unit = max(8, stride)
        side = max(int(pixels**0.5) // unit * unit, unit)
        return min(side, -(-length // unit) * unit)


def _padded_area(scale: Scale, height: int, width: int) -> int:
    return (height + scale.patch_size - 1) * (width + scale.patch_size - 1)


def _resized(images: Tensor, size: ImageSize) -> Tensor:
    """`resize`, which for bytes exists on the CPU alone: elsewhere by floats, rounded."""
    if images.dtype != torch.uint8 or images.device.type == "cpu":
        return resize(images, size)
    small = resize(images.float(), size) if size is not None else images
    return small if small.dtype == torch.uint8 else small.round().clamp(0, 255).to(torch.uint8)
