"""What a detector's safetensors file holds beside the thresholds: settings and statistics as JSON, and weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from stadx.core.settings import read_from_json

from ..model_files import frozen_network, named
from ..thresholds import HeldOutScores
from .ensemble import Ensemble
from .mean_map import MeanMap
from .normalization import Normalization

_BEFORE = {
    "level": 0.0,
    "stride": 1,
    "cross": False,
    "top_share": 0.0,
    "channel_weight": 0.0,
    "scale_weight": 0.0,
    "level_limit": 10.0,
    "steps_factor_65": 1.0,
    "mean_map": 0.0,
}  # settings that files of previous versions may not have
_OF_MEAN_MAP = {"height": int, "width": int, "stride": int, "share": float}
DETECTOR_VERSION = 2  # 1, of stadx 0.1, has "padding" and no "border"


def file_of(
    settings: Mapping[str, Any],
    ensembles: Sequence[Ensemble],
    normalizations: Sequence[Normalization],
    mean_map: MeanMap | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A detector's parts, those of every scale and the mean map, as header and tensors."""
    tensors: dict[str, Tensor] = {}
    for ensemble in ensembles:
        p = ensemble.teacher.patch_size
        tensors |= {f"p{p}.mean": ensemble.mean, f"p{p}.std": ensemble.std}
        if ensemble.channel_errors is not None:
            tensors[f"p{p}.channel_errors"] = ensemble.channel_errors
        networks = [ensemble.teacher, *ensemble.students]
        for name, network in zip(_names(p, len(ensemble.students)), networks, strict=True):
            tensors |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
    kept = {name: value for name, value in settings.items() if name != "padding"}  # another name of `border`
    kept["teachers"] = [Path(file).name for file in settings["teachers"]]
    kept["penalty"] = None if settings["penalty"] is None else _from_anywhere(settings["penalty"])
    header = {
        "settings": kept,
        "networks": [ensemble.teacher.settings for ensemble in ensembles],
        "inside": [ensemble.inside for ensemble in ensembles],
        "channel_powers": [ensemble.channel_power for ensemble in ensembles],
        "normalizations": [asdict(n) for n in normalizations],
    }
    if mean_map is not None:
        header["mean_map"] = {name: getattr(mean_map, name) for name in _OF_MEAN_MAP}
        tensors["mean_map"] = mean_map.scores
    return header, tensors


def parts_of(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], list[Ensemble], list[Normalization]]:
    """What `file_of` made a file of; the mean map apart.

    Raises `LookupError`, `TypeError`, `ValueError` or `RuntimeError` where a part is missing.
    """
    settings = read_from_json({**_BEFORE, **header["settings"]})
    padding = settings.pop("padding", None)
    settings.setdefault("border", padding or header["networks"][0]["padding"])
    insides = header.get("inside", [settings["border"] == "inside"] * len(settings["scales"]))
    powers = header.get("channel_powers", [0.0] * len(settings["scales"]))
    ensembles = []
    for p, network, inside, power in zip(settings["scales"], header["networks"], insides, powers, strict=True):
        names = _names(p, settings["students"])
        teacher, *students = [frozen_network(network, named(tensors, name)) for name in names]
        statistics = tensors[f"p{p}.mean"], tensors[f"p{p}.std"]
        ensembles.append(Ensemble(teacher, students, *statistics, inside, tensors.get(f"p{p}.channel_errors"), power))
    return settings, ensembles, [Normalization(**n) for n in header["normalizations"]]


def mean_map_of(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> MeanMap | None:
    """The mean map of a file; None: it has none. Raises as `parts_of`."""
    if "mean_map" not in header:
        return None
    told = header["mean_map"]
    return MeanMap(tensors["mean_map"], *(kind(told[name]) for name, kind in _OF_MEAN_MAP.items()))


def model_hash(
    ensembles: Sequence[Ensemble],
    normalizations: Sequence[Normalization],
    scores: HeldOutScores,
    mean_map: MeanMap | None = None,
) -> str:
    """SHA-256 of all that scores and thresholds follow from; the same however often the model is saved."""
    digest = hashlib.sha256()
    for ensemble in ensembles:
        networks = [ensemble.teacher, *ensemble.students]
        weights = [tensor for network in networks for tensor in network.state_dict().values()]
        for tensor in (*weights, ensemble.mean, ensemble.std):
            digest.update(tensor.contiguous().numpy().tobytes())
    digest.update(json.dumps([asdict(n) for n in normalizations]).encode())
    for array in scores:
        digest.update(array.tobytes())
    if mean_map is not None:
        digest.update(f"{mean_map.height} {mean_map.width} {mean_map.stride}".encode())
        digest.update(mean_map.scores.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _from_anywhere(place: str | os.PathLike[str]) -> str:
    """A place as it is found whatever the current folder is; as given where it is not found from this one."""
    return os.fspath(Path(place).absolute() if os.path.exists(place) else place)


def _names(p: int, students: int) -> list[str]:
    return [f"p{p}.teacher", *(f"p{p}.student{i}" for i in range(students))]
