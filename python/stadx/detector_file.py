"""A detector as one safetensors file: weights, statistics and threshold, settings as JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from stadx.calibrated import Calibrated
from stadx.core.errors import ModelFileError
from stadx.core.files import read_model, write_model
from stadx.networks.patch_network import PatchNetwork, channels_last, loaded_network
from stadx.scoring import Ensemble, Normalization

if TYPE_CHECKING:
    from stadx.detector import Detector

DETECTOR_VERSION = 1

AnyDetector = TypeVar("AnyDetector", bound=Calibrated)


def write_calibrated(
    detector: Calibrated,
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Write a fitted detector: its own header and tensors, and the threshold. Raises `OutputError` if that fails."""
    levels = {
        "heldout_fprs": torch.from_numpy(detector.heldout_fprs_),
        "heldout_scores": torch.from_numpy(detector.heldout_scores_),
        "heldout_image_scores": torch.from_numpy(detector.heldout_image_scores_),
    }
    write_model(path, kind, version, {**header, "threshold": detector.threshold_}, {**tensors, **levels})


def read_calibrated(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    build: Callable[[dict[str, Any], dict[str, Tensor]], AnyDetector],
) -> AnyDetector:
    """Read what `write_calibrated` wrote; `build` makes the detector of header and tensors, all but the threshold.

    Raises:
        ModelFileError: if the file is missing, damaged, of another version or something else.
    """
    header, tensors = read_model(path, kind, version)
    try:
        detector = build(header, tensors)
        detector.heldout_fprs_ = tensors["heldout_fprs"].numpy()
        detector.heldout_scores_ = tensors["heldout_scores"].numpy()
        highest = tensors["heldout_scores"].max().repeat(4, 1)  # all that files of before have
        detector.heldout_image_scores_ = tensors.get("heldout_image_scores", highest).numpy()
        detector.threshold_ = float(header["threshold"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: lacks a part of a detector ({error}); copy or train it again") from error
    return detector


def named(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors called `name`.KEY, by KEY."""
    prefix = f"{name}."
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def frozen_network(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> PatchNetwork:
    """A patch network of a file, ready to score."""
    network = loaded_network(lambda: PatchNetwork(**settings), weights)
    channels_last(network)
    return network


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
        detector = cls(**{"level": 0.0, **header["settings"]})  # files of before have none
        detector.ensembles_ = []
        for p, settings in zip(detector.scales, header["networks"], strict=True):
            networks = [frozen_network(settings, named(tensors, name)) for name in _names(p, detector.students)]
            ensemble = Ensemble(networks[0], networks[1:], tensors[f"p{p}.mean"], tensors[f"p{p}.std"])
            detector.ensembles_.append(ensemble)
        detector.normalizations_ = [Normalization(**n) for n in header["normalizations"]]
        return detector

    return read_calibrated(path, "detector", DETECTOR_VERSION, build)


def _names(p: int, students: int) -> list[str]:
    return [f"p{p}.teacher", *(f"p{p}.student{i}" for i in range(students))]
