"""What `stadx info` tells of a detector."""

from __future__ import annotations

from typing import Any


def facts_of(detector: Any) -> dict[str, str]:
    """What a `Calibrated` is, its thresholds and what they promise, in words."""
    return {
        "method": detector.method,
        **{name: str(value) for name, value in detector.settings.items() if name not in ("padding", "value_range")},
        "pixel threshold": f"{detector.threshold_:.6g}",
        "image threshold": f"{detector.image_threshold():.6g}, scored with stride {detector.stride}",
        "value range of the images": "0 to the highest of each image's depth, in 8 bits, as in stadx 0.1"
        if detector.value_range_ is None
        else detector.value_range_.sentence(),
        "false alarms": detector.false_alarms().sentence(),
    }


def figures_of(detector: Any) -> dict[str, Any]:
    """What `facts_of` says, as numbers."""
    return {
        "method": detector.method,
        "settings": {name: value for name, value in detector.settings.items() if name != "padding"},
        "pixel_threshold": detector.threshold_,
        "image_threshold": detector.image_threshold(),
        "stride": detector.stride,
        "false_alarms": detector.false_alarms()._asdict(),
        "value_range": None if detector.value_range_ is None else detector.value_range_.to_json(),
    }
