"""Detectors that differ from a trained one in a single respect, without training again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stadx.core.errors import DataError
from stadx.core.progress import Progress
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.calibration import ErrorMaps, calibrate, unseen_errors
from stadx.detectors.student_teacher.channel_weights import weighted
from stadx.detectors.student_teacher.detector import Detector
from stadx.detectors.student_teacher.division import Division
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.settings import DetectorSettings

from .studies import UNMEASURED

VARIED = {"students", "terms", "smoothing", "level", "channel_weight", "scale_weight", "mean_map"}
"""Settings that can be changed without training."""


class HeldOut:
    """The held-out images of a trained detector, and e and v on them for any of its students.

    Args:
        detector: fitted on the images of `source`.
        source: all its training images, in the same order.
        progress: told how far scoring is.
    """

    def __init__(self, detector: Detector, source: ImageSource, progress: Progress) -> None:
        self.detector = detector
        self._source = source
        self._division = Division.of(detector, len(source))
        self._errors: dict[tuple[int, float], list[list[ErrorMaps]]] = {}
        self._progress = progress

    def ensembles(self, students: int, channel_weight: float) -> list[Ensemble]:
        """Of every scale the first `students` students, their channels weighted to that power."""
        found = [weighted(ensemble, channel_weight) for ensemble in self.detector.ensembles_]
        return [replace(ensemble, students=ensemble.students[:students]) for ensemble in found]

    def errors(self, students: int, channel_weight: float) -> list[list[ErrorMaps]]:
        """Per scale and held-out image: e and v of these `ensembles`."""
        key = students, channel_weight
        if key not in self._errors:
            ensembles = self.ensembles(*key)
            stride = self.detector.stride
            where = self.detector.device, self.detector.gpu_precision
            division = self._division._replace(folds=self._division.folds[:students])
            errors = unseen_errors(ensembles, self._source, division, stride, self._progress, *where)
            self._errors[key] = list(errors)
        return self._errors[key]

    def variant(self, *, scales: Sequence[int] | None = None, **changes: Any) -> Detector:
        """A detector of some of the scales, with other settings, calibrated anew on the held-out images.

        Args:
            scales: patch sizes; all by default.
            changes: those of `VARIED` that are not the detector's own; fewer students are the first ones.

        Raises:
            DataError: if weights are asked for of a detector that does not know its channels' errors.
        """
        base = self.detector
        assert set(changes) <= VARIED
        if (changes.get("channel_weight") or changes.get("scale_weight")) and any(
            ensemble.channel_errors is None for ensemble in base.ensembles_
        ):
            raise DataError(UNMEASURED)
        scales = tuple(scales or base.scales)
        settings = {**base.settings, **changes, "scales": scales, "teachers": ()}
        chosen = [base.scales.index(p) for p in scales]
        how = settings["students"], settings["channel_weight"]
        errors = [list(self.errors(*how)[i]) for i in chosen]  # lists of their own: they are emptied
        ensembles = [self.ensembles(*how)[i] for i in chosen]
        calibrated = calibrate(errors, DetectorSettings(**settings), ensembles)
        changed = Detector.from_parts(settings, ensembles, *calibrated)
        changed.value_range_ = base.value_range_
        return changed.to(base.device, base.gpu_precision)
