"""What waiting threads cost when other programs use the cores. Run `python benchmarks/busy.py --help`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import Annotated

import typer

POLICIES = {
    "PyTorch's default": {"GOMP_SPINCOUNT": "300000"},
    "stadx": {},
    "asleep at once": {"OMP_WAIT_POLICY": "passive"},
}


def main(
    busy: Annotated[int, typer.Option(min=0, help="Other processes, each of which wants a core.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Processes of each kind, in turn.")] = 3,
    child: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Time scoring and AU-PRO beside other programs, by what threads do that wait for each other.

    Example: python benchmarks/busy.py --busy 2
    """
    if child:
        print(json.dumps(_times()))
        return
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in POLICIES}
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    try:
        for _ in range(rounds):
            for name, policy in POLICIES.items():
                done = subprocess.run(
                    [sys.executable, __file__, "--child"], env=clean | policy, check=True, stdout=subprocess.PIPE
                )
                found[name].append(json.loads(done.stdout))
    finally:
        for other in others:
            other.kill()
    print(f"{busy} other busy processes, medians in ms")
    for name, times in found.items():
        cells = [f"{work} {1e3 * statistics.median(t[work] for t in times):.1f}" for work in times[0]]
        print(f"{name}: {', '.join(cells)}")


def _times(rounds: int = 11) -> dict[str, float | None]:
    """Seconds of each piece of work, the median of several."""
    import stadx  # before torch, whose threads read what it sets  # noqa: I001
    import torch
    from huge import untrained
    from timing import Competitor, interleaved

    detector = untrained(33, 3)
    image = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8)
    maps, masks = torch.rand(20, 512, 512), torch.zeros(20, 512, 512, dtype=torch.bool)
    masks[:, 100:150, 200:250] = True
    work = [
        Competitor("an image of 256 x 256, p = 33, M = 3, stride 4", lambda: detector.score(image, stride=4)),
        Competitor("AU-PRO of 20 maps of 512 x 512", lambda: stadx.metrics.au_pro(maps, masks)),
    ]
    return {result.competitor.name: result.median for result in interleaved(work, rounds)}


if __name__ == "__main__":
    typer.run(main)
