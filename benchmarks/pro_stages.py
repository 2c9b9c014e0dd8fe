"""Where the time of one exact AU-PRO goes: CPU time of each stage. Run `python benchmarks/pro_stages.py --help`."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import torch
import typer

from pro_peers import make_set
from stadx import ops
from stadx.metrics import au_pro, defect_pixels, evaluator, inputs, pixel_metrics

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("checks of maps and masks, twice", inputs, "check_pair"),
    ("regions, defect scores", ops, "defect_pixels"),
    ("sample of all scores", defect_pixels.DefectPixels, "_sample_of"),
    ("estimate of the cut", defect_pixels.DefectPixels, "cut"),
    ("sort of the defect scores", ops, "distinct_scores"),
    ("count of the background", ops, "count_above"),
    ("the last three, and what joins them", evaluator, "rank"),
    ("areas of the regions", pixel_metrics, "area_by_region"),
)


def main(
    maps: Annotated[int, typer.Option(min=1, help="Maps of 1024 x 1024.")] = 40,
    rounds: Annotated[int, typer.Option(min=1, help="Runs, of which the medians are printed.")] = 9,
    threads: Annotated[int, typer.Option(min=1, help="Threads; with one, nothing waits for another.")] = 1,
) -> None:
    """Print milliseconds of CPU time, so that other programs matter little."""
    torch.set_num_threads(threads)
    spent: dict[str, float] = defaultdict(float)
    for label, owner, name in STAGES:
        setattr(owner, name, _timed(getattr(owner, name), label, spent))
    given = make_set(maps)
    run = _timed(au_pro, "all", spent)
    run(*given)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        spent.clear()
        run(*given)
        for label, seconds in spent.items():
            found[label].append(1e3 * seconds)
    print(f"{maps} maps, {threads} threads, {rounds} rounds: ms of CPU time, median and least")
    for label in [*(stage[0] for stage in STAGES), "all"]:
        print(f"{label:36s} {statistics.median(found[label]):8.2f} {min(found[label]):8.2f}")


def _timed(function: Callable[..., Any], label: str, spent: dict[str, float]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[label] += time.process_time() - start

    return call


if __name__ == "__main__":
    typer.run(main)
