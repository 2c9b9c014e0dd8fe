"""What options name, opened: devices, regions of interest, models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .console import listing, say
from .options import refused

if TYPE_CHECKING:
    import torch

    from stadx.data.layouts.category import Category
    from stadx.data.roi import Roi
    from stadx.detectors.base import Calibrated

NO_REGION = "none"  # of --roi


def check_device(name: str) -> torch.device:
    """The device that the option --device names."""
    from stadx.core.devices import usable_device

    try:
        return usable_device(name)
    except ValueError as error:
        raise refused("device", str(error)) from error


def move(detector: Calibrated, device: str) -> None:
    """Have a detector work where the option --device says."""
    try:
        detector.to(device)
    except ValueError as error:
        raise refused("device", str(error)) from error


def open_region(text: str | None) -> Roi | None:
    """What the option --roi names; None where it names nothing, or 'none'."""
    from stadx.data.roi import Roi

    if text in (None, NO_REGION):
        return None
    roi = Roi(text)
    if roi.share is not None and roi.mask is not None:
        height, width = roi.mask.shape
        say(f"Region of interest: {text}, {100 * roi.share:.3g} % of {width}x{height} pixels, resized to each image.")
    return roi


def open_test_images(data: Path | None, good: str | None, defects: str | None, masks: str | None) -> Category:
    """The test images of a category, or those that --good, --defects and --masks name."""
    from stadx.data.layouts import open_category
    from stadx.data.layouts.patterns import list_patterns

    patterns = any(pattern is not None for pattern in (good, defects, masks))
    if patterns == (data is not None):
        raise typer.BadParameter("give either a category, or --good, --defects and --masks", param_hint="DATA")
    with listing():
        return list_patterns(good, defects, masks).for_testing() if data is None else open_category(data)


def apply_region(detector: Calibrated, text: str | None) -> Roi | None:
    """Have a detector look where the option --roi says; a folder of masks comes back, all else it keeps itself."""
    from stadx.detectors.roi import roi_argument

    if text is None:
        if (own := getattr(detector, "roi_", None)) is not None:
            say(f"Region of interest: the model's own, {100 * float(own.mean()):.3g} % of an image.")
        return None
    roi = open_region(text)
    roi_argument(detector, roi)  # refuses
    detector.roi_ = None if roi is None else roi.mask  # calibrate writes it into the new model
    return roi


def open_model(file: Path, device: str, target_fpr: float | None, image_fpr: float | None) -> Calibrated:
    """The detector of a file, with the thresholds that options ask for."""
    from stadx.detectors.registry import load_model

    detector = load_model(file)
    move(detector, device)
    if target_fpr is not None:
        detector.set_target_fpr(target_fpr)
    if image_fpr is not None:
        detector.set_image_fpr(image_fpr)
    return detector
