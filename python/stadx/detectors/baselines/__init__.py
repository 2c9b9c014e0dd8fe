"""The systems that the paper compares itself with, as detectors: `fit`, `score`, `predict`, `save`, `load`.

`METHODS` names them as `stadx train --method` does.
"""

from __future__ import annotations

from typing import cast

from ..registry import BASELINES, detector_class
from .anogan import AnoGanDetector
from .autoencoders import AutoencoderDetector, VariationalDetector
from .base import Baseline
from .descriptors import DescriptorBaseline
from .feature_dictionary import FeatureDictionaryDetector
from .ocgan import OcganDetector
from .patches import PatchBaseline
from .shallow import KMeansDetector, NearestNeighborDetector, OneClassSvmDetector
from .ssim_autoencoder import SsimAutoencoderDetector

METHODS = {name: cast("type[Baseline]", detector_class(name)) for name in BASELINES}

__all__ = [
    "METHODS",
    "AnoGanDetector",
    "AutoencoderDetector",
    "Baseline",
    "DescriptorBaseline",
    "FeatureDictionaryDetector",
    "KMeansDetector",
    "NearestNeighborDetector",
    "OcganDetector",
    "OneClassSvmDetector",
    "PatchBaseline",
    "SsimAutoencoderDetector",
    "VariationalDetector",
]
