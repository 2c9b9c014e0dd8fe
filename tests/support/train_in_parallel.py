"""A small training whose teacher is written in float32; run by test_pretrain_parallel.py, also as a program."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pretrain_photos import P_NET, SETTINGS, make_cheap
from processes import print_threads

from stadx.teachers import pretraining


def train(photos: Path, out: Path, targets: str, patch: pytest.MonkeyPatch) -> None:
    make_cheap(patch)
    patch.setattr(pretraining, "_half", lambda net: net.state_dict())  # float16 would hide differences
    settings = replace(SETTINGS, steps=10, compactness_weight=0.05, distinct_batches=7)
    if targets == "dense":
        settings = replace(settings, targets="dense", batch=32)  # a crop of 16 for each of two processes
    else:
        settings = replace(settings, triplet_weight=1.0)
    # Adam alone would not notice gradients that are all too large; weight decay makes it
    settings = replace(settings, learning_rate=1e-4, schedule="constant", weight_decay=0.3)
    p_net = replace(P_NET, dense_features=lambda images: images[:, :, ::4, ::4], dense_dim=3)
    pretraining.pretrain(photos, settings, out, network=p_net)


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], pytest.MonkeyPatch())
    print_threads()
