"""Scoring on a GPU: PyTorch's convolutions, and between and after them the operators that work on phases.

Everything of an image of one size is one CUDA graph: no kernel waits for Python. The same code runs on the CPU with the
operators' plain-PyTorch references, which is how it is tested without a GPU.
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

from stadx.data.roi import nearest
from stadx.networks.border import computed_pixels
from stadx.networks.padding import padded_positions
from stadx.networks.patch_network import IMAGENET_MEAN, IMAGENET_STD
from stadx.networks.windows import pieces

from .ensemble import Ensemble
from .gpu_scale import ERROR, VARIANCE, Figures, Scale, Target, scale_of, score_window
from .normalization import Normalization, fuse

GpuPrecision = Literal["tf32", "float32", "bfloat16", "float16"]
_DTYPES = {"tf32": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MAP_BYTES = 2 << 30  # that maps may take at once; on a GPU a quarter of its memory
_GRAPHS = 4  # kept, one for every kind of input


class GpuScorer:
    """Anomaly maps of image batches on one device.

    Args:
        ensembles: of every scale.
        normalizations: of every scale; `errors` needs none.
        device: where to.
        precision: of the convolutions: "tf32", "float32", "bfloat16" or "float16"; sums and scores are float32.
    """

    together = None

    def __init__(
        self,
        ensembles: Sequence[Ensemble],
        normalizations: Sequence[Normalization],
        device: torch.device,
        precision: GpuPrecision = "tf32",
    ) -> None:
        self.device = device
        self.precision = precision
        self._scales = [scale_of(ensemble, device, _DTYPES[precision]) for ensemble in ensembles]
        self._normalizations = normalizations
        self._graphs: OrderedDict[tuple[object, ...], Callable[[Tensor], list[Tensor]]] = OrderedDict()
        self._seen: tuple[object, ...] = ()
        self._lock = threading.RLock()
        self._stream: Any = None
        self._pool: Any = None
        self._done: Any = None
        # Copied to the device once: a capture must not copy from the host.
        self._image_mean = torch.tensor(IMAGENET_MEAN, device=device)[:, None, None]
        self._image_std = torch.tensor(IMAGENET_STD, device=device)[:, None, None]
        self._positions: dict[tuple[object, ...], Tensor] = {}

    def maps(self, images: Tensor, stride: int = 1, roi: Tensor | None = None) -> list[Tensor]:
        """As `Scorer.maps`: a single band."""
        if roi is None or not any(n.strength for n in self._normalizations):
            return self._run(images, stride, False)
        size = images.shape[2], images.shape[3]
        maps = []
        for scale, n, (e, v) in zip(self._scales, self._normalizations, self.errors(images, stride), strict=True):
            computed = computed_pixels(*size, scale.patch_size, scale.inside, stride)
            inside = nearest(roi, size, computed.rows.pixels, computed.columns.pixels).expand(e.shape)
            maps.append(computed.continued(n.score(e, v, n.factor(e, stride, inside))))
        return [fuse(maps)]

    def errors(self, images: Tensor, stride: int = 1) -> list[tuple[Tensor, Tensor]]:
        """As `Scorer.errors`: each convolution is run once."""
        maps = self._run(images, stride, True)
        return list(zip(maps[::2], maps[1::2], strict=True))

    @torch.no_grad()
    def _run(self, images: Tensor, stride: int, errors: bool) -> list[Tensor]:
        """`_compute`, from a graph where there is one, of as many images at once as fit."""
        height, width = images.shape[2:]
        most = min(self._pixels_at_once(x) // _padded_area(x, height, width) for x in self._scales)
        if len(images) > max(most, 1):  # whole images, rather than tiles of all
            parts = [self._run(part, stride, errors) for part in torch.split(images, max(most, 1))]
            return [torch.cat(maps) for maps in zip(*parts, strict=True)]
        with self._lock:  # graphs and PyTorch's settings are shared
            if self.device.type != "cuda":
                return self._compute(images, stride, errors)
            key = tuple(images.shape), images.dtype, stride, errors
            with torch.cuda.device(self.device):
                if key not in self._graphs and key != self._seen:  # a size that comes once is not worth a graph
                    self._seen = key
                    with self._convolutions(benchmark=False):
                        return self._compute(images, stride, errors)
                if key not in self._graphs:
                    with self._convolutions(benchmark=True):
                        self._graphs[key] = self._capture(images, stride, errors)
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

    def _capture(self, images: Tensor, stride: int, errors: bool) -> Callable[[Tensor], list[Tensor]]:
        # Ordinary tensors even in inference mode: replays outside of it write to them.
        with torch.inference_mode(False), torch.no_grad():
            if self._stream is None:
                self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
                self._pool = torch.cuda.graph_pool_handle()
            static_in = images.clone()
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self._stream):  # first uses load libraries and allocate, which a capture must not
                for _ in range(2):
                    self._compute(static_in, stride, errors)
            torch.cuda.current_stream(self.device).wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # Graphs share their memory: they never run at once, and what they give is copied before the next.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                static_out = self._compute(static_in, stride, errors)
        done = self._done = self._done or torch.cuda.Event()  # type: ignore[no-untyped-call]

        def replay(batch: Tensor) -> list[Tensor]:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(done)  # the last call may have been on another stream
            static_in.copy_(batch)
            graph.replay()
            maps = [x.clone() for x in static_out]
            done.record(stream)
            return maps

        return replay

    def _compute(self, images: Tensor, stride: int, errors: bool) -> list[Tensor]:
        """e and v of one scale after the other, or the one anomaly map of them all."""
        normalized = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        normalized = (normalized - self._image_mean) / self._image_std
        if errors:
            return [x for scale in self._scales for x in self._filled(scale, normalized, stride, [ERROR, VARIANCE])]
        scales = zip(self._scales, self._normalizations, strict=True)
        return [fuse([self._scored(scale, n, normalized, stride) for scale, n in scales])]

    def _scored(self, scale: Scale, n: Normalization, normalized: Tensor, stride: int) -> Tensor:
        computed = computed_pixels(normalized.shape[2], normalized.shape[3], scale.patch_size, scale.inside, stride)
        if not n.strength:
            maps = self._filled(scale, normalized, stride, [(n.e_mean, n.e_std, n.v_mean, n.v_std)])
            return computed.continued(maps[0])
        wanted = [ERROR, VARIANCE] if math.isfinite(n.v_std) else [ERROR]
        e, *v = self._filled(scale, normalized, stride, wanted)
        return computed.continued(n.score(e, v[0] if v else None, n.factor(e, stride)))

    def _filled(self, scale: Scale, normalized: Tensor, stride: int, wanted: Sequence[Figures]) -> list[Tensor]:
        """Maps of one scale at the computed pixels, made tile by tile, all from the same convolutions."""
        batch, _, height, width = normalized.shape
        row, column = computed_pixels(height, width, scale.patch_size, scale.inside, stride)
        shape = batch, row.count, column.count
        maps = [torch.empty(shape, device=self.device) for _ in wanted]
        padded = self._padded(normalized, scale)
        side = self._tile_side(scale, batch, max(height, width), stride)
        for top, bottom in pieces(row.begin, row.end, side, stride):
            for left, right in pieces(column.begin, column.end, side, stride):
                reach = scale.patch_size - 1
                window = padded[:, :, top : bottom + reach, left : right + reach]
                rows = slice((top - row.begin) // stride, -(-(bottom - row.begin) // stride))
                columns = slice((left - column.begin) // stride, -(-(right - column.begin) // stride))
                parts = [x[:, rows, columns] for x in maps]
                whole = [part.contiguous() for part in parts]
                score_window(scale, window, stride, [Target(*x) for x in zip(whole, wanted, strict=True)])
                for part, x in zip(parts, whole, strict=True):
                    if part.data_ptr() != x.data_ptr():
                        part.copy_(x)
        return maps

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
