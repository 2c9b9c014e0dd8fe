"""Detect defects in images, pixel by pixel, from good examples alone (student–teacher anomaly detection)."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core import aliases, forking
from .core.version import package_version

if TYPE_CHECKING:
    from . import metrics, ops
    from .core.errors import DataError, DataWarning, MissingExtraError, ModelFileError, OutputError, StadxError
    from .detectors import export, testing
    from .detectors.base import Prediction
    from .detectors.student_teacher.detector import Detector
    from .networks.dense import dense_features
    from .networks.patch_network import PatchNetwork, normalize_images

__all__ = [
    "DataError",
    "DataWarning",
    "Detector",
    "MissingExtraError",
    "ModelFileError",
    "OutputError",
    "PatchNetwork",
    "Prediction",
    "StadxError",
    "dense_features",
    "export",
    "metrics",
    "normalize_images",
    "ops",
    "testing",
]
__version__ = package_version()
aliases.install()
forking.install()

# PyTorch's OpenMP (libgomp) reads this when it is loaded. By default a thread spins for milliseconds until the others
# come, which costs several times the work when another program has their core, and gains nothing when none has.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_HOMES = {
    "detectors.base": ("Prediction",),
    "networks.dense": ("dense_features",),
    "detectors.student_teacher.detector": ("Detector",),
    "core.errors": ("DataError", "DataWarning", "MissingExtraError", "ModelFileError", "OutputError", "StadxError"),
    "networks.patch_network": ("PatchNetwork", "normalize_images"),
}
_MODULES = {"export": "detectors.export", "metrics": "metrics", "ops": "ops", "testing": "detectors.testing"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch takes seconds, and `stadx --help` needs none of it."""
    if name == "_C":  # asked for once: the import sets it
        from .core.native import native_module

        return native_module()
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
