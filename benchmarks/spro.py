"""Exact AU-sPRO beside exact AU-PRO of the same maps: python benchmarks/spro.py --maps 40 --side 1024 --regions 200.

The defects of each image are cut into masks of their own, saturated at half their area; the two take turns.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from numpy.typing import NDArray

from pro_peers import make_set
from stadx.metrics import au_pro, au_spro
from timing import Competitor, interleaved

LIMIT = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=40)
    parser.add_argument("--side", type=int, default=1024, help="of every map, in pixels")
    parser.add_argument("--regions", type=int, default=200, help="masks of regions in all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    maps, masks = make_set(given.maps, given.side)
    regions, saturation = cut_up(masks, given.regions)
    who = [
        Competitor("AU-PRO", lambda: au_pro(maps, masks, fpr_limit=LIMIT)),
        Competitor("AU-sPRO", lambda: au_spro(maps, regions, saturation, fpr_limits=[LIMIT]), "stadx"),
    ]
    pro, spro = (result.median or 0.0 for result in interleaved(who, given.rounds))
    count = sum(map(len, regions))
    print(f"{given.maps} maps, {given.side} x {given.side}, {count} regions, {given.threads} threads, limit {LIMIT}:")
    print(f"AU-PRO {1e3 * pro:.1f} ms, AU-sPRO {1e3 * spro:.1f} ms, ratio {spro / pro:.2f}")


def cut_up(masks: NDArray[np.bool_], count: int) -> tuple[list[list[NDArray[np.bool_]]], list[list[float]]]:
    """Each mask [H, W] of a set as bands of rows, `count` masks in all, and half the area of each."""
    some = max(1, -(-count // max(int(masks.any((1, 2)).sum()), 1)))
    regions: list[list[NDArray[np.bool_]]] = []
    for mask in masks:
        bands = np.array_split(np.flatnonzero(mask.any(1)), some) if mask.any() else []
        regions.append([])
        for rows in filter(len, bands):
            part = np.zeros_like(mask)
            part[rows] = mask[rows]
            regions[-1].append(part)
    return regions, [[max(1.0, part.sum() / 2) for part in parts] for parts in regions]


if __name__ == "__main__":
    main()
