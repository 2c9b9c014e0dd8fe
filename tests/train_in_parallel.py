"""Run by test_pretrain_parallel.py, alone or by torchrun: a small training, its teacher written to a file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from pretrain_photos import P_NET, SETTINGS
from stadx import diagnostics
from stadx.pretraining import pretrain

if __name__ == "__main__":
    photos, out, steps, batch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    diagnostics.HELD_OUT_PATCHES = 64
    settings = replace(
        SETTINGS, steps=steps, batch=batch, triplet_weight=1.0, compactness_weight=0.05, distinct_batches=7
    )
    settings = replace(settings, learning_rate=1e-4, schedule="constant")
    pretrain(photos, settings, out, network=P_NET, report=out.with_suffix(".html"))
