"""What the metrics accept: maps and masks as arrays, tensors or sequences of them, checked and made tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError

Maps: TypeAlias = "NDArray[Any] | Tensor | Sequence[NDArray[Any] | Tensor]"
Pair: TypeAlias = "tuple[Tensor, Tensor]"  # scores, float32 or float64, and truth, bool or integer: [H, W]
T = TypeVar("T")
Truth: TypeAlias = "Tensor | RegionMasks"
TruePair: TypeAlias = "tuple[Tensor, Truth]"

GROUP_PIXELS = 2**23  # that one call of an operator takes: bounds the memory for its working state


@dataclass(frozen=True, eq=False)
class Regions:
    """The ground truth of one image as regions each of its own: they may touch, overlap, and be in several parts.

    Given in the place of a mask, its regions are these and no connected ones.

    Args:
        masks: [R, H, W], or a sequence of [H, W], of the map's size: bool or integer, non-zero = inside. Empty for a
            good image.
        saturation: pixels with which each region counts as found, [R], above 0; what exceeds a region's area becomes
            its area. None: the areas, so that sPRO is PRO.
    """

    masks: NDArray[Any] | Tensor | Sequence[NDArray[Any] | Tensor]
    saturation: Sequence[float] | NDArray[Any] | None = None


class RegionMasks(NamedTuple):
    """`Regions` that were checked: masks [H, W], saturation float64 [R], and what errors call the image."""

    masks: list[Tensor]
    saturation: NDArray[np.float64] | None
    name: str


class Pairs:
    """Scores and truth of every image of a set, made tensors when asked for; memory is shared where it can be.

    Args:
        maps, masks: [N, H, W], or a sequence of arrays or tensors of any sizes, or plain numbers (together one image).
        names: what errors call the two.

    Raises:
        DataError: there are not as many of both; on iteration, naming the image, if shapes or dtypes do not fit.
    """

    def __init__(
        self,
        maps: Maps | Sequence[float],
        masks: Maps | Sequence[int] | Regions | Sequence[Regions],
        names: tuple[str, str] = ("maps", "masks"),
    ) -> None:
        self._scores, self._truth, self._names = _as_list(maps), _as_list(masks), names
        if len(self._scores) != len(self._truth):
            raise DataError(
                f"{len(self._scores)} {names[0]} but {len(self._truth)} {names[1]}; give one for each image"
            )

    def __len__(self) -> int:
        return len(self._scores)

    def __iter__(self) -> Iterator[TruePair]:
        for i, (scores, truth) in enumerate(zip(self._scores, self._truth, strict=True)):
            yield check_image(scores, truth, f"image {i}", self._names)

    def of_masks(self) -> Iterator[Pair]:
        """The images, none of which may have `Regions`."""
        for i, (scores, truth) in enumerate(self):
            if not isinstance(truth, Tensor):
                raise DataError(f"image {i}: {self._names[1]} are Regions, but this metric takes masks alone")
            yield scores, truth


def check_image(scores: Any, truth: Any, image: str, names: tuple[str, str] = ("maps", "masks")) -> TruePair:
    """As `check_pair`; the truth may also be `Regions`, which become `RegionMasks`."""
    if isinstance(truth, Regions):
        return check_regions(scores, truth, image)
    return (scores, truth) if isinstance(truth, RegionMasks) else check_pair(scores, truth, image, names)


def check_regions(scores: Any, truth: Regions, image: str) -> tuple[Tensor, RegionMasks]:
    """One image's scores [H, W] and the masks of its regions, as tensors on the scores' device.

    Raises:
        DataError: naming `image`, if shapes or dtypes do not fit, or a saturation is not above 0.
    """
    gpu = on_gpu(scores)
    shape = tuple(scores.shape)  # NumPy's zeros touch no memory that nobody reads
    empty = torch.zeros(shape, dtype=torch.bool, device=scores.device) if gpu else np.zeros(shape, np.bool_)
    pixels, _ = check_pair(scores, empty, image)
    masks = []
    for k, mask in enumerate(truth.masks):
        mask = torch.as_tensor(_as_array(mask)).to(pixels.device) if gpu and not on_gpu(mask) else mask
        masks.append(check_pair(pixels, mask, f"{image}, region {k}")[1])
    if truth.saturation is None:
        return pixels, RegionMasks(masks, None, image)
    saturation = np.array([float(x) for x in truth.saturation], dtype=np.float64)
    if len(saturation) != len(masks):
        raise DataError(f"{image}: {len(masks)} regions but {len(saturation)} saturation areas; give one for each")
    if not (saturation > 0).all() or np.isnan(saturation).any():
        raise DataError(f"{image}: the saturation areas are {saturation.tolist()}; each must be above 0")
    return pixels, RegionMasks(masks, saturation, image)


def check_pair(scores: Any, truth: Any, image: str, names: tuple[str, str] = ("maps", "masks")) -> Pair:
    """One image's scores and truth as contiguous tensors [H, W]; what is not an image becomes one row.

    Tensors that are both on one GPU stay there. Integers and float64 become float64 (exact up to 2^53), other floating
    types float32.

    Raises:
        DataError: naming `image`, if shapes or dtypes do not fit.
    """
    if on_gpu(scores) and on_gpu(truth) and scores.device == truth.device:
        return _gpu_pair(scores.detach(), truth.detach(), image, names)
    s, t = _as_array(scores), _as_array(truth)
    if s.shape != t.shape:
        raise DataError(f"{image}: {names[0]} have shape {s.shape} but {names[1]} {t.shape}; resize one to the other")
    if t.dtype.kind not in "bui":
        raise DataError(f"{image}: {names[1]} are {t.dtype}; give bool or integers, non-zero = defect")
    if s.dtype.kind not in "buif":
        raise DataError(f"{image}: {names[0]} are {s.dtype}; give real numbers")
    single = s.dtype.kind == "f" and s.dtype.itemsize <= 4
    shape = s.shape if s.ndim == 2 else (1, s.size)
    s = np.ascontiguousarray(s, np.float32 if single else np.float64)
    t = np.ascontiguousarray(t, t.dtype.newbyteorder("="))
    if t.dtype.kind == "u":  # the same bits as signed: PyTorch knows little of wide unsigned integers
        t = t.view(f"i{t.dtype.itemsize}")
    return _tensor(s).reshape(shape), _tensor(t).reshape(shape)


def differs(mask: Any, value: int) -> Tensor:
    """Where a mask is not this value, bool [H, W]."""
    if isinstance(mask, Tensor):
        return mask.long() != value
    return torch.from_numpy(np.asarray(np.asarray(mask) != value))


def on_gpu(item: Any) -> bool:
    """Whether it is a tensor on a GPU."""
    return isinstance(item, Tensor) and item.is_cuda


def _gpu_pair(s: Tensor, t: Tensor, image: str, names: tuple[str, str]) -> Pair:
    if s.shape != t.shape:
        raise DataError(
            f"{image}: {names[0]} have shape {tuple(s.shape)} but {names[1]} {tuple(t.shape)}; resize one to the other"
        )
    if t.dtype.is_floating_point or t.dtype.is_complex:
        raise DataError(f"{image}: {names[1]} are {t.dtype}; give bool or integers, non-zero = defect")
    if s.dtype.is_complex:
        raise DataError(f"{image}: {names[0]} are {s.dtype}; give real numbers")
    single = s.dtype.is_floating_point and s.dtype.itemsize <= 4
    shape = s.shape if s.ndim == 2 else (1, s.numel())
    s = s.to(torch.float32 if single else torch.float64).contiguous()
    return s.reshape(shape), t.contiguous().reshape(shape)


def check_are_images(maps: Maps) -> None:
    """Raise DataError unless every map is [H, W]."""
    for i, item in enumerate(_as_list(maps)):
        if item.ndim != 2:
            raise DataError(f"map {i} has shape {tuple(item.shape)}; every map must be [H, W]")


def groups(pairs: Iterable[tuple[Tensor, T]], most: int = GROUP_PIXELS) -> Iterator[tuple[list[Tensor], list[T]]]:
    """Images together that one call of an operator takes: of one dtype, and at most so many pixels (or one image).

    Raises:
        DataError: the images are not all on one device.
    """
    first: torch.device | None = None
    scores: list[Tensor] = []
    truth: list[T] = []
    pixels = 0
    for s, t in pairs:
        first = first or s.device
        if s.device != first:
            raise DataError(f"some images are on {first}, others on {s.device}; move all to one of them")
        if scores and (pixels + s.numel() > most or s.dtype != scores[0].dtype):
            yield scores, truth
            scores, truth, pixels = [], [], 0
        scores.append(s)
        truth.append(t)
        pixels += s.numel()
    if scores:
        yield scores, truth


class _Writeable:
    """The memory of an array that may not be written to: nothing here does, but PyTorch warns of such arrays."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array  # keeps the memory alive
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Writeable(array)))


def _as_list(items: Maps | Sequence[float] | Sequence[int] | Regions | Sequence[Regions]) -> list[Any]:
    """The set image by image (or the one array that plain numbers make)."""
    if isinstance(items, Regions):
        return [items]
    if isinstance(items, (np.ndarray, Tensor)):
        return list(items) if items.ndim == 3 else [items]
    if any(isinstance(x, Regions) or (isinstance(x, (np.ndarray, Tensor)) and x.ndim > 0) for x in items):
        return list(items)
    if any(isinstance(x, Tensor) for x in items):
        items = [_as_array(x) for x in items]
    return [np.asarray(items)] if len(items) else []


def _as_array(item: Any) -> NDArray[Any]:
    if not isinstance(item, Tensor):
        return np.asarray(item)
    item = item.detach().cpu().resolve_neg()
    known = not item.dtype.is_floating_point or item.dtype in (torch.float16, torch.float32, torch.float64)
    return np.asarray((item if known else item.float()).numpy())  # NumPy has no bfloat16, nor floats of 8 bits
