"""Detectors that differ from a trained one in a single respect, without training again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stadx.core.progress import Progress
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.calibration import ErrorMaps, calibrate, unseen_errors
from stadx.detectors.student_teacher.detector import Detector
from stadx.detectors.student_teacher.division import Division
from stadx.detectors.student_teacher.ensemble import Ensemble
from stadx.detectors.student_teacher.settings import Terms


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
        self._errors: dict[int, list[list[ErrorMaps]]] = {}
        self._progress = progress

    def errors(self, students: int) -> list[list[ErrorMaps]]:
        """Per scale and held-out image: e and v of the first `students` students."""
        if students not in self._errors:
            ensembles = [_first(ensemble, students) for ensemble in self.detector.ensembles_]
            stride = self.detector.stride
            where = self.detector.device, self.detector.gpu_precision
            division = self._division._replace(folds=self._division.folds[:students])
            errors = unseen_errors(ensembles, self._source, division, stride, self._progress, *where)
            self._errors[students] = list(errors)
        return self._errors[students]

    def variant(
        self,
        *,
        scales: Sequence[int] | None = None,
        students: int | None = None,
        terms: Terms | None = None,
        smoothing: float | None = None,
        level: float | None = None,
    ) -> Detector:
        """A detector of some of the scales and students, calibrated anew on the held-out images.

        Args:
            scales: patch sizes; all by default.
            students: how many of each scale; all by default.
            terms: whether the score is ẽ + ṽ (Eq. 11) or one of them; the detector's own by default.
            smoothing: sigma in pixels of a Gaussian over the maps; the detector's own by default.
            level: how much of an image's level is taken out; the detector's own by default.
        """
        base = self.detector
        scales = tuple(scales or base.scales)
        students = students or base.students
        terms = terms or base.terms
        level = base.level if level is None else level
        smoothing = base.smoothing if smoothing is None else smoothing
        changes = {"students": students, "terms": terms, "smoothing": smoothing, "level": level, "teachers": ()}
        chosen = [base.scales.index(p) for p in scales]
        errors = [list(self.errors(students)[i]) for i in chosen]  # lists of their own: they are emptied
        changed = Detector.from_parts(
            {**base.settings, "scales": scales, **changes},
            [_first(base.ensembles_[i], students) for i in chosen],
            *calibrate(errors, terms, level, smoothing, base.top_share),
        )
        changed.value_range_ = base.value_range_
        return changed.to(base.device, base.gpu_precision)


def _first(ensemble: Ensemble, students: int) -> Ensemble:
    return replace(ensemble, students=ensemble.students[:students])
