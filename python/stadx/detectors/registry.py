"""Trained detectors of any method from their files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stadx.core.files import model_kind

from .student_teacher.detector import Detector

if TYPE_CHECKING:
    from .baselines import Baseline


def load_model(path: str | os.PathLike[str]) -> Detector | Baseline:
    """Read what `Detector.save` or a baseline's `save` wrote.

    Raises:
        ModelFileError: if the file is missing, damaged, of another version or something else.
    """
    if model_kind(path) == "baseline":
        from .baselines import Baseline

        return Baseline.load(path)
    return Detector.load(path)
