"""What teacher and students share in training: settings in a checkpoint, optimiser state, arithmetic."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stadx.core.errors import ModelFileError, StadxError
from stadx.core.files import read_model, write_model

from .choices import OptimizerName, Precision
from .muon import Muon

_VERSION = 2


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Convolutions in bfloat16 where that is asked for, or, with "auto", where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16(precision, device))


def in_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether convolutions are computed in bfloat16."""
    return precision == "bfloat16" or (precision == "auto" and _has_bfloat16(device))


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # with AVX-512's bfloat16 Winograd's method in float32 takes less time, without any PyTorch emulates bfloat16
    supported = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(supported())


def learning_rate_factor(step: int, steps: int, schedule: str) -> float:
    """Share of the learning rate that a step takes: linear over the first 5 %, then half a cosine."""
    if schedule == "constant":
        return 1.0
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def make_optimizer(
    name: OptimizerName,
    weights: Iterable[nn.Parameter],
    learning_rate: float | None,
    weight_decay: float,
    precision: Precision = "float32",
) -> torch.optim.Optimizer:
    """The optimiser of that name; no learning rate: 2e-3 for Muon, 1e-3 for Adam."""
    weights = list(weights)
    rate: float | Tensor = {"muon": 2e-3, "adam": 1e-3}[name] if learning_rate is None else learning_rate
    on_gpu = weights[0].is_cuda
    if on_gpu:  # a plain number would be fixed in a CUDA graph
        rate = torch.tensor(rate, device=weights[0].device)
    if name == "muon":
        half = not on_gpu and in_bfloat16(precision, weights[0].device)  # GPUs: not measured
        return Muon(weights, rate, weight_decay=weight_decay, bfloat16=half)
    return torch.optim.Adam(weights, rate, weight_decay=weight_decay, capturable=on_gpu)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """For all steps to come."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def arithmetic(precision: Precision, device: torch.device) -> dict[str, str]:
    """What a run computes with; one that goes on elsewhere, or in another precision, would be a run of two halves."""
    return {"device": device.type, "convolutions": "bfloat16" if in_bfloat16(precision, device) else "float32"}


class Checkpoint:
    """Where long training stands, in one safetensors file that a killed run resumes from.

    Args:
        path: the file; None keeps nothing.
        settings: everything the result depends on; a checkpoint of other settings is refused.
        computed: `arithmetic` of this run; a checkpoint of another is refused.
        every: seconds between two savings.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        settings: Mapping[str, Any],
        computed: Mapping[str, str],
        every: float = 30,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.settings = dict(settings)
        self.computed = dict(computed)
        self.every = every
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """State and tensors as saved, None if nothing was.

        Raises:
            ModelFileError: if the file is damaged, or of a run with other settings, on another kind of device or in
                another precision.
        """
        if self.path is None or not os.path.exists(self.path):
            return None
        header, tensors = read_model(self.path, "checkpoint", _VERSION)
        settings, state = header.get("settings"), header.get("state")
        if not isinstance(settings, dict) or not isinstance(state, dict):
            raise _lacking(self.path)
        computed = header.get("computed", self.computed)  # files of previous versions do not say
        # "auto" may stand for another precision than it did; what it stood for is among what was computed
        implied = {"precision"} if "computed" in header else set()
        other = [k for k in self.settings if k not in implied and settings.get(k) != self.settings[k]]
        if other:
            raise ModelFileError(
                f"{self.path}: is the checkpoint of a run with other settings ({', '.join(other)}); "
                "delete it to start anew, or give the settings it was started with"
            )
        if computed != self.computed:
            raise ModelFileError(
                f"{self.path}: is the checkpoint of a run with {_in_words(computed)}, this one has "
                f"{_in_words(self.computed)}; delete it to start anew, or go on with the precision "
                f"{computed.get('convolutions')} on device {computed.get('device')}"
            )
        return _Parts(self.path, state), _Parts(self.path, tensors)

    def save(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write both now."""
        if self.path is not None:
            header = {"settings": self.settings, "computed": self.computed, "state": dict(state)}
            write_model(self.path, "checkpoint", _VERSION, header, tensors)
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether `every` seconds have passed since the last saving."""
        return self.path is not None and time.monotonic() - self._last >= self.every

    def remove(self) -> None:
        """Delete the file: training is complete."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class _Parts(dict[str, Any]):
    """Parts of a checkpoint by name; that one is missing is told as `ModelFileError`."""

    def __init__(self, path: Path, parts: Mapping[str, Any]) -> None:
        super().__init__(parts)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise _lacking(self._path)

    def __reduce__(self) -> tuple[type[_Parts], tuple[Path, dict[str, Any]]]:  # processes hand it to each other
        return type(self), (self._path, dict(self))


def _lacking(path: Path) -> ModelFileError:
    return ModelFileError(f"{path}: lacks a part of a checkpoint; delete it to start anew")


def _in_words(computed: Mapping[str, str]) -> str:
    return f"convolutions in {computed.get('convolutions')} on device {computed.get('device')}"


def check_finite(loss: float, step: int, checkpoint: Checkpoint | None = None) -> None:
    """Stop a training whose loss is no number any more.

    Raises:
        StadxError: naming the step and the fix.
    """
    if not math.isfinite(loss):
        file = None if checkpoint is None else checkpoint.path
        delete = f", and delete {file}" if file is not None and file.exists() else ""
        raise StadxError(f"training diverged: the loss is {loss} at step {step}; give a lower learning rate{delete}")


def training_state(modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Parameters and the optimiser's tensors for each, all named."""
    tensors = {f"{n}.{k}": v for n, m in modules.items() for k, v in m.state_dict().items()}
    for name, parameter in _named_parameters(modules):
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = value
    return tensors


def restore_training_state(
    modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Undo `training_state`."""
    for name, module in modules.items():
        module.load_state_dict({k: tensors[f"{name}.{k}"] for k in module.state_dict()})
    for name, parameter in _named_parameters(modules):
        prefix = f"optimizer.{name}."
        kept = {k[len(prefix) :]: v.clone() for k, v in tensors.items() if k.startswith(prefix)}
        if kept:
            # PyTorch's Adam counts its steps on the CPU unless it is for graphs
            on_cpu = {"step"} if optimizer.defaults.get("capturable") is False else set[str]()
            optimizer.state[parameter] = {k: v if k in on_cpu else v.to(parameter.device) for k, v in kept.items()}


def _named_parameters(modules: Mapping[str, nn.Module]) -> Iterable[tuple[str, nn.Parameter]]:
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            yield f"{name}.{key}", parameter
