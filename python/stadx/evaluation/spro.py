"""AU-sPRO as MVTec LOCO AD asks for it: each type of anomaly with the good images, then the mean of the types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent
from stadx.core.version import versions
from stadx.data.layouts import good_folders
from stadx.data.layouts.category import GOOD
from stadx.data.maps import open_map_set
from stadx.data.region_files import Config, RegionMaps, RegionsOfImage, read_config, read_regions
from stadx.metrics import SPRO_LIMITS, Regions, auroc, evaluate_maps

from .scored_images import TestScore, has_both_kinds_of_pixels

SPRO_LIMIT = 0.05
"""Of false-positive rates the one up to which the figure that sums all up is taken."""

Image: TypeAlias = tuple[NDArray[Any], RegionsOfImage, str]


class Source(Protocol):
    """Images with regions, read each time it is iterated over."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Image]: ...


@dataclass(frozen=True)
class TypeResult:
    """One type of anomaly, with the good images.

    Attributes:
        images, regions: with anomalies.
        au_spro: by false-positive-rate limit.
        image_auroc: of the highest scores; None without good images.
        per_defect: AU-sPRO at the limit of 0.05, or the first there is, by kind of defect.
    """

    images: int
    regions: int
    au_spro: dict[float, float]
    image_auroc: float | None
    per_defect: dict[str, float]


@dataclass(frozen=True)
class SproEvaluation:
    """AU-sPRO of a category of MVTec LOCO AD.

    Attributes:
        types: by the folders of the images.
        good_images: how many there are.
        clipped: regions whose saturation threshold is above their area, which was taken instead.
        gone: regions of which no pixel is left at the measured size, or looked at; they are left out.
    """

    types: dict[str, TypeResult]
    good_images: int
    clipped: int
    gone: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def mean(self) -> dict[float, float]:
        """Over the types, by limit."""
        limits = next(iter(self.types.values())).au_spro
        return {limit: float(np.mean([t.au_spro[limit] for t in self.types.values()])) for limit in limits}

    @property
    def mean_image_auroc(self) -> float | None:
        """Over the types."""
        found = [t.image_auroc for t in self.types.values() if t.image_auroc is not None]
        return float(np.mean(found)) if found else None

    def to_json(self) -> dict[str, Any]:
        """Everything as values that `json.dumps` takes."""
        return {
            "au_spro": _by_text(self.mean),
            "image_auroc": self.mean_image_auroc,
            "good_images": self.good_images,
            "clipped": self.clipped,
            "gone": self.gone,
            "types": {
                name: {**vars(result), "au_spro": _by_text(result.au_spro)} for name, result in self.types.items()
            },
            "notes": self.notes,
            "versions": versions(),
        }


def _by_text(values: Mapping[float, float]) -> dict[str, float]:
    return {f"{limit:g}": value for limit, value in values.items()}


def evaluate_spro_files(
    maps: Path,
    masks: Path,
    config: Path,
    *,
    limits: Sequence[float] = SPRO_LIMITS,
    progress: Progress = silent,
) -> SproEvaluation:
    """Exact AU-sPRO of maps in files; memory holds some images and all pixels of the regions.

    Args:
        maps: TYPE/NAME.tiff, and those of good images in "good".
        masks: TYPE/NAME/000.png, …, each one region; or the category.
        config: its `defects_config.json`.
        limits: false-positive rates.
        progress: told of every file read.

    Raises:
        DataError: files do not fit together or cannot be read, a map is not of its regions' size, a score is NaN.
    """
    settings = read_config(config)
    found = RegionMaps(open_map_set(maps, masks, regions=True), config, settings)
    good = good_folders()
    kinds = list(dict.fromkeys(item.defect for item in found.maps.items if item.mask is not None))
    named_good = frozenset(item.defect for item in found.maps.items if item.mask is None and item.defect in good)
    return evaluate_spro(lambda kind: found.of(named_good | {kind}), kinds, limits=limits, progress=progress)


