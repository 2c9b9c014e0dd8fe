"""A detector as one safetensors file: weights, statistics and threshold, settings as JSON."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .errors import ModelFileError
from .files import read_model, write_model
from .networks import PatchNetwork, channels_last
from .scoring import Ensemble, Normalization

if TYPE_CHECKING:
    from .detector import Detector

DETECTOR_VERSION = 1


def write_detector(detector: Detector, path: str | os.PathLike[str]) -> None:
    """Write a fitted detector. Raises `OutputError` if it cannot be written."""
    tensors = {
        "heldout_fprs": torch.from_numpy(detector.heldout_fprs_),
        "heldout_scores": torch.from_numpy(detector.heldout_scores_),
    }
    for p, ensemble in zip(detector.scales, detector.ensembles_, strict=True):
        tensors |= {f"p{p}.mean": ensemble.mean, f"p{p}.std": ensemble.std}
        for name, network in _named_networks(p, ensemble):
            tensors |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
    header = {
        "settings": {**detector.settings, "teachers": [Path(file).name for file in detector.teachers]},
        "networks": [ensemble.teacher.settings for ensemble in detector.ensembles_],
        "normalizations": [asdict(n) for n in detector.normalizations_],
        "threshold": detector.threshold_,
    }
    write_model(path, "detector", DETECTOR_VERSION, header, tensors)


def read_detector(cls: type[Detector], path: str | os.PathLike[str]) -> Detector:
    """Read what `write_detector` wrote. Raises `ModelFileError` for anything else."""
    header, tensors = read_model(path, "detector", DETECTOR_VERSION)
    try:
        detector = cls(**header["settings"])
        detector.ensembles_ = []
        for p, network in zip(detector.scales, header["networks"], strict=True):
            networks = [PatchNetwork(**network) for _ in range(detector.students + 1)]
            ensemble = Ensemble(networks[0], networks[1:], tensors[f"p{p}.mean"], tensors[f"p{p}.std"])
            for name, net in _named_networks(p, ensemble):
                prefix = f"{name}."
                net.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
                net.eval().requires_grad_(False)
                channels_last(net)
            detector.ensembles_.append(ensemble)
        detector.normalizations_ = [Normalization(**n) for n in header["normalizations"]]
        detector.heldout_fprs_ = tensors["heldout_fprs"].numpy()
        detector.heldout_scores_ = tensors["heldout_scores"].numpy()
        detector.threshold_ = float(header["threshold"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: lacks a part of a detector ({error}); copy or train it again") from error
    return detector


def _named_networks(p: int, ensemble: Ensemble) -> list[tuple[str, PatchNetwork]]:
    return [(f"p{p}.teacher", ensemble.teacher), *((f"p{p}.student{i}", s) for i, s in enumerate(ensemble.students))]
