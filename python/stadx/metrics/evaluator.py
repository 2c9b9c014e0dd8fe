"""Metrics of sets that arrive image by image, or that are too large for memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError
from stadx.core.memory import available_bytes
from stadx.core.progress import Progress, silent

from .defect_pixels import DefectPixels
from .inputs import (
    GROUP_PIXELS,
    Maps,
    Pair,
    Pairs,
    Regions,
    TruePair,
    Truth,
    check_are_images,
    check_image,
    differs,
    groups,
    on_gpu,
)
from .pixel_metrics import PixelMetrics, check_limit
from .ranks import IN_MEMORY_PIXELS, nan_error, rank
from .spill import ALIGNMENT, Place, Spill, array_at

_LEAST_BUDGET = 2**30
_LEFT_AVAILABLE = 2**32
Source = Iterable["tuple[Any, Any] | tuple[Any, Any, str]"]


def evaluate_maps(
    source: Source,
    *,
    fpr_limit: float = 1.0,
    connectivity: int = 8,
    names: Sequence[str] | None = None,
    ignore_value: int | None = None,
    progress: Progress = silent,
) -> PixelMetrics:
    """Exact metrics of a set that is read twice: memory holds some images (16 megapixels) and all defect pixels.

    Args:
        source: gives (map, mask) or (map, mask, defect type) of every image, [H, W] each as in `au_pro`, and the same
            again when iterated again: a list, or an object whose `__iter__` reads files. In the place of a mask may be
            `Regions`.
        fpr_limit: count up to this false-positive rate: with 0.3, AU-PRO up to 0.3 costs less and nothing else is
            known.
        connectivity: 8 or 4, what makes defect pixels one region.
        names: what errors call the images; by default "image 0", …
        ignore_value: pixels whose mask has this value are left out: they are no background, and regions are of the
            others.
        progress: told of every image read.

    Raises:
        DataError: as `au_pro`, or if the source cannot be read twice.
    """
    check_limit(fpr_limit)
    check_connectivity(connectivity)
    if iter(source) is source:
        raise DataError("source is an iterator, which can be read only once; give a list, or an object with __iter__")
    found, widths, defects, sizes = DefectPixels(), [], [], []
    total = len(names) if names is not None else len(source) if isinstance(source, Sized) else 0

    def name_of(i: int) -> str:
        return names[i] if names is not None else f"image {i}"

    def read(stage: str) -> Iterator[tuple[TruePair, Tensor | None, str]]:
        for i, item in enumerate(source):
            if names is not None and i == len(names):
                raise DataError(f"there are {len(names)} names but more images; give a name for each")
            if len(item) < 2:
                raise DataError(f"{name_of(i)}: the source gives {len(item)} values; give a map and its mask")
            if (item[0].ndim if on_gpu(item[0]) else np.ndim(item[0])) != 2:
                raise DataError(f"{name_of(i)}: its map has shape {tuple(np.shape(item[0]))}; every map must be [H, W]")
            pair = check_image(item[0], item[1], name_of(i))
            counts = None
            if ignore_value is not None:
                if not isinstance(pair[1], Tensor):
                    raise DataError(f"{name_of(i)}: has Regions, but ignore_value is for masks; give one or the other")
                counts = differs(item[1], ignore_value).to(pair[0].device)
            yield pair, counts, item[2] if len(item) > 2 else ""
            progress(stage, i + 1, max(total, i + 1), {})

    def first() -> Iterator[TruePair]:
        for (scores, truth), counts, defect in read("Defects"):
            widths.append(scores.shape[1])
            defects.append(defect)
            sizes.append(scores.numel() if counts is None else int(counts.sum()))
            if counts is None or not isinstance(truth, Tensor):
                yield scores, truth
            else:
                yield scores.masked_fill(~counts, -torch.inf), truth * counts

    def again(stage: str) -> Iterator[Pair]:
        """What is counted; the truth is known by now."""
        for (scores, _), counts, _ in read(stage):
            counted = scores if counts is None else scores[counts]
            yield counted, counted

    for group in groups(first()):
        found.add(*group, connectivity)
    found.sizes = sizes
    if names is not None and len(names) != len(found.sizes):
        raise DataError(f"there are {len(names)} names but {len(found.sizes)} images; give a name for each")
    in_memory = isinstance(source, (list, tuple, Pairs))
    at_once = IN_MEMORY_PIXELS if in_memory else GROUP_PIXELS
    ranks = rank(found, lambda: again("Background"), fpr_limit, name_of, at_once)
    return PixelMetrics(ranks, widths, defects, lambda: ((s.cpu(), s.cpu()) for s, _ in again("Images")), name_of)


class ProEvaluator:
    """Collects anomaly maps, batch by batch, and computes their exact metrics: `update`, `merge`, `compute`, `reset`.

    Maps are kept as float32 (float64 if they are that), beyond `memory_budget` in a temporary file; of the masks only
    the regions are kept. An evaluator can be pickled, so that several processes can send theirs to one that merges.
    To keep nothing at all, see `evaluate_maps`.

    Args:
        connectivity: 8 or 4, what makes defect pixels one region.
        memory_budget: bytes of maps kept in memory. None: 1 GiB, and more as long as 4 GiB of memory stay available.
        folder: for the temporary file; by default the system's.

    Raises:
        DataError: connectivity is neither 4 nor 8.
    """

    def __init__(
        self, *, connectivity: int = 8, memory_budget: int | None = None, folder: str | os.PathLike[str] | None = None
    ) -> None:
        check_connectivity(connectivity)
        self.connectivity = connectivity
        self.memory_budget = memory_budget
        self.folder = folder
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._found = DefectPixels()
        self._maps: list[NDArray[Any] | Place] = []
        self._spill = Spill(self.folder)
        self._widths: list[int] = []
        self._defects: list[str] = []
        self._in_memory = 0

    def __len__(self) -> int:
        return len(self._maps)

    def update(
        self, maps: Maps, masks: Maps | Regions | Sequence[Regions], defects: Sequence[str] | str = ""
    ) -> ProEvaluator:
        """Take further images.

        Args:
            maps, masks: as in `au_pro`, one image or many, of any sizes. `Regions` may be in the place of masks.
            defects: type of the defect, one for all or one each; only for `per_defect` and `regions`.

        Raises:
            DataError: as `au_pro`; then nothing of the call is kept.
            OutputError: the temporary file cannot be written.
        """
        check_are_images(maps)
        pairs = [(scores.cpu(), _on_cpu(truth)) for scores, truth in Pairs(maps, masks)]
        types = [defects] * len(pairs) if isinstance(defects, str) else list(defects)
        if len(types) != len(pairs):
            raise DataError(f"{len(types)} defect types but {len(pairs)} maps; give one for each")
        for i, (scores, _) in enumerate(pairs):
            if scores.numel() and bool(scores.amax().isnan()):
                raise nan_error(f"image {len(self) + i}")
        found = DefectPixels()
        for group in groups(pairs):
            found.add(*group, self.connectivity)
        kept = self._keep([scores for scores, _ in pairs])
        self._found.merge(found)
        self._maps += kept
        self._widths += [scores.shape[1] for scores, _ in pairs]
        self._defects += types
        return self

    def merge(self, other: ProEvaluator) -> ProEvaluator:
        """Take the images of another evaluator after one's own: the metrics are those of all of them together.

        Raises:
            DataError: the evaluators' connectivity differs.
        """
        if other.connectivity != self.connectivity:
            raise DataError(f"connectivity {other.connectivity} cannot be merged into {self.connectivity}")
        kept = self._keep(other._arrays())
        self._found.merge(other._found)
        self._maps += kept
        self._widths += other._widths
        self._defects += other._defects
        return self

    def compute(self, *, fpr_limit: float = 1.0) -> PixelMetrics:
        """The metrics of all images so far; more can be added afterwards.

        Args:
            fpr_limit: as in `evaluate_maps`.

        Raises:
            DataError: there is no defect or no background.
        """
        check_limit(fpr_limit)
        maps = self._arrays()  # what is added later does not belong to the result

        def images() -> Iterator[Pair]:
            for scores in maps:
                yield scores, scores

        def name_of(i: int) -> str:
            return f"image {i}"

        # what is kept is read in place, unless dtypes are mixed
        at_once = 4 * IN_MEMORY_PIXELS if len({x.dtype for x in maps}) == 1 else IN_MEMORY_PIXELS
        ranks = rank(self._found, images, fpr_limit, name_of, at_once)
        return PixelMetrics(ranks, list(self._widths), list(self._defects), images, name_of)

    def _keep(self, scores: Sequence[Tensor]) -> list[NDArray[Any] | Place]:
        """Copies of maps, in memory as far as there is room: together, so that they lie on large pages."""
        room, used, size, places, inside = self._room(), 0, 0, list[Place](), list[bool]()
        for values in (x.numpy() for x in scores):
            inside.append(used + values.nbytes <= room or not values.size)
            if inside[-1]:
                places.append(Place(size, values.shape, values.dtype))
                used += values.nbytes
                size += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
            else:
                places.append(self._spill.append(values))
        memory = np.empty(size, np.uint8)
        kept: list[NDArray[Any] | Place] = []
        for place, image, here in zip(places, scores, inside, strict=True):
            if here:
                array = array_at(memory, place)
                torch.from_numpy(array).copy_(image)  # by all threads
                kept.append(array)
            else:
                kept.append(place)
        self._in_memory += used
        return kept

    def _room(self) -> int:
        """Bytes of maps that may still be kept in memory."""
        if self.memory_budget is not None:
            return self.memory_budget - self._in_memory
        return max(_LEAST_BUDGET - self._in_memory, available_bytes() - _LEFT_AVAILABLE)

    def _arrays(self) -> list[Tensor]:
        """The maps, those of the temporary file mapped into memory."""
        mapped = self._spill.mapped()
        return [torch.from_numpy(array_at(mapped, x) if isinstance(x, Place) else x) for x in self._maps]

    def __getstate__(self) -> dict[str, Any]:
        # A temporary file is this process's own: what travels carries its content.
        maps = [x.numpy().copy() for x in self._arrays()]
        held = {"_maps": maps, "_spill": Spill(self.folder), "_in_memory": sum(x.nbytes for x in maps)}
        return {**self.__dict__, **held}


def _on_cpu(truth: Truth) -> Truth:
    return truth.cpu() if isinstance(truth, Tensor) else truth._replace(masks=[mask.cpu() for mask in truth.masks])


def check_connectivity(connectivity: int) -> None:
    """Raise DataError unless it is 4 or 8."""
    if not isinstance(connectivity, int) or connectivity not in (4, 8):
        raise DataError(f"connectivity is {connectivity}; it must be 4 or 8")
