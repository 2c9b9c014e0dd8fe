"""A real Ray cluster of two nodes with a core each on this machine, a local S3 server, and what kills workers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

STORE = 200 * 2**20  # bytes of a node's object store
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def two_nodes() -> Iterator[Any]:
    """The cluster; its processes take the environment of this one as it is now."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    utilities = pytest.importorskip(
        "ray.cluster_utils", reason="needs the extra cluster (pip install 'stadx[cluster]')"
    )
    node = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    cluster = utilities.Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
        yield cluster
    finally:
        cluster.shutdown()


@contextlib.contextmanager
def s3_server() -> Iterator[str | None]:
    """The address of a server that this process and all that it starts take for S3; None without its packages."""
    try:
        import s3fs  # noqa: F401
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield None
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
            patch.setenv(name, value)
        yield address
    server.stop()


def workers(cluster: Any) -> list[int]:
    """Processes of the cluster's own nodes that hold a model."""
    raylets = {info.process.pid for node in cluster.list_all_nodes() for info in node.all_processes["raylet"]}
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int(place.joinpath("stat").read_text().rpartition(")")[2].split()[1])
                if parent in raylets and b"MapWorker" in place.joinpath("cmdline").read_bytes():
                    found.append(int(place.name))
    return found


@contextlib.contextmanager
def killing(cluster: Any, seed: int, done: Callable[[], int]) -> Iterator[list[int]]:
    """Within, a worker is killed at a random time within two seconds after more is `done`; yields which were killed.

    Both workers may be scoring, writing or beginning then.
    """
    killed: list[int] = []
    chance, stop = random.Random(seed), threading.Event()

    def kill() -> None:
        before = 0
        while not stop.wait(0.02):
            if (now := done()) > before and not stop.wait(chance.uniform(0, 2)) and (there := workers(cluster)):
                before = max(now, done())
                victim = chance.choice(there)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def wait_for(what: Any, seconds: float = 60) -> Any:
    """What a function returns once that is something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found
