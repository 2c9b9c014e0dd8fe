"""Pixels that are not looked at: what their score is, for all detectors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError
from stadx.data.roi import nearest

RoiMask = NDArray[Any] | Tensor
"""Which pixels of images are looked at, non-zero: [h, w] for all of a batch, or [B, h, w]."""


class Looking(Protocol):
    """What this module needs of a detector."""

    method: ClassVar[str]
    roi_: NDArray[np.bool_] | None
    heldout_scores_: NDArray[np.float32]

    @property
    def score(self) -> Callable[..., Tensor]: ...


def takes_roi(function: Callable[..., Any]) -> bool:
    """Whether a detector's `fit` or `score` can be told which pixels are looked at."""
    return "roi" in inspect.signature(function).parameters


def roi_argument(detector: Looking, roi: object) -> dict[str, Any]:
    """How a detector's `score` is told; `DataError` if it knows no region of interest."""
    if roi is None:
        return {}
    if not takes_roi(detector.score):
        raise DataError(f"{detector.method} scores whole images; leave the region of interest out")
    return {"roi": roi}


def region_of(detector: Looking, images: Tensor, roi: RoiMask | None) -> Tensor | None:
    """Which pixels of images or maps [B, …] are looked at: bool [B, h, w] of any size, on their device; None: all.

    Args:
        detector: of which `roi_` counts if `roi` is None.

    Raises:
        DataError: if `roi` is no such mask, or black.
    """
    given = detector.roi_ if roi is None else roi
    if given is None:
        return None
    mask = (given if isinstance(given, Tensor) else torch.from_numpy(np.asarray(given))) != 0
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or len(mask) not in (1, len(images)) or 0 in mask.shape[1:]:
        shape = list(given.shape)
        raise DataError(f"roi has shape {shape}; give [h, w] for all images, or [B, h, w] for {len(images)}")
    if len(mask) and not bool(mask.flatten(1).any(1).all()):
        raise DataError("roi is black, nothing would be looked at; give non-zero pixels where images are looked at")
    return mask.to(images.device).expand(len(images), -1, -1)


def inside_maps(detector: Looking, maps: Tensor, roi: RoiMask | None) -> Tensor | None:
    """Which pixels of maps [B, H, W] are looked at, bool [B, H, W]; None: all.

    As `region_of`; `DataError` also if none of an image is left at its size.
    """
    mask = region_of(detector, maps, roi)
    if mask is None:
        return None
    height, width = maps.shape[1:]
    inside = nearest(mask, (height, width))
    if not bool(inside.flatten(1).any(1).all()):
        raise DataError(f"roi has no pixel left at {width}x{height}; make it larger")
    return inside


def outside_lowest(detector: Looking, maps: Tensor, roi: RoiMask | None) -> Tensor:
    """Maps [B, H, W] whose pixels that are not looked at have the lowest score of the held-out images.

    That is the same for all images, and no threshold is below it: they cannot alarm.
    """
    inside = inside_maps(detector, maps, roi)
    return maps if inside is None else maps.masked_fill(~inside, lowest_score(detector))


def lowest_score(detector: Looking) -> float:
    """The score of pixels that are not looked at."""
    return float(detector.heldout_scores_[-1])


def band_region(detector: Looking, roi: RoiMask | None) -> Tensor | None:
    """As `region_of`, of one image whose rows come by bands: bool [h, w] of any size."""
    mask = region_of(detector, torch.empty(1, 3, 1, 1), roi)
    return None if mask is None else mask[0]


def bands_outside_lowest(
    detector: Looking, bands: Iterable[Tensor], mask: Tensor, size: tuple[int, int]
) -> Iterator[Tensor]:
    """As `outside_lowest`, of the bands of rows [n, W] of an image of that size."""
    done = 0
    for band in bands:
        inside = nearest(mask, size, slice(done, done + len(band)))
        done += len(band)
        yield band.masked_fill(~inside, lowest_score(detector))
