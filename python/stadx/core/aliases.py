"""Module paths that lead elsewhere: those of 0.1.0 that have moved, with a warning, and short ones."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

MOVED = {  # what 0.1.0 documented; kept until 0.4
    "stadx.allocation": "stadx.core.memory",
    "stadx.baselines": "stadx.detectors.baselines",
    "stadx.data.category": "stadx.data.layouts.category",
    "stadx.data.map_files": "stadx.data.maps",
    "stadx.data.patterns": "stadx.data.layouts.patterns",
    "stadx.dense": "stadx.networks.dense",
    "stadx.detector": "stadx.detectors.student_teacher.detector",
    "stadx.errors": "stadx.core.errors",
    "stadx.files": "stadx.core.files",
    "stadx.prediction": "stadx.evaluation.prediction",
    "stadx.pretrain_settings": "stadx.teachers.settings",
    "stadx.pretraining": "stadx.teachers.pretraining",
    "stadx.progress": "stadx.core.progress",
    "stadx.reference": "stadx.ops.reference",
    "stadx.report": "stadx.evaluation.report",
    "stadx.teacher": "stadx.teachers.teacher_files",
}


SHORT = {"stadx.testing": "stadx.detectors.testing"}
"""Short names of modules, for good."""


class MovedModules(MetaPathFinder, Loader):
    """Finds the modules of `MOVED` and `SHORT`, and those inside them, at their real paths."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return spec_from_loader(name, self) if name.startswith("stadx.") and _new_path(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = _new_path(spec.name)
        assert new is not None
        if spec.name not in SHORT:
            warnings.warn(f"{spec.name} is now {new}; the old path goes with 0.4", DeprecationWarning, stacklevel=2)
        module = import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run already, at its new path; only its `__spec__` was replaced."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def _new_path(name: str) -> str | None:
    for old, new in {**MOVED, **SHORT}.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None


def install() -> None:
    """Let imports of old paths find the new ones."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedModules())  # before the finder that would load a second copy
