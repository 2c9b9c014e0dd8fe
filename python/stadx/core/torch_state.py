"""What a program has set in PyTorch for itself, and what stadx computes with whatever that is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

Item = TypeVar("Item")

_drawing = threading.Lock()


@contextmanager
def usual_torch(*, learns: bool = False) -> Iterator[None]:
    """Within, in this thread: new tensors are float32 and on the CPU, nothing is cast, and gradients as `learns` says.

    What a program may have set does not count: default dtype and device, autocast, inference mode, gradients. Nothing
    that other threads share is changed. Not for a generator's body, which would leave it set while it waits.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(learns))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                # one of ours within would otherwise use weights again that were cast before they learned
                stack.enter_context(torch.autocast(kind, enabled=False, cache_enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            stack.enter_context(_Float32())
        yield


def each_usual(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each computed within `usual_torch`."""
    while True:
        with usual_torch():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


@contextmanager
def drawn_apart(seed: int | None = None) -> Iterator[None]:
    """Within, PyTorch's own random numbers start at `seed`; those of the program go on afterwards as if nothing was.

    They are the process's: one thread after the other.
    """
    with _drawing, torch.random.fork_rng([]):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed GPUs
        yield


def _after_fork_in_child() -> None:
    global _drawing
    _drawing = threading.Lock()  # another thread's, which is not there, may hold the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

_PLAIN = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.eye, torch.linspace, torch.normal}
_BY_VALUE = {torch.full, torch.arange, torch.tensor, torch.as_tensor}


class _Float32(TorchFunctionMode):
    """Tensors that are made from nothing or from Python's numbers are float32, whatever the default is."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        made = func in _PLAIN or (func in _BY_VALUE and _has_floats(args))
        if made and given.get("dtype") is None and given.get("out") is None:
            given["dtype"] = torch.float32
        return func(*args, **given)


def _has_floats(values: Any) -> bool:
    if isinstance(values, list | tuple):
        return any(map(_has_floats, values))
    return isinstance(values, float)
