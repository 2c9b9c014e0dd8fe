"""What the model files of all detectors share: thresholds, and networks ready to score."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from stadx.core.errors import ModelFileError
from stadx.core.files import read_model, write_model
from stadx.core.torch_state import usual_torch
from stadx.data.value_range import ValueRange
from stadx.networks.patch_network import PatchNetwork, channels_last, loaded_network

from .base import Calibrated
from .thresholds import HeldOutScores

_RATES = {True: "expected", False: "counted"}  # from which an image threshold follows

AnyDetector = TypeVar("AnyDetector", bound=Calibrated)


def write_calibrated(
    detector: Calibrated,
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Write a fitted detector: its own header and tensors, and the threshold.

    Args:
        detector: fitted.
        path: the file.
        kind: of file; for a detector of another package its `method`.
        version: of header and tensors; `read_calibrated` refuses any other.
        header: settings that `json.dumps` takes.
        tensors: named tensors of any dtype.

    Raises:
        OutputError: if it cannot be written.
    """
    levels = {
        "heldout_fprs": torch.from_numpy(detector.heldout_fprs_),
        "heldout_scores": torch.from_numpy(detector.heldout_scores_),
        "heldout_image_scores": torch.from_numpy(detector.heldout_image_scores_),
    }
    thresholds: dict[str, Any] = {"threshold": detector.threshold_, "image_rate": _RATES[detector._expected]}
    if detector._own_image_threshold is not None:
        score, stride = detector._own_image_threshold
        thresholds["image_threshold"] = {"score": score, "stride": stride}
    if detector.roi_ is not None:
        levels["roi"] = torch.from_numpy(detector.roi_)
    if detector.value_range_ is not None:
        thresholds["value_range"] = detector.value_range_.to_json()
    write_model(path, kind, version, {**header, **thresholds}, {**tensors, **levels})


def read_calibrated(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    build: Callable[[dict[str, Any], dict[str, Tensor]], AnyDetector],
    oldest: int | None = None,
) -> AnyDetector:
    """Read what `write_calibrated` wrote in this version or one from the oldest on.

    `build` makes the detector of header and tensors, all but the thresholds.

    Raises:
        ModelFileError: if the file is missing, damaged, of another version or something else.
    """
    header, tensors = read_model(path, kind, version, oldest)
    try:
        with usual_torch():
            detector = build(header, tensors)
        detector._calibrate(held_out_scores(tensors))
        detector.threshold_ = float(header["threshold"])
        detector.roi_ = tensors["roi"].numpy() if "roi" in tensors else None
        detector.value_range_ = ValueRange.from_json(header.get("value_range"))
        detector._expected = header.get("image_rate", _RATES[False]) == _RATES[True]
        if (own := header.get("image_threshold")) is not None:
            detector.set_image_threshold(own["score"], own["stride"])
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: lacks a part of a detector ({error}); copy or train it again") from error
    return detector


def held_out_scores(tensors: Mapping[str, Tensor]) -> HeldOutScores:
    """What thresholds follow from, of a model file's tensors."""
    fprs, scores = tensors["heldout_fprs"], tensors["heldout_scores"]
    highest = scores.max().repeat(4, 1)  # all that files of previous versions have
    return HeldOutScores(fprs.numpy(), scores.numpy(), tensors.get("heldout_image_scores", highest).numpy())


def named(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors called `name`.KEY, by KEY."""
    prefix = f"{name}."
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def frozen_network(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> PatchNetwork:
    """A patch network of a file, ready to score."""
    network = loaded_network(lambda: PatchNetwork(**settings), weights)
    channels_last(network)
    return network
