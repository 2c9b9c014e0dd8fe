"""Detectors that differ from a trained one in a single respect, without training again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stadx.core.errors import DataError
from stadx.core.progress import Progress
from stadx.data.source import ImageSource
from stadx.detectors.student_teacher.calibration import ErrorMaps, calibrate, unseen_errors
from stadx.detectors.student_teacher.channel_weights import scale_weights, weighted
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
        self._errors: dict[tuple[int, float], list[list[ErrorMaps]]] = {}
        self._progress = progress

    def ensembles(self, students: int, channel_weight: float) -> list[Ensemble]:
        """Of every scale the first `students` students, their channels weighted to that power."""
        own, found = self.detector.channel_weight, self.detector.ensembles_
        if channel_weight != own:
            found = [weighted(weighted(ensemble, -own), channel_weight) for ensemble in found]
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

    def variant(
        self,
        *,
        scales: Sequence[int] | None = None,
        students: int | None = None,
        terms: Terms | None = None,
        smoothing: float | None = None,
        level: float | None = None,
        channel_weight: float | None = None,
        scale_weight: float | None = None,
    ) -> Detector:
        """A detector of some of the scales and students, calibrated anew on the held-out images.

        Args:
            scales: patch sizes; all by default.
            students: how many of each scale; all by default.
            terms: whether the score is ẽ + ṽ (Eq. 11) or one of them; the detector's own by default.
            smoothing: sigma in pixels of a Gaussian over the maps; the detector's own by default.
            level: how much of an image's level is taken out; the detector's own by default.
            channel_weight, scale_weight: the powers of `channel_weights` and `scale_weights`; its own by default.

        Raises:
            DataError: if weights are asked for of a detector that does not know its channels' errors.
        """
        base = self.detector
        if (channel_weight or scale_weight) and any(e.channel_errors is None for e in base.ensembles_):
            raise DataError(
                "this detector does not know how well its students predict each channel; train one with a "
                "channel_weight or scale_weight above 0"
            )
        scales = tuple(scales or base.scales)
        students = students or base.students
        terms = terms or base.terms
        level = base.level if level is None else level
        smoothing = base.smoothing if smoothing is None else smoothing
        power = base.channel_weight if channel_weight is None else channel_weight
        changes = {"students": students, "terms": terms, "smoothing": smoothing, "level": level, "teachers": ()}
        of_scales = base.scale_weight if scale_weight is None else scale_weight
        changes |= {"channel_weight": power, "scale_weight": of_scales}
        chosen = [base.scales.index(p) for p in scales]
        errors = [list(self.errors(students, power)[i]) for i in chosen]  # lists of their own: they are emptied
        ensembles = [self.ensembles(students, power)[i] for i in chosen]
        weights = scale_weights(ensembles, power, of_scales)
        changed = Detector.from_parts(
            {**base.settings, "scales": scales, **changes},
            ensembles,
            *calibrate(errors, terms, level, smoothing, base.top_share, weights),
        )
        changed.value_range_ = base.value_range_
        return changed.to(base.device, base.gpu_precision)
