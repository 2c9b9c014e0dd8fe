"""What settings of networks and their training choose from; imports nothing, so that `--help` can read it at once."""

from __future__ import annotations

from typing import Literal

PATCH_SIZES = 17, 33, 65  # sides of the receptive field in pixels

Padding = Literal["reflect", "zeros", "replicate"]
Border = Literal["inside", "reflect", "zeros", "replicate"]
OptimizerName = Literal["muon", "adam"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["auto", "float32", "bfloat16"]
