"""Detectors by name, stadx's own and those of other packages, and trained ones from their files.

Another package declares its detectors as entry points of the group `stadx.detectors`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stadx.core.errors import DataError, ModelFileError
from stadx.core.registry import Registry

if TYPE_CHECKING:
    from .base import Calibrated

STUDENT_TEACHER = "student-teacher"
BASELINES = {
    "knn": "shallow:NearestNeighborDetector",
    "kmeans": "shallow:KMeansDetector",
    "ocsvm": "shallow:OneClassSvmDetector",
    "l2-ae": "autoencoders:AutoencoderDetector",
    "vae": "autoencoders:VariationalDetector",
    "ssim-ae": "ssim_autoencoder:SsimAutoencoderDetector",
    "anogan": "anogan:AnoGanDetector",
    "feature-dictionary": "feature_dictionary:FeatureDictionaryDetector",
    "ocgan": "ocgan:OcganDetector",
}
"""The systems that the paper compares itself with: names, and classes in `stadx.detectors.baselines`."""

_DETECTORS = Registry(
    "detector",
    "stadx.detectors",
    {
        STUDENT_TEACHER: "stadx.detectors.student_teacher.detector:Detector",
        **{name: f"stadx.detectors.baselines.{place}" for name, place in BASELINES.items()},
    },
)


def detector_names() -> list[str]:
    """The names that `stadx train --method` takes: stadx's own, then those of other packages."""
    return _DETECTORS.names()


def detector_class(name: str) -> type[Calibrated]:
    """The detector of that name.

    Raises:
        DataError: if there is none, the package that declares it cannot be imported, or it is none.
    """
    from .base import Calibrated

    found = _DETECTORS.get(name)
    if not (isinstance(found, type) and issubclass(found, Calibrated)):
        raise DataError(f"the detector {name!r} is {found!r}; it must be a subclass of stadx.detectors.base.Calibrated")
    return found


def load_model(path: str | os.PathLike[str]) -> Calibrated:
    """Read what a detector's `save` wrote, of whichever method.

    Raises:
        ModelFileError: if the file is missing, damaged, of another version or something else.
    """
    from stadx.core.files import model_kind

    kind = model_kind(path)
    # a detector of another package writes files of the kind that is its name
    name = kind if kind in detector_names() else STUDENT_TEACHER
    if kind == "baseline":
        name = next(iter(BASELINES))  # each reads the files of all
    try:
        detector = detector_class(name)
    except DataError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return detector.load(path)
