"""Anomaly maps as pictures: colours over the image, contours of masks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

COLOURS = "inferno"  # perceptually uniform: equal steps of score look like equal steps of colour
PREDICTED = (255, 255, 255)
TRUTH = (0, 229, 160)
BOX = (64, 200, 255)  # neither grey nor of the map's colours
BEHIND_BOX = (0, 0, 0)  # the line around it, seen where the image is as bright
STRONGEST_BLEND = 0.85
OUTSIDE = 0.4  # how bright is what is not looked at

_PIXELS = 1 << 17  # that are worked on at a time: what is computed of them stays in the cache
_DARK = 256  # the level of what is not looked at
_TABLE: NDArray[np.uint8] = (colormaps[COLOURS](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


Box = tuple[int, int, int, int]
"""x, y, width and height, in pixels."""


class Scale(NamedTuple):
    """The scores drawn as the first and the last colour."""

    low: float
    high: float


def scale_for(threshold: float, typical: float = 0.0) -> Scale:
    """Return the colours' range for a model: from a typical good score to twice as far as the threshold.

    The range belongs to the model, not to the image: a good image looks calm, and two images compare.
    `typical` is the median score of good pixels; normalised scores of good pixels have mean 0, its default.
    """
    reach = threshold - typical
    if not reach > 0:  # a threshold below the typical score: keep some range, whatever it means
        reach = max(abs(typical), 1.0)
    return Scale(typical, typical + 2.0 * reach)


def heat_map(scores: NDArray[np.floating], scale: Scale) -> NDArray[np.uint8]:
    """Colour a map [H, W] as uint8 RGB [H, W, 3], clipped to `scale`."""
    coloured: NDArray[np.uint8] = _TABLE[_level(scores, scale)]
    return coloured


def overlay(
    image: NDArray[np.uint8],
    scores: NDArray[np.floating],
    scale: Scale,
    *,
    predicted: NDArray[np.bool_] | None = None,
    boxes: Iterable[Box] = (),
    inside: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Lay the heat of `scores` [H, W] over the grey `image` [H, W, 3]; uint8 RGB [H, W, 3].

    The heat hides the image more the higher the score. `predicted` bool [H, W] is outlined in white, and `boxes`
    are drawn around the outlines of what they hold. Outside `inside` bool [H, W] there is no heat, and all is dark.
    """
    height, width = scores.shape
    picture = np.empty((height, width, 3), np.uint8)
    rows = max(1, _PIXELS // width)
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        picture[part] = _heated(image[part], scores[part], scale, None if inside is None else inside[part])
    if predicted is not None:
        _draw_outline(picture, predicted, PREDICTED, _outline_width(picture))
    _draw_frames(picture, boxes)
    return picture


def _heated(
    image: NDArray[np.uint8], scores: NDArray[np.floating], scale: Scale, inside: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    """`overlay` without lines, of some rows."""
    place = _level(scores, scale).astype(np.int64)
    if inside is not None:
        place[~inside] = _DARK
    place <<= 8
    place |= np.asarray(Image.fromarray(image).convert("L"))
    mixed = _mixed().take(place)
    padded = Image.frombuffer("RGBX", mixed.shape[::-1], mixed, "raw", "RGBX", 0, 1)
    return np.frombuffer(padded.tobytes("raw", "RGB"), np.uint8).reshape(image.shape)


@cache
def _mixed() -> NDArray[np.uint32]:
    """Every level's colour over every grey, [256 · level + grey], RGB in the first bytes; last those outside."""
    share = np.linspace(0, 1, 256)[:, None, None]
    # Raised at the low end so that scores between typical and threshold still tint the image.
    blend = share**0.75 * STRONGEST_BLEND
    grey = np.arange(256.0)[:, None]
    picture = np.zeros((_DARK + 1, 256, 4), np.uint8)
    picture[:_DARK, :, :3] = (grey * (1 - blend) + _TABLE[:, None] * blend).round()
    picture[_DARK, :, :3] = (grey * OUTSIDE).round()
    return picture.view(np.uint32).ravel()


def outline(
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    colour: tuple[int, int, int],
    *,
    width: int | None = None,
) -> NDArray[np.uint8]:
    """Return `image` uint8 [H, W, 3] with the border of `mask` bool [H, W] drawn just outside it.

    `width` is in pixels, by default about 1/200 of the longer side, at least one.
    """
    if width is None:
        width = _outline_width(image)
    result: NDArray[np.uint8] = np.array(image)
    _draw_outline(result, mask, colour, width)
    return result


def _draw_outline(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int], width: int
) -> None:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if len(rows):
        part = tuple(slice(max(0, int(at[0]) - width), int(at[-1]) + width + 1) for at in (rows, columns))
        inner = mask[part]
        picture[part][_grown(_grown(inner, width).T, width).T & ~inner] = colour


def _grown(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Which pixels have one of `mask` [h, w] above or below them, at most `width` away, or are one."""
    window = 2 * width + 1
    grown = np.zeros_like(mask, shape=(len(mask) + window - 1, mask.shape[1]))
    grown[width : width + len(mask)] = mask
    reach = 1
    while reach < window:  # what is true of two windows one after the other is true of both together
        step = min(reach, window - reach)
        grown = grown[:-step] | grown[step:]
        reach += step
    return grown


def frame(image: NDArray[np.uint8], boxes: Iterable[Box]) -> NDArray[np.uint8]:
    """Return `image` uint8 [H, W, 3] with a thin frame around each box, far enough for an outline between them."""
    result: NDArray[np.uint8] = np.array(image)
    _draw_frames(result, boxes)
    return result


def _draw_frames(picture: NDArray[np.uint8], boxes: Iterable[Box]) -> None:
    boxes = list(boxes)
    gap, line = _outline_width(picture) + 1, max(1, round(max(picture.shape[:2]) / 400))
    for colour, far in ((BEHIND_BOX, gap + 2 * line), (BOX, gap + line)):
        for x, y, width, height in boxes:
            inside = picture[max(0, y - far) : y + height + far, max(0, x - far) : x + width + far]
            for side in (inside[:line], inside[-line:], inside[:, :line], inside[:, -line:]):
                side[:] = colour


def _outline_width(image: NDArray[np.uint8]) -> int:
    longest: int = max(image.shape[:2])
    return max(1, round(longest / 200))


def resize_to(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] so that its longer side is `longest` pixels, keeping its shape."""
    picture = Image.fromarray(image)
    factor = longest / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    method = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC
    resized: NDArray[np.uint8] = np.asarray(picture.resize(size, method))
    return resized


def resize_map(scores: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a map float32 [h, w] to `shape` (H, W), bilinearly."""
    picture = Image.fromarray(np.ascontiguousarray(scores, dtype=np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), dtype=np.float32)


def resize_mask(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask bool [h, w] to `shape` (H, W); a pixel is set where most of its area is."""
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    resized = np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
    return np.asarray(resized > 127, dtype=np.bool_)


def _level(scores: NDArray[np.floating], scale: Scale) -> NDArray[np.uint8]:
    """The scores as a share of the scale, in 255ths; a score that is no number counts as 0."""
    share: NDArray[np.float64] = np.subtract(scores, scale.low, dtype=np.float64)
    share /= scale.high - scale.low
    np.fmax(share, 0, out=share)  # of a number and none, the number
    np.fmin(share, 1, out=share)
    share *= 255
    level: NDArray[np.uint8] = np.rint(share, out=share).astype(np.uint8)
    return level
