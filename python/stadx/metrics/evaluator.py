"""Metrics of sets that arrive image by image, or that are too large for memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.errors import DataError, OutputError
from stadx.progress import Progress, silent

from .inputs import Maps, Pair, Pairs, check_pair, groups
from .pixel_metrics import PixelMetrics, check_limit
from .ranks import DefectPixels, rank

Source = Iterable["tuple[Any, Any] | tuple[Any, Any, str]"]


def evaluate_maps(
    source: Source,
    *,
    fpr_limit: float = 1.0,
    connectivity: int = 8,
    names: Sequence[str] | None = None,
    progress: Progress = silent,
) -> PixelMetrics:
    """Exact metrics of a set that is read twice, one image at a time: memory grows with its defect pixels alone.

    Args:
        source: gives (map, mask) or (map, mask, defect type) of every image, [H, W] each as in `au_pro`, and the same
            again when iterated again: a list, or an object whose `__iter__` reads files.
        fpr_limit: count up to this false-positive rate: with 0.3, AU-PRO up to 0.3 costs less and nothing else is
            known.
        connectivity: 8 or 4, what makes defect pixels one region.
        names: what errors call the images; by default "image 0", …
        progress: told of every image read.

    Raises:
        DataError: as `au_pro`, or if the source cannot be read twice.
    """
    check_limit(fpr_limit)
    check_connectivity(connectivity)
    if iter(source) is source:
        raise DataError("source is an iterator, which can be read only once; give a list, or an object with __iter__")
    found, widths, defects = DefectPixels(), [], []
    total = len(names) if names is not None else len(source) if isinstance(source, Sized) else 0

    def name_of(i: int) -> str:
        return names[i] if names is not None else f"image {i}"

    def read(stage: str) -> Iterator[tuple[Pair, str]]:
        for i, item in enumerate(source):
            yield check_pair(item[0], item[1], name_of(i)), item[2] if len(item) > 2 else ""
            progress(stage, i + 1, max(total, i + 1), {})

    def first() -> Iterator[Pair]:
        for pair, defect in read("Defects"):
            widths.append(pair[0].shape[1])
            defects.append(defect)
            yield pair

    for scores, truth in groups(first()):
        found.add(scores, truth, connectivity)
    ranks = rank(found, lambda: (pair for pair, _ in read("Background")), fpr_limit, name_of)
    return PixelMetrics(ranks, widths, defects, lambda: (pair for pair, _ in read("Images")), name_of)


class ProEvaluator:
    """Collects anomaly maps, batch by batch, and computes their exact metrics: `update`, `merge`, `compute`, `reset`.

    Maps are kept as float32 (float64 if they are that), beyond `memory_budget` in a temporary file; of the masks only
    the regions are kept. An evaluator can be pickled, so that several processes can send theirs to one that merges.
    To keep nothing at all, see `evaluate_maps`.

    Args:
        connectivity: 8 or 4, what makes defect pixels one region.
        memory_budget: bytes of maps kept in memory.
        folder: for the temporary file; by default the system's.

    Raises:
        DataError: connectivity is neither 4 nor 8.
    """

    def __init__(
        self, *, connectivity: int = 8, memory_budget: int = 2**30, folder: str | os.PathLike[str] | None = None
    ) -> None:
        check_connectivity(connectivity)
        self.connectivity = connectivity
        self.memory_budget = memory_budget
        self.folder = folder
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._found = DefectPixels()
        self._maps: list[NDArray[Any]] = []
        self._widths: list[int] = []
        self._defects: list[str] = []
        self._in_memory = 0

    def __len__(self) -> int:
        return len(self._maps)

    def update(self, maps: Maps, masks: Maps, defects: Sequence[str] | str = "") -> ProEvaluator:
        """Take further images.

        Args:
            maps, masks: as in `au_pro`, one image or many, of any sizes.
            defects: type of the defect, one for all or one each; only for `per_defect` and `regions`.

        Raises:
            DataError: as `au_pro`; then nothing of the call is kept.
            OutputError: the temporary file cannot be written.
        """
        pairs = list(Pairs(maps, masks))
        types = [defects] * len(pairs) if isinstance(defects, str) else list(defects)
        if len(types) != len(pairs):
            raise DataError(f"{len(types)} defect types but {len(pairs)} maps; give one for each")
        for i, (scores, _) in enumerate(pairs):
            if bool(scores.isnan().any()):
                raise DataError(f"image {len(self) + i}: maps contain NaN; the detector or its input is broken there")
        kept = [self._keep(scores) for scores, _ in pairs]
        for group in groups(pairs):
            self._found.add(*group, self.connectivity)
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
        self._found.merge(other._found)
        for scores in other._maps:
            self._maps.append(scores if isinstance(scores, np.memmap) else self._keep(torch.from_numpy(scores)))
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
        maps = list(self._maps)  # what is added later does not belong to the result

        def images() -> Iterator[Pair]:
            for scores in maps:
                yield (tensor := torch.from_numpy(scores)), tensor

        def name_of(i: int) -> str:
            return f"image {i}"

        ranks = rank(self._found, images, fpr_limit, name_of)
        return PixelMetrics(ranks, list(self._widths), list(self._defects), images, name_of)

    def _keep(self, scores: Tensor) -> NDArray[Any]:
        values = scores.numpy()
        if self._in_memory + values.nbytes <= self.memory_budget or not values.size:
            self._in_memory += values.nbytes
            return values.copy()
        return _spill(values, self.folder)

    def __getstate__(self) -> dict[str, Any]:
        # A temporary file is this process's own: what travels carries its content.
        return {**self.__dict__, "_maps": [np.array(scores) for scores in self._maps]}


def _spill(values: NDArray[Any], folder: str | os.PathLike[str] | None) -> NDArray[Any]:
    """The array in a temporary file without a name: it vanishes with the last view of it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            values.tofile(file)
            file.flush()
            mapped: NDArray[Any] = np.memmap(file, values.dtype, "r+", shape=values.shape)
    except OSError as error:
        place = Path(folder or tempfile.gettempdir())
        raise OutputError(
            f"{place}: cannot hold {values.nbytes} bytes of maps ({error.strerror or error}); name another folder, "
            "or read the maps twice with evaluate_maps"
        ) from error
    return mapped


def check_connectivity(connectivity: int) -> None:
    """Raise DataError unless it is 4 or 8."""
    if connectivity not in (4, 8):
        raise DataError(f"connectivity is {connectivity}; it must be 4 or 8")
