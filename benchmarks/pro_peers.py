"""Other ways to compute AU-PRO and to label regions, and the inputs to compare them on. Nothing here needs stadx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Maps: TypeAlias = "NDArray[np.float32]"
Masks: TypeAlias = "NDArray[np.bool_]"
Labels: TypeAlias = "tuple[NDArray[Any], int]"  # label of each pixel, 0 outside, and how many regions there are

SHIFT = 1.5  # of a defect's pixels, in standard deviations of the others
MIN_SEMI_AXIS = 0.75  # an ellipse of at least this size holds a pixel's centre wherever it lies


def definition(maps: Maps, masks: Masks, limit: float = 0.3) -> float:
    """AU-PRO as the evaluation script of MVTec AD's authors defines it, in NumPy: all pixels sorted and summed.

    Args:
        maps: scores [N, H, W].
        masks: defects [N, H, W].
        limit: on the false-positive rate, in (0, 1].
    """
    from scipy import ndimage

    fp_change = np.zeros(maps.shape, np.uint32)
    pro_change = np.zeros(maps.shape, np.float64)
    regions = 0
    for i, mask in enumerate(masks):
        labels, count = ndimage.label(mask, np.ones((3, 3), int))
        fp_change[i] = labels == 0
        pro_change[i] = _overlap(labels)[labels]
        regions += count
    background = int(fp_change.sum(dtype=np.int64))
    scores = maps.ravel()
    order = np.argsort(scores)[::-1]
    scores = scores[order]
    fpr = np.cumsum(fp_change.ravel()[order], dtype=np.int64) / background
    pro = np.cumsum(pro_change.ravel()[order]) / regions
    last = np.append(scores[1:] != scores[:-1], True)  # of the pixels with one score: a threshold takes all or none
    return _area(_closed(fpr[last]), _closed(pro[last]), limit)


def torch_sort(maps: Maps, masks: Masks, limit: float = 0.3) -> float:
    """The same on PyTorch tensors: one sort of all scores, and cumulative sums in its order."""
    label = LABELERS["OpenCV" if "OpenCV" in labelers() else "SciPy"]
    weights = torch.zeros(maps.shape, dtype=torch.float64)
    regions = 0
    for i, mask in enumerate(masks):
        labels, count = label(mask)
        weights[i] = torch.from_numpy(_overlap(labels)[labels])
        regions += count
    background = torch.from_numpy(masks).logical_not().flatten()
    # sort rather than argsort: it has the scores in order anyway, and ties need them
    scores, order = torch.sort(torch.from_numpy(maps).flatten(), descending=True)
    last = torch.cat([scores[1:] != scores[:-1], torch.ones(1, dtype=torch.bool)])
    fpr = torch.cumsum(background[order], 0)[last] / background.sum().double()
    pro = torch.cumsum(weights.flatten()[order], 0)[last] / regions
    return _area(_closed(fpr.numpy()), _closed(pro.numpy()), limit)


def adeval_binned(maps: Maps, masks: Masks, limit: float = 0.3) -> float:
    """`adeval`, which counts scores in 1,000 bins of equal width: an approximation."""
    from adeval import EvalAccumulator

    if limit != 0.3:
        raise ValueError("adeval knows no other limit than 0.3")
    low, high = float(maps.min()), float(maps.max())
    accumulator = EvalAccumulator(low, high, low, high)
    accumulator.add_anomap_batch(maps, masks.view(np.uint8))
    restored = not hasattr(np, "trapz")  # NumPy 2.4 has it under its new name alone
    if restored:
        np.trapz = np.trapezoid
    try:
        with np.errstate(invalid="ignore"):  # it also sums up image scores, of which there are none
            return float(accumulator.summary()["p_aupro"])
    finally:
        if restored:
            del np.trapz


def _overlap(labels: NDArray[Any]) -> NDArray[np.float64]:
    """By label, what one of its pixels adds to the sum of the regions' overlaps: 1 / area, and 0 outside."""
    share = 1.0 / np.maximum(np.bincount(labels.ravel()), 1)
    share[0] = 0.0
    return share


def _closed(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], rates, [1.0]])


def _area(fpr: NDArray[np.float64], pro: NDArray[np.float64], limit: float) -> float:
    """Trapezoids up to the limit, over the limit; between two points the curve is a line."""
    inside = int(np.searchsorted(fpr, limit, side="right"))  # points with fpr ≤ limit
    x, y = fpr[:inside], pro[:inside]
    if x[-1] < limit:
        part = (limit - x[-1]) / (fpr[inside] - x[-1])
        x, y = np.append(x, limit), np.append(y, y[-1] + part * (pro[inside] - y[-1]))
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2 / limit)


