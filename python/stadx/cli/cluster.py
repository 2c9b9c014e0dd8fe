"""What commands say to a cluster, and of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .console import BAD_INPUT, ShownProgress, fail, say
from .options import refused

if TYPE_CHECKING:
    from stadx.cluster.engine import Pool
    from stadx.detectors.base import Calibrated
    from stadx.evaluation.scored_tests import Each

Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work on a Ray cluster: its address, such as 10.0.0.1:6379; auto: the one that runs on this machine, or "
        "else this machine's own cores.",
        show_default="this process",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Workers of --cluster.", show_default="one for each of its cores, or GPUs"),
]
Partition = Annotated[
    int, typer.Option(min=1, help="With --cluster: images whose rows are one file, and are scored anew together.")
]
ClusterMaps = Annotated[Literal["none", "tiff", "zarr"], typer.Option(help="With --cluster: write the maps, too.")]


@contextlib.contextmanager
def on_cluster(address: str, workers: int | None, device: str) -> Iterator[Pool]:
    """Within, the cluster is connected; says what it is."""
    from stadx.cluster.engine import Pool, connected

    if device not in ("cpu", "cuda"):
        raise refused("device", f"is {device!r}; of workers it is cpu or cuda, and each has a GPU of its own")
    with connected(address) as words:
        say(f"Cluster: {words}.")
        yield Pool(workers, gpus=device == "cuda")


@contextlib.contextmanager
def each_of(address: str | None, workers: int | None, detector: Calibrated, device: str) -> Iterator[Each | None]:
    """How the images of an evaluation are shared out; None without --cluster."""
    if address is None:
        _refuse_workers(workers)
        yield None
        return
    from stadx.cluster.evaluating import each_on
    from stadx.cluster.models import SentModel

    with on_cluster(address, workers, device) as pool:
        yield each_on(pool, SentModel.of(detector, device))


@contextlib.contextmanager
def tasks_on(address: str | None, workers: int | None, device: str) -> Iterator[None]:
    """Within, `run_tasks` has its tasks done by the workers of a cluster, if there is one."""
    if address is None:
        _refuse_workers(workers)
        yield
        return
    from stadx.cluster.training import run_tasks_on
    from stadx.experiments.parallel import run_by

    with on_cluster(address, workers, device) as pool, run_by(partial(run_tasks_on, pool)):
        yield


def _refuse_workers(workers: int | None) -> None:
    if workers is not None:
        refuse_without_cluster(["workers"], only={"workers"})


def refuse_without_cluster(given: list[str], *, only: set[str]) -> None:
    """Refuse options that mean something to a cluster alone."""
    for name in given:
        if name in only:
            raise refused(name, "means nothing without --cluster; leave it out")


def refuse_on_cluster(given: list[str], *, but: set[str]) -> None:
    """Refuse options of files that a cluster does not write."""
    for name in given:
        if name not in but:
            raise refused(name, "means nothing with --cluster, which writes Parquet and, with --maps, maps")


def local_paths(names: list[str]) -> list[Path]:
    """Names of files and folders on this machine; URIs are refused."""
    from stadx.cluster.storage import is_uri

    for name in names:
        if is_uri(name):
            raise typer.BadParameter(f"{name} is a URI, which a run with --cluster auto reads; or copy the files here")
    return [Path(name) for name in names]


def predict_on_cluster(
    address: str, workers: int | None, detector: Calibrated, images: list[str], out: str, given: Mapping[str, Any]
) -> None:
    """`predict` with --cluster; `given` goes to `predict_uris`."""
    from stadx.cluster.plan import SCORES
    from stadx.cluster.predicting import predict_uris

    with on_cluster(address, workers, given["device"]) as pool, ShownProgress() as progress:
        done = predict_uris(detector, images, out, **given, pool=pool, progress=progress)
    counts = done.counts
    images_done = counts.scored + counts.failed
    say(f"{counts.anomalous} of {counts.scored} images are anomalous.")
    if images_done:
        say(f"{images_done} images in {done.seconds:.1f} s, {images_done / done.seconds:.3g} a second.")
    if done.skipped:
        say(f"{done.skipped} of {done.partitions} partitions were done by a previous run and left out.")
    say(f"Scores: {out.rstrip('/')}/{SCORES}")
    if counts.failed:
        fail(f"{counts.failed} of {images_done} images could not be scored, see the column error; the others are done")
        raise typer.Exit(BAD_INPUT)
