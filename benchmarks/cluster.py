"""`stadx predict`: one process of one core against a Ray cluster of two nodes of one core each, on this machine.

    python benchmarks/cluster.py                              # 2,000 images
    python benchmarks/cluster.py --images 400 --rounds 1

Both score the same images with the same model, random weights of the default's cost, and write their rows. Each node
has a core of its own, and so has the process. They take turns. The rate is told of the whole run without the start of
the process or the cluster, and of its second half, when both workers have their model. Seconds of cores an image, of
all processes in that half, do not depend on what else runs: their ratio says what Ray adds. The rows must be the same.
Needs the extra `cluster`, and for rates a machine of two cores on which nothing else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))

import numpy as np
import torch
from two_nodes import STORE, workers

from exports import random_detector
from stadx.cluster.engine import Pool, connected
from stadx.cluster.predicting import predict_uris
from stadx.core.files import file_hash
from stadx.data.images import write_image
from stadx.detectors.registry import load_model
from stadx.evaluation.output_settings import OutputSettings
from stadx.evaluation.prediction import collect_images, predict_files

SCORE = "image_score"
Figures = tuple[float, float, float]
"""Images a second of all and of the second half, and seconds of cores an image."""


def figures_of(moments: list[tuple[int, float, float]], images: int) -> Figures:
    """From what was done at which time, with how many seconds of cores, of a run of so many images."""
    scale = images / moments[-1][0]
    (_, begin, _), half, last = moments[0], moments[len(moments) // 2], moments[-1]
    done = (last[0] - half[0]) * scale
    return images / (last[1] - begin), done / (last[1] - half[1]), (last[2] - half[2]) / done


def one_process(model: Path, images: Path, out: Path, core: int) -> Figures:
    """In a process of its own."""
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    detector, paths, moments = load_model(model), collect_images([images]), list[tuple[int, float, float]]()

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        moments.append((done, time.perf_counter(), time.process_time()))

    outputs = OutputSettings(pictures=(), tables=("parquet",), model=file_hash(model))
    predict_files(detector, paths, out, outputs=outputs, progress=progress)
    return figures_of(moments, len(paths))


def core_seconds(cluster: Any, ticks: dict[int, int]) -> float:
    """Of this process, those of the nodes, and the workers; `ticks` keeps those of workers that have ended since."""
    nodes = [info.process.pid for node in cluster.list_all_nodes() for x in node.all_processes.values() for info in x]
    for process in (*nodes, *workers(cluster)):
        with contextlib.suppress(OSError):  # it has just ended
            ticks[process] = sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return sum(ticks.values()) / os.sysconf("SC_CLK_TCK") + time.process_time()


def two_nodes_of_one_core(model: Path, images: Path, out: Path, cluster: Any, partition: int) -> Figures:
    """With this process as the one that shares out."""
    detector, moments, ticks = load_model(model), list[tuple[int, float, float]](), dict[int, int]()

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if stage == "Partitions":
            moments.append((done, time.perf_counter(), core_seconds(cluster, ticks)))

    with connected(cluster.address):
        given: dict[str, Any] = {"model": file_hash(model), "pool": Pool(), "partition": partition}
        done = predict_uris(detector, [str(images)], str(out), **given, progress=progress)
    return figures_of(moments, done.counts.scored)


def scores_of(files: Path) -> dict[str, float]:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(files).to_pylist()
    found = {Path(row.get("uri") or row.get("path")).name: row[SCORE] for row in rows}
    assert len(found) == len(rows)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--partition", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        parser.error("needs two cores")
    os.environ.update({"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"})
    from ray.cluster_utils import Cluster

    rates: dict[str, list[Figures]] = {"one process": [], "two nodes": []}
    with tempfile.TemporaryDirectory() as folder:
        images, model = Path(folder, "images"), Path(folder, "m.safetensors")
        random = np.random.default_rng(0)
        for number in range(-(-given.images // given.partition) * given.partition):
            write_image(images / f"{number:06}.png", random.integers(0, 256, (given.size, given.size, 3), np.uint8))
        torch.manual_seed(0)
        random_detector((33,), 4).save(model)
        node = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
        os.sched_setaffinity(0, {cores[0]})  # what a process starts has its cores
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            os.sched_setaffinity(0, {cores[1]})
            cluster.add_node(num_cpus=1, object_store_memory=STORE)
            os.sched_setaffinity(0, set(cores))
            for turn in range(given.rounds):
                one, two = Path(folder, f"one{turn}"), Path(folder, f"two{turn}")
                with get_context("spawn").Pool(1) as pool:
                    rates["one process"].append(pool.apply(one_process, (model, images, one, cores[turn % 2])))
                rates["two nodes"].append(two_nodes_of_one_core(model, images, two, cluster, given.partition))
                assert scores_of(one / "scores.parquet") == scores_of(two / "scores")
        finally:
            cluster.shutdown()
    heads = ("images a second", "second half", "core seconds an image")
    print(f"{f'medians of {given.rounds} rounds':24}", *(f"{head:>22}" for head in heads))
    medians = {name: [statistics.median(x) for x in zip(*found, strict=True)] for name, found in rates.items()}
    medians["ratio"] = [b / a for a, b in zip(*medians.values(), strict=True)]
    for name, figures in medians.items():
        print(f"{name:24}", *(f"{figure:22.3f}" for figure in figures))
    print("the rows are the same")


if __name__ == "__main__":
    main()
