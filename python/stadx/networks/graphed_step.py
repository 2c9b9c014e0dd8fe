"""A training step that, on a GPU, is one CUDA graph: no kernel waits for Python."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_EAGER = 3  # steps of a shape before it is recorded: libraries load, and optimisers make their state
_GRAPHS = 4  # kept; further shapes run as they are


class GraphedStep:
    """Runs a step as it is on the CPU, and from its fourth time on a GPU as a graph.

    Args:
        step: from tensors on one device to a tensor without gradient. Shapes alone decide what it does; it drops
            gradients of the step before at its begin, and neither copies from the host nor waits for the GPU.
    """

    def __init__(self, step: Callable[..., Tensor]) -> None:
        self._step = step
        self._graphs: dict[tuple[object, ...], Callable[..., Tensor]] = {}
        self._seen: dict[tuple[object, ...], int] = {}
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """One step."""
        device = inputs[0].device
        if device.type != "cuda":
            return self._step(*inputs)
        key = tuple((x.shape, x.stride(), x.dtype) for x in inputs)
        with torch.cuda.device(device):
            if key not in self._graphs:
                self._seen[key] = self._seen.get(key, 0) + 1
                if self._seen[key] <= _EAGER or len(self._graphs) == _GRAPHS:
                    return self._beside(*inputs)
                self._graphs[key] = self._record(*inputs)
            return self._graphs[key](*inputs)

    def _beside(self, *inputs: Tensor) -> Tensor:
        """On the stream that will record: what a first use there sets up is there then."""
        stream = self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = self._step(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def _record(self, *inputs: Tensor) -> Callable[..., Tensor]:
        static = [x.clone() for x in inputs]
        graph = torch.cuda.CUDAGraph()
        # other threads may score on the card meanwhile
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = self._step(*static)

        def replay(*inputs: Tensor) -> Tensor:
            for place, x in zip(static, inputs, strict=True):
                place.copy_(x)
            graph.replay()
            return result.clone()

        return replay
