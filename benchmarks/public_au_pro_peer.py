"""One public AU-PRO on saved maps, in an interpreter that need not have stadx. Started by public_au_pro.py."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memory import peak_of
from timing import reason

Maps: TypeAlias = "NDArray[np.float32]"
Masks: TypeAlias = "NDArray[np.bool_]"
LIMIT = 0.3
PER_REGION = (2, 3)  # anomalib's first version with one curve for all regions


@dataclass(frozen=True)
class Peer:
    """A public AU-PRO.

    Attributes:
        run: AU-PRO@0.3 of maps and masks [N, H, W].
        package: what it is in; None: in this folder.
        pip: what installs it.
        fits: whether an installed version, as (major, minor), has it.
    """

    run: Callable[[Maps, Masks], float]
    package: str | None = None
    pip: str = ""
    fits: Callable[[tuple[int, ...]], bool] = lambda version: True

    def installed(self) -> str | None:
        """Its version; None if this interpreter does not have it."""
        if self.package is None:
            return ""
        try:
            found = version(self.package)
        except PackageNotFoundError:
            return None
        return found if self.fits(tuple(map(int, found.split(".")[:2]))) else None


def _stadx(maps: Maps, masks: Masks) -> float:
    from stadx.metrics import au_pro

    return au_pro(maps, masks, fpr_limit=LIMIT)


def _of_this_folder(name: str) -> Callable[[Maps, Masks], float]:
    def run(maps: Maps, masks: Masks) -> float:
        import pro_peers  # here: it needs PyTorch

        return float(getattr(pro_peers, name)(maps, masks))

    return run


def _anomalib(maps: Maps, masks: Masks) -> float:
    import torch
    from anomalib.metrics import AUPRO

    metric = AUPRO(fields=["anomaly_map", "gt_mask"], fpr_limit=LIMIT)
    metric.update(SimpleNamespace(anomaly_map=torch.from_numpy(maps), gt_mask=torch.from_numpy(masks)))
    return float(metric.compute())


def _anomalib_per_region(maps: Maps, masks: Masks) -> float:
    import torch
    from anomalib.metrics import AUPRO

    metric = AUPRO(fpr_limit=LIMIT)
    metric.update(torch.from_numpy(maps), torch.from_numpy(masks).int())
    return float(metric.compute())


def _pyaupro(**settings: Any) -> Callable[[Maps, Masks], float]:
    def run(maps: Maps, masks: Masks) -> float:
        import torch
        from pyaupro import PerRegionOverlap, auc_compute

        metric = PerRegionOverlap(**settings)
        metric.update(torch.from_numpy(maps), torch.from_numpy(masks).int())
        # reorder: with thresholds the rates come in falling order
        return float(auc_compute(*metric.compute(), limit=LIMIT, reorder="thresholds" in settings))

    return run


PEERS = {
    "stadx": Peer(_stadx, "stadx", "stadx"),
    "definition": Peer(_of_this_folder("definition")),
    "torch sort": Peer(_of_this_folder("torch_sort")),
    "anomalib": Peer(_anomalib, "anomalib", "'anomalib>=2.3'", lambda v: v >= PER_REGION),
    "anomalib-old": Peer(_anomalib_per_region, "anomalib", "'anomalib<2'", lambda v: v < (2, 0)),
    "pyaupro": Peer(_pyaupro(), "pyaupro", "pyaupro"),
    "pyaupro-reference": Peer(_pyaupro(reference_implementation=True), "pyaupro", "pyaupro"),
    "pyaupro-100": Peer(_pyaupro(thresholds=100), "pyaupro", "pyaupro"),
    "adeval": Peer(_of_this_folder("adeval_binned"), "adeval", "adeval opencv-python-headless"),
}


def values(name: str, files: list[Path]) -> dict[str, float | str]:
    """By the name of a file: AU-PRO of the maps and masks in it, or why there is none."""
    found: dict[str, float | str] = {}
    for file in files:
        maps, masks = _load(file)
        try:
            found[file.stem] = PEERS[name].run(maps, masks)
        except Exception as error:  # one case that fails is a result
            found[file.stem] = reason(error)
    return found


def cost(name: str, small: Path, file: Path, peak: bool) -> dict[str, float]:
    """Of one call: value, seconds and, with `peak`, the most bytes above those before another."""
    run = PEERS[name].run
    run(*_load(small))  # loads what is loaded with a first call
    inputs = _load(file)
    gc.collect()
    found = {}
    if peak:
        if sys.platform == "linux":  # glibc: freed memory that it keeps would hide as much of the call's
            ctypes.CDLL(None).malloc_trim(0)
        found["bytes"] = float(peak_of(lambda: run(*inputs))[1])
    start = time.perf_counter()
    found["value"] = run(*inputs)
    found["seconds"] = time.perf_counter() - start
    return found


def _load(file: Path) -> tuple[Maps, Masks]:
    with np.load(file) as arrays:
        return arrays["maps"], arrays["masks"]


def main(work: str, name: str, *arguments: str) -> None:
    """`version NAME`, `values NAME FILE …`, `cost NAME SMALL FILE` or `peak NAME SMALL FILE`: a last line of JSON."""
    found: object
    if work == "version":
        found = PEERS[name].installed()
    elif work == "values":
        found = values(name, [Path(file) for file in arguments])
    else:
        small, file = arguments
        found = cost(name, Path(small), Path(file), work == "peak")
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
