"""Whether a detector's settings can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any, get_args

from stadx.networks.padding import Padding
from stadx.networks.patch_network import PATCH_SIZES
from stadx.networks.training import OptimizerName, Precision

from ..thresholds import check_fpr
from .calibration import Terms

_CHOICES = {
    "schedule": ("cosine", "constant"),
    "optimizer": get_args(OptimizerName),
    "precision": get_args(Precision),
    "terms": get_args(Terms),
    "padding": (None, *get_args(Padding)),
}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the arguments of `Detector`.

    Raises:
        ValueError: naming those that cannot be.
    """
    scales = settings["scales"]
    if not scales or len(set(scales)) < len(scales) or not set(scales) <= set(PATCH_SIZES):
        raise ValueError(f"scales are {scales}; choose one or more of {PATCH_SIZES}, none twice")
    for name, least in (("students", 1), ("steps", 1), ("batch", 1), ("crop", 1), ("patience", 0), ("seed", 0)):
        if settings[name] is not None and (not isinstance(settings[name], Integral) or settings[name] < least):
            raise ValueError(f"{name} is {settings[name]}, it must be a whole number, at least {least}")
    if settings["seed"] >= 2**32:
        raise ValueError(f"seed is {settings['seed']}, it must be below {2**32}")
    held_out, smoothing, rate = settings["held_out"], settings["smoothing"], settings["learning_rate"]
    if not 0 < held_out < 1 or not 0 <= smoothing < 1000:
        raise ValueError(f"held_out = {held_out} must lie between 0 and 1, smoothing = {smoothing} in [0, 1000)")
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"learning_rate is {rate}, it must be above 0")
    if not 0 <= settings["weight_decay"] < math.inf:
        raise ValueError(f"weight_decay is {settings['weight_decay']}, it must be at least 0")
    if settings["students"] == 1 and settings["terms"] == "v":
        raise ValueError("terms is 'v', and one student alone has no variance; choose 'e', or two students or more")
    for name in ("focus", "level"):
        if not 0 <= settings[name] <= 1:
            raise ValueError(f"{name} is {settings[name]}, it must lie between 0 and 1")
    for name, choices in _CHOICES.items():
        if settings[name] not in choices:
            raise ValueError(f"{name} is {settings[name]!r}; choose one of {choices}")
    for name in ("target_fpr", "image_fpr"):
        check_fpr(settings[name], name)