def spro_of(images: Sequence[TestScore], config: Path, progress: Progress = silent) -> SproEvaluation | None:
    """AU-sPRO of scored test images, whose regions lie in `truth_path`, at the maps' size, of the pixels that count.

    None where no type of anomaly has a pixel of a region and one of background; a note names types that do not.
    """
    settings = read_config(config)
    sources = {
        kind: [image for image in images if image.is_good or image.defect == kind]
        for kind in dict.fromkeys(image.defect for image in images if not image.is_good)
    }
    kinds = [kind for kind, those in sources.items() if has_both_kinds_of_pixels(those)]
    if not kinds:
        return None
    found = evaluate_spro(lambda kind: _Scored(sources[kind], settings, config), kinds, progress=progress)
    if undefined := [kind for kind in sources if kind not in kinds]:
        why = f"AU-sPRO of {', '.join(undefined)} is undefined: no pixel of a region is left, or none of background."
        found.notes.append(why)
    return found


class _Scored:
    def __init__(self, images: Sequence[TestScore], config: Config, path: Path) -> None:
        self._images, self._config, self._path = images, config, path

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Image]:
        for image in self._images:
            regions = RegionsOfImage([], [], [], 0)
            if image.truth_path is not None:
                regions = read_regions(
                    image.truth_path,
                    image.file_size or image.map.shape,
                    image.path,
                    self._config,
                    self._path,
                    size=image.map.shape,
                    counts=None if image.ignored is None else ~image.ignored,
                )
            scores = image.counted[0]
            yield scores if image.ignored is None else scores[None], regions, image.defect


def evaluate_spro(
    images: Callable[[str], Source],
    kinds: Iterable[str],
    *,
    limits: Sequence[float] = SPRO_LIMITS,
    progress: Progress = silent,
) -> SproEvaluation:
    """Exact AU-sPRO of each type of anomaly.

    Args:
        images: gives the images of a type together with the good ones, a `Source`.
        kinds: the types.
        limits: false-positive rates.
        progress: told of every image read.
    """
    types: dict[str, TypeResult] = {}
    clipped = gone = good = 0
    for kind in kinds:
        source = _Source(images(kind))
        metrics = evaluate_maps(source, fpr_limit=max(limits), progress=_of(kind, progress))
        highest, anomalous = np.array(source.highest), np.array(source.anomalous)
        good = int((~anomalous).sum())
        first = SPRO_LIMIT if SPRO_LIMIT in limits else limits[0]
        areas, names = metrics.region_au_spro(first), np.array(source.defects)
        types[kind] = TypeResult(
            images=int(anomalous.sum()),
            regions=metrics.num_regions,
            au_spro={limit: metrics.au_spro(limit) for limit in limits},
            image_auroc=auroc(highest, anomalous) if good else None,
            per_defect={name: float(areas[names == name].mean()) for name in dict.fromkeys(source.defects)},
        )
        clipped += source.clipped
        gone += source.gone
    if not types:
        raise DataError("there are no images with anomalies, so AU-sPRO is undefined; give maps of some")
    notes = [] if len(types) > 1 else [f"There is one type of anomaly alone ({next(iter(types))}): the mean is of it."]
    if clipped:
        notes.append(f"{clipped} regions have a saturation threshold above their area; their area was taken.")
    if gone:
        notes.append(f"{gone} regions have no pixel left where and at the size they are measured; they are left out.")
    return SproEvaluation(types, good, clipped, gone, notes)


class _Source:
    """Images as `evaluate_maps` takes them; remembers what is known of them."""

    def __init__(self, images: Source) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], Regions, str]]:
        self.highest: list[float] = []
        self.anomalous: list[bool] = []
        self.defects: list[str] = []
        self.clipped = self.gone = 0
        for scores, regions, kind in self._images:
            self.highest.append(float(scores.max()))
            self.anomalous.append(bool(regions.masks or regions.gone))
            self.defects += regions.defects
            self.clipped += regions.clipped
            self.gone += regions.gone
            yield scores, Regions(regions.masks, regions.saturation), kind if regions.masks else GOOD


def _of(kind: str, progress: Progress) -> Progress:
    return lambda stage, done, total, figures: progress(f"{kind}: {stage}", done, total, figures)
