"""A detector as one safetensors file: weights, statistics and threshold, settings as JSON."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from stadx.core.settings import read_from_json

from ..model_files import frozen_network, held_out_scores, named, read_calibrated, write_calibrated
from .ensemble import Ensemble
from .normalization import Normalization

if TYPE_CHECKING:
    from .detector import Detector

DETECTOR_VERSION = 1


def write_detector(detector: Detector, path: str | os.PathLike[str]) -> None:
    """Write a fitted detector. Raises `OutputError` if it cannot be written."""
    tensors: dict[str, Tensor] = {}
    for p, ensemble in zip(detector.scales, detector.ensembles_, strict=True):
        tensors |= {f"p{p}.mean": ensemble.mean, f"p{p}.std": ensemble.std}
        networks = [ensemble.teacher, *ensemble.students]
        for name, network in zip(_names(p, len(ensemble.students)), networks, strict=True):
            tensors |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
    header = {
        "settings": {**detector.settings, "teachers": [Path(file).name for file in detector.teachers]},
        "networks": [ensemble.teacher.settings for ensemble in detector.ensembles_],
        "normalizations": [asdict(n) for n in detector.normalizations_],
    }
    write_calibrated(detector, path, "detector", DETECTOR_VERSION, header, tensors)


def read_detector(cls: type[Detector], path: str | os.PathLike[str]) -> Detector:
    """Read what `write_detector` wrote. Raises `ModelFileError` for anything else."""

    def build(header: dict[str, Any], tensors: dict[str, Tensor]) -> Detector:
        settings = read_from_json({"level": 0.0, **header["settings"]})  # files of previous versions have no level
        ensembles = []
        for p, network in zip(settings["scales"], header["networks"], strict=True):
            teacher, *students = [
                frozen_network(network, named(tensors, name)) for name in _names(p, settings["students"])
            ]
            ensembles.append(Ensemble(teacher, students, tensors[f"p{p}.mean"], tensors[f"p{p}.std"]))
        normalizations = [Normalization(**n) for n in header["normalizations"]]
        return cls.from_parts(settings, ensembles, normalizations, held_out_scores(tensors))

    return read_calibrated(path, "detector", DETECTOR_VERSION, build)


def _names(p: int, students: int) -> list[str]:
    return [f"p{p}.teacher", *(f"p{p}.student{i}" for i in range(students))]
