"""Pretraining by several processes, each with its part of every batch: `torchrun --nproc-per-node N -m stadx …`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stadx.core.errors import StadxError

T = TypeVar("T")

LIMIT = timedelta(days=365)
"""How long processes wait for each other: who is done waits while others train, and one that is gone is noticed."""
START = timedelta(minutes=30)
"""How long for one that has not come yet, which nobody notices; under torchrun none is waited for."""


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started (gloo, on the CPU), for the time of the block.

    Nothing happens where WORLD_SIZE is missing or 1, or where a group is there already: that one is used and kept.

    Raises:
        StadxError: if not all processes come.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not dist.is_available() or dist.is_initialized():
        yield
        return
    try:
        store, rank, world = next(dist.rendezvous("env://", timeout=START))  # type: ignore[attr-defined]
    except dist.DistError as error:
        raise StadxError(
            f"not all of the {os.environ['WORLD_SIZE']} processes of WORLD_SIZE came ({error}); start so many with the "
            "same MASTER_ADDR and MASTER_PORT, or use torchrun"
        ) from error
    # imported while there is a group, as by an optimizer, it keeps the group, whose threads then outlive Python
    import torch.distributed.nn  # noqa: F401

    store.set_timeout(LIMIT)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=LIMIT)
    try:
        yield
        dist.barrier()  # none closes its connections while another still reads from them
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes train together; 1 alone."""
    return dist.get_world_size() if _together() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return not _together() or dist.get_rank() == 0


def own_part(crops: int, patches: int = 1) -> slice:
    """This process's part of the crops of a batch, each of so many patches.

    Raises:
        StadxError: if the batch cannot be shared out evenly.
    """
    world = world_size()
    if crops % world:
        of_crops = f" patches, {crops} crops of {patches}," if patches > 1 else ""
        raise StadxError(
            f"a batch of {crops * patches}{of_crops} cannot be shared out evenly to {world} processes; give a multiple "
            f"of {patches * world}"
        )
    share = crops // world
    rank = dist.get_rank() if _together() else 0
    return slice(rank * share, (rank + 1) * share)


def gather(part: Tensor) -> Tensor:
    """[n, ...] of every process, of equal shape, one below the other: [world size · n, ...]. Gradients flow back.

    The gradient of a part is the sum of the gradients that all processes have for it.
    """
    if not _together():
        return part
    whole: Tensor = _Gather.apply(part)  # type: ignore[no-untyped-call]
    return whole


def share(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by those of the first process."""
    if _together():
        for tensor in tensors:
            values = tensor.detach().clone(memory_format=torch.contiguous_format)
            dist.broadcast(values, 0)
            tensor.detach().copy_(values)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the processes."""
    if not _together():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    begin = 0
    for gradient in gradients:
        gradient.copy_(flat[begin : begin + gradient.numel()].view(gradient.shape))
        begin += gradient.numel()


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, without gradients."""
    value = value.detach().clone()
    if _together():
        dist.all_reduce(value)
        value /= world_size()
    return value


def from_first(value: T) -> T:
    """What the first process has."""
    if not _together():
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, 0)
    received: T = box[0]
    return received


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(world_size())[dist.get_rank()]


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
