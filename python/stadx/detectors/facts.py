"""What `stadx info` tells of a detector."""

from __future__ import annotations

from typing import Any

from stadx.metrics.intervals import percent

from .lineage import sentence


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
        **_mean_map(detector),
        **_origin(detector),
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
        "mean_map_share": detector.mean_map_.share if getattr(detector, "mean_map_", None) is not None else None,
        **(detector.origin() if hasattr(detector, "origin") else {}),
    }


def _mean_map(detector: Any) -> dict[str, str]:
    """What is taken off maps, of a detector that does so, in words."""
    if not hasattr(detector, "mean_map_"):
        return {}
    if detector.mean_map_ is None:
        return {"mean map share": "nothing is taken off: it predicts nothing, or it was not asked for"}
    share = percent(detector.mean_map_.share)
    return {"mean map share": f"it predicts {share} of the variance of good images' scores; that share is taken off"}


def _origin(detector: Any) -> dict[str, str]:
    """Where a detector that says so comes from, in words."""
    if not hasattr(detector, "origin"):
        return {}
    origin = detector.origin()
    kept, images = origin["memory"], f"{len(detector.known_.hashes)} images known by their hashes"
    lines = [sentence(entry) for entry in origin["lineage"]] or ["not in the file, as in previous versions"]
    memory = f"{kept['images']} of them kept, {kept['bytes']:,} bytes" if kept["images"] else "none of them kept"
    return {"model": origin["model"], "lineage": "\n".join(lines), "images": f"{images}, {memory}"}
