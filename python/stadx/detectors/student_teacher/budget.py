"""Training within a given time: how many steps fit, told by a short training of a few of the images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent
from stadx.data.source import ImageSource
from stadx.teachers.distributed import from_first, world_size

from .detector import Detector
from .settings import DetectorSettings
from .sharing import together

_IMAGES, _STEPS = 6, 6  # of the short training
_JUDGING = 0.4  # share of the time, after the teacher's, that judging may take
_FEWEST_STEPS, _FEWEST_JUDGES = 60, 60


@dataclass(frozen=True)
class Plan:
    """What fits.

    Attributes:
        steps: per scale, see `DetectorSettings.steps`.
        judges: images that make thresholds.
        seconds: expected for all.
    """

    steps: int
    judges: int
    seconds: float


def plan(
    settings: Mapping[str, Any],
    images: Sequence[Path],
    seconds: float,
    *,
    device: str = "cpu",
    progress: Progress = silent,
    **fitted: Any,
) -> Plan:
    """Steps and judges, at most those of the settings, with which `Detector.fit` ends after about so many seconds.

    The short training counts. Its times are of this machine as it is now: where other programs begin or end, the
    training takes longer or less long. Every process of a training by several must call it.

    Args:
        settings: of `Detector`.
        images: training images.
        seconds: in all.
        device: where it trains.
        progress: told how far the short training is.
        fitted: further arguments of `Detector.fit`.

    Raises:
        DataError: if the time is too short for a usable model, with the time that would do.
    """
    begun = time.monotonic()
    asked = DetectorSettings(**settings)
    few = images[:: -(-len(images) // _IMAGES)]
    short = Detector(**{**settings, "steps": _STEPS, "patience": 0, "memory_bytes": 0}).to(device)
    source = ImageSource(few, short.working_size, value_range=short.value_range)
    for index in range(len(few)):
        source[index]
    reading = (time.monotonic() - begun) / len(few)
    times = _Units(progress)
    short.fit(few, progress=times, **fitted)
    # of several processes all decide by what the first one measured, of its own share of the images
    shared = times.of("Scores") * len(short.scales) / world_size()
    teacher = times.of("Teacher") / together(len(short.scales), asked.students)
    left, ahead, step, judging = from_first(
        (
            seconds - (time.monotonic() - begun),
            len(images) * (reading + teacher),
            sum(short.steps_of(p) / short.steps * times.of(f"Students, p = {p}") for p in short.scales),
            max(shared, 1e-9),
        )
    )
    most = min(len(images), asked.judges)
    fewest = min(most, _FEWEST_JUDGES)
    judges = min(most, max(fewest, int(_JUDGING * (left - ahead) / judging)))
    steps = min(asked.steps, int((left - ahead - judges * judging) / step))
    expected = seconds - left + ahead + judges * judging
    if steps < min(_FEWEST_STEPS, asked.steps):
        needed = expected - (judges - fewest) * judging + _FEWEST_STEPS * step
        raise DataError(
            f"{seconds / 60:.3g} minutes are too short for these images: a first model takes about "
            f"{needed / 60 + 0.05:.1f} on this machine as it is now; give more, or fewer scales or students"
        )
    return Plan(steps, judges, expected + steps * step)


class _Units:
    """A progress that notes how long a unit of each stage takes."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self._took: dict[str, list[float]] = {}
        self._last = time.monotonic()

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        self._took.setdefault(stage, []).append(now - self._last)
        self._last = now
        self._inner(f"Trying: {stage}", done, total, {})

    def of(self, name: str) -> float:
        """Seconds, on average but for the first, if there are others; of stages for each scale, summed."""
        stages = [took[1:] or took for stage, took in self._took.items() if stage.startswith(name)]
        return sum(sum(took) / len(took) for took in stages)
