"""Ray: a pool of workers that do one piece of work after the other, and replace each other."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from stadx.core.errors import DataWarning, StadxError

from . import extra

Task = TypeVar("Task", contravariant=True)
Result = TypeVar("Result", covariant=True)

AUTO = "auto"
_SECONDS_TO_ANSWER = 10
_MOST_BLOCKS = 10_000  # of Ray Data, which holds them all


class Work(Protocol[Task, Result]):
    """What travels to every worker."""

    def begin(self) -> Callable[[Task], Result]:
        """In a worker, once: what it does for each task."""
        ...


@dataclass(frozen=True)
class Pool:
    """Workers of a cluster.

    Attributes:
        workers: at most so many; None: one for each core, or for each GPU.
        gpus: whether each has a GPU of its own.
    """

    workers: int | None = None
    gpus: bool = False

    def each(self, work: Work[Any, Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Number and result of every task, as they are done; warnings about images are given here.

        A task whose worker or machine is lost is done again by another, as often as that happens.

        Raises:
            StadxError: the first of a task; or if the cluster is lost, or has no room for a worker.
        """
        ray = extra.ray()
        data = extra.needed("ray.data")
        if not tasks:
            return
        workers = min(len(tasks), self._count(ray.cluster_resources()))
        rows = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
        given: dict[str, Any] = {
            "fn_constructor_args": (pickle.dumps(work), os.getcwd()),
            "batch_size": 1,
            "batch_format": "numpy",
        }
        given |= {"num_gpus": 1} if self.gpus else {"num_cpus": 1}
        pool = data.ActorPoolStrategy(size=workers)
        done = data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS)).map_batches(
            _Worker, compute=pool, **given
        )
        try:
            for row in done.iter_rows():
                result, said = pickle.loads(row["result"])
                for text in said:
                    warnings.warn(DataWarning(text), stacklevel=2)
                if isinstance(result, StadxError):
                    raise result
                yield int(row["number"]), result
        except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError, ConnectionError) as error:
            raise StadxError(f"the cluster was lost ({error}); run the same command again to go on") from error

    def _count(self, resources: Mapping[str, float]) -> int:
        kind = "GPU" if self.gpus else "CPU"
        there = int(resources.get(kind, 0))
        if not there:
            raise StadxError(f"the cluster has no {kind}; start its machines with ray start --num-{kind.lower()}s=1")
        return there if self.workers is None else min(self.workers, there)


@contextlib.contextmanager
def connected(address: str) -> Iterator[str]:
    """Within, Ray works on the cluster at `address`; yields what it is, in words.

    Args:
        address: "auto": the one that runs on this machine or that RAY_ADDRESS names, else this machine alone is one.

    Raises:
        StadxError: if there is none.
        MissingExtraError: if Ray is not installed.
    """
    ray = extra.ray()
    if ray.is_initialized():  # by who calls this from a program of their own
        yield _in_words(ray)
        return
    given: dict[str, Any] = {"include_dashboard": False} if address == AUTO else {"address": address}
    address = os.environ.get("RAY_ADDRESS") or AUTO if address == AUTO else address
    try:
        if address not in (AUTO, "local"):
            _check_answers(address)  # Ray itself would try for minutes
        ray.init(**given, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        raise StadxError(f"there is no Ray cluster at {address} ({error}); start one with: ray start --head") from error
    try:
        yield _in_words(ray)
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("an address is like 10.0.0.1:6379")
    socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()


def _in_words(ray: Any) -> str:
    resources = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    cores, gpus = (resources.get(kind, 0) for kind in ("CPU", "GPU"))
    return f"{nodes} machine{'' if nodes == 1 else 's'}, {cores:g} cores, {gpus:g} GPUs"


class _Worker(Generic[Task, Result]):
    """An actor: Ray Data makes it anew where its process or its machine is lost."""

    def __init__(self, work: bytes, folder: str) -> None:
        import torch

        torch.set_num_threads(1)  # the core that it asked for
        with contextlib.suppress(OSError):  # on a machine that does not have it, names must be whole
            os.chdir(folder)
        self._error: StadxError | None = None
        try:
            self._do = pickle.loads(work).begin()
        except StadxError as error:
            self._error = error

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            try:
                result = self._error or self._do(pickle.loads(batch["task"][0]))
            except StadxError as error:
                result = error
        said = [str(one.message) for one in caught if issubclass(one.category, DataWarning)]
        return {"number": batch["number"], "result": [pickle.dumps((result, said))]}


def in_order(results: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    """What `Pool.each` gives, in the tasks' order."""
    waiting: dict[int, Any] = {}
    following = 0
    for number, result in results:
        waiting[number] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1
