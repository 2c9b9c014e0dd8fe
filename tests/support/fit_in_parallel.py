"""A small training that may be stopped, or a command, with narrow networks; run in several processes by tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import print_threads
from small import make_narrow

from stadx import Detector
from stadx.cli import main
from stadx.networks.training import Checkpoint
from stadx.teachers.distributed import is_first, process_group


def fit(photos: Path, out: Path, stop_at: int, **more: Any) -> None:
    """Train two scales of two students; at `stop_at`, which is 0 for never, all processes fail after a checkpoint."""
    torch.set_num_threads(1)
    Checkpoint.due = lambda self: True  # type: ignore[method-assign]
    steps = 0

    def progress(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        nonlocal steps
        steps += stage.startswith("Students")
        if steps == stop_at != 0:
            raise RuntimeError("stopped")

    teachers = [photos / f"teacher{p}.safetensors" for p in (17, 33)]
    settings = {"scales": (17, 33), "students": 2, "image_size": 40, "crop": 8, "patience": 9, "top_share": 0.01}
    with process_group():
        detector = Detector(**settings, **more, steps=20, teachers=teachers)
        detector.fit(sorted(photos.glob("*.png")), progress=progress, checkpoint=f"{out}.part")
        if is_first():
            detector.save(out)


if __name__ == "__main__":
    make_narrow(pytest.MonkeyPatch())
    if sys.argv[1] == "command":
        sys.argv = ["stadx", *sys.argv[2:]]
        sys.exit(main())
    fit(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), **json.loads(*sys.argv[4:] or ["{}"]))
    print_threads()
