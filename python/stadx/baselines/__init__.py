"""The systems that the paper compares itself with, as detectors: `fit`, `score`, `predict`, `save`, `load`.

`METHODS` names them as `stadx train --method` does.
"""

from __future__ import annotations

from .autoencoders import AutoencoderDetector, VariationalDetector
from .base import Baseline
from .shallow import KMeansDetector, NearestNeighborDetector, OneClassSvmDetector

METHODS: dict[str, type[Baseline]] = {
    detector.method: detector
    for detector in (
        NearestNeighborDetector,
        KMeansDetector,
        OneClassSvmDetector,
        AutoencoderDetector,
        VariationalDetector,
    )
}

__all__ = [
    "METHODS",
    "AutoencoderDetector",
    "Baseline",
    "KMeansDetector",
    "NearestNeighborDetector",
    "OneClassSvmDetector",
    "VariationalDetector",
]