def make_set(count: int = 40, side: int = 1024, share: float = 0.01, seed: int = 0) -> tuple[Maps, Masks]:
    """Squared errors as scores, and elliptic defects that score higher; every fourth image is good.

    Args:
        count: images.
        side: of every image, in pixels.
        share: of all pixels that are defects, about.
        seed: of the random numbers.

    Returns:
        maps [count, side, side] and masks of the same shape.
    """
    rng = np.random.default_rng(seed)
    maps, masks = np.empty((count, side, side), np.float32), np.zeros((count, side, side), bool)
    with_defects = count - count // 4
    area = share * side**2 * count / with_defects
    for i in range(count):  # image by image, so that nothing else is as large as the set
        if i % 4 != 3:
            for part in rng.dirichlet(np.full(rng.integers(2, 7), 3.0)):
                _draw_ellipse(masks[i], part * area, rng)
        rng.standard_normal(dtype=np.float32, out=maps[i])
        maps[i][masks[i]] += SHIFT
        np.square(maps[i], out=maps[i])
    return maps, masks


def _draw_ellipse(mask: Masks, area: float, rng: np.random.Generator) -> None:
    """One of any direction and position, within the image if it fits."""
    side, stretch, angle = len(mask), rng.uniform(0.7, 1.4), rng.uniform(0, np.pi)
    axes = np.maximum(np.sqrt(area / np.pi) * np.array([stretch, 1 / stretch]), MIN_SEMI_AXIS)
    reach = float(axes.max())
    y, x = rng.uniform(min(reach, side / 2), max(side - 1 - reach, side / 2), 2)
    top, left = max(int(y - reach), 0), max(int(x - reach), 0)
    box = mask[top : int(y + reach) + 2, left : int(x + reach) + 2]
    rows, columns = np.ogrid[: box.shape[0], : box.shape[1]]
    dy, dx = rows + top - y, columns + left - x
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    box |= (along / axes[0]) ** 2 + (across / axes[1]) ** 2 <= 1


def _cc3d(mask: Masks) -> Labels:
    import cc3d

    labels, count = cc3d.connected_components(mask, connectivity=8, return_N=True)
    return labels, int(count)


def _opencv(mask: Masks) -> Labels:
    import cv2

    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return labels, count - 1  # it counts the background too


def _scipy(mask: Masks) -> Labels:
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3), int))
    return labels, int(count)


LABELERS: dict[str, Callable[[Masks], Labels]] = {"cc3d": _cc3d, "OpenCV": _opencv, "SciPy": _scipy}


def labelers() -> dict[str, Callable[[Masks], Labels]]:
    """Those whose package is there."""
    found = {}
    for name, label in LABELERS.items():
        try:
            label(np.ones((1, 1), bool))
        except ImportError:
            continue
        found[name] = label
    return found


def label_masks(side: int = 1024) -> dict[str, Masks]:
    """Masks [side, side], easy and hard to label."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((side, side)), 8)
    noise = rng.random((side, side))
    rows, columns = np.indices((side, side), sparse=True)
    even_rows = np.broadcast_to(rows % 2 == 0, (side, side))
    snake = even_rows.copy()
    snake[1::4, -1] = snake[3::4, 0] = True
    within = rows % 16  # combs of 15 rows: the teeth are joined in the last one only
    return {
        "blobs": smooth > np.quantile(smooth, 0.95),
        "noise 50 %": noise < 0.5,
        "noise 20 %": noise < 0.2,
        "chessboard": (rows + columns) % 2 == 0,
        "one-pixel regions": even_rows & (columns % 2 == 0),
        "spiral": _spiral(side),
        "snake": snake,
        "stripes": even_rows.copy(),
        "full": np.ones((side, side), bool),
        "empty": np.zeros((side, side), bool),
        "combs": (within == 14) | (within < 14) & (columns % 2 == 0),
    }


def _spiral(side: int) -> Masks:
    """An arm one pixel wide, with gaps of one pixel: square rings, each cut open and joined to the next."""
    row, column = np.indices((side, side), sparse=True)
    ring = np.minimum(np.minimum(row, side - 1 - row), np.minimum(column, side - 1 - column))
    mask = ring % 2 == 0
    start = np.arange(0, side // 2, 2)  # corners of the rings that are more than one pixel
    mask[start + 1, start] = False
    start = start[start + 2 <= (side - 1) // 2]  # those with another ring inside
    mask[start + 2, start + 1] = True
    return mask
