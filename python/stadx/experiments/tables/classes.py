"""AUROC of a system with one class of MNIST or CIFAR-10 as good: a cell of Tables 6 and 7."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stadx.core.errors import DataError
from stadx.core.files import read_model
from stadx.core.progress import Progress
from stadx.data.labeled import LabeledSet, read_labeled
from stadx.detectors.baselines import METHODS, Baseline, DescriptorBaseline
from stadx.metrics import auroc
from stadx.networks.patch_network import normalize_images
from stadx.networks.winograd import run_layers
from stadx.teachers.teacher_files import TEACHER_VERSION, load_teacher, shipped_teacher

from ..one_class import OneClassEnsemble, fingerprint_labeled, zoomed
from ..request import Budget, Request
from ..settings import OneClassSettings
from .categories import BASELINES, make_baseline, train_baseline
from .published_tables import PublishedTable

PATCH_SIZE = 33
OURS = "Ours (1, 0, 1)"  # the teachers that come with stadx have no triplets
TEACHER_COLUMNS = (OURS, "Ours (1, 1, 1)", "Ours (0, 1, 1)", "Ours (1, 0, 0)")
_WEIGHTS = ("distillation_weight", "triplet_weight", "compactness_weight")
_FOR_AUTOENCODERS = {"learning_rate": 1e-2, "batch": 64}  # the paper's, other than on MVTec AD

T = TypeVar("T")
_kept: dict[tuple[str, ...], Any] = {}  # what the classes of a data set share, in this process


def _once(key: tuple[str, ...], make: Callable[[], T]) -> T:
    if key not in _kept:
        _kept[key] = make()
    found: T = _kept[key]
    return found


def forget() -> None:
    """Read data anew when they are next asked for."""
    _kept.clear()


def labeled(place: Path, progress: Progress) -> LabeledSet:
    """The data set, read once."""
    return _once(("data", str(place)), lambda: read_labeled(place, progress))


def find_set(table: PublishedTable, places: Sequence[Path], progress: Progress) -> Path:
    """The one of `places` that holds the data of Table 6 or 7.

    Raises:
        DataError: if there is none.
    """
    for place in places:
        if set(labeled(place, progress).classes) == set(table.rows):
            return place
    classes = ", ".join(labeled(places[0], progress).classes)
    raise DataError(f"{places[0]}: is not the data of {table.title}; its classes are {classes}")


def set_hash(place: Path, progress: Progress) -> str:
    """SHA-256 of its images and labels."""
    return _once(("hash", str(place)), lambda: fingerprint_labeled(labeled(place, progress)))


def teacher_files(given: Mapping[str, Path]) -> dict[str, Path]:
    """The teachers by column: those that are given, and for the weights (1, 0, 1) else the one that comes with stadx.

    Raises:
        DataError: for an unknown column, another patch size, or a teacher whose card tells of other weights.
        ModelFileError: for a file that is no teacher.
    """
    for column, file in given.items():
        if column not in TEACHER_COLUMNS:
            raise DataError(f"{column}: there is no such teacher; there are {', '.join(TEACHER_COLUMNS)}")
        if (p := load_teacher(file).patch_size) != PATCH_SIZE:
            raise DataError(f"{file}: is a teacher for p = {p}; these tables need one for p = {PATCH_SIZE}")
        card = read_model(file, "teacher", TEACHER_VERSION)[0].get("card", {})
        if all(weight in card for weight in _WEIGHTS):
            made = f"Ours {tuple(int(card[weight] > 0) for weight in _WEIGHTS)}"
            if made != column:
                raise DataError(f"{file}: was trained for {made}, by its weights, not for {column}; name it so")
    files = {OURS: shipped_teacher(PATCH_SIZE), **given}
    return {column: files[column] for column in TEACHER_COLUMNS if column in files}


def measure_class(request: Request, place: Path, row: str, column: str, seed: int, progress: Progress) -> float:
    """AUROC over the test set of a system with the class `row` as good."""

    def shown(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        progress(f"{request.label(row, column, seed)}: {stage}", done, total, figures)

    data = labeled(place, progress)
    label = data.classes.index(row)
    others = (data.test.labels != label).numpy()
    train = zoomed(data.train.images[data.train.labels == label], PATCH_SIZE)
    test = _once(("zoomed", str(place)), lambda: zoomed(data.test.images, PATCH_SIZE))
    teachers = teacher_files(request.teachers)
    if column in teachers:
        settings = OneClassSettings(seed=seed, **request.budget.one_class)
        ensemble = OneClassEnsemble(load_teacher(teachers[column]), settings, torch.device(request.device))
        e, v = ensemble.fit(train, shown).error_and_variance(test, shown)
        both = request.budget.detector.get("terms") == "both"
        return round(auroc((ensemble.normalization.score(e, v) if both else e).numpy(), others), 6)
    if not issubclass(METHODS[BASELINES[column]], DescriptorBaseline):
        images, content = data.train.images[data.train.labels == label], set_hash(place, progress)
        baseline = train_baseline(column, images, content, request, seed, row, shown)
        return round(auroc(_mean_scores(baseline, data.test.images, shown), others), 6)
    # the paper: 1-NN keeps every vector
    detector = make_baseline(column, request.budget, seed, row, **_FOR_AUTOENCODERS)
    teacher = teachers[OURS]
    key = str(place), str(teacher)
    good = _once(("train", *key, row), lambda: _described(teacher, train, row, shown))
    every = _once(("test", *key), lambda: _described(teacher, test, "test", shown))
    scores = detector.fit_descriptors(good, progress=shown).score_descriptors(every)
    return round(auroc(scores.numpy(), others), 6)


def _mean_scores(baseline: Baseline, images: Tensor, progress: Progress) -> NDArray[np.float32]:
    """The mean of the map of each image, float32 [N]."""
    found = []
    pieces = torch.split(images, 8)
    for done, piece in enumerate(pieces, 1):
        found.append(baseline.score(piece).mean((1, 2)))
        progress("Test images", done, len(pieces), {})
    return torch.cat(found).numpy()


@torch.no_grad()
def _described(teacher: Path, patches: Tensor, part: str, progress: Progress) -> Tensor:
    """The teacher's descriptors [N, d] of patches uint8 [N, 3, p, p]."""
    network = load_teacher(teacher)
    found = []
    pieces = torch.split(patches, 256)
    for done, piece in enumerate(pieces, 1):
        x = normalize_images(piece).contiguous(memory_format=torch.channels_last)
        found.append(run_layers(network.layers, x).flatten(1))
        progress(f"descriptors, {part}", done, len(pieces), {})
    return torch.cat(found)


def settings_of(column: str, budget: Budget) -> dict[str, Any]:
    """All settings of a system of Tables 6 and 7."""
    if column in BASELINES:
        if not issubclass(METHODS[BASELINES[column]], DescriptorBaseline):
            return make_baseline(column, budget, 0).settings
        settings = make_baseline(column, budget, 0, "", **_FOR_AUTOENCODERS).settings
        of_maps = ("image_size", "target_fpr", "image_fpr", "held_out", "teacher")
        kept = {name: value for name, value in settings.items() if name not in of_maps}
        return {**kept, "patch_size": PATCH_SIZE, "samples": "all of the class"}
    return {**asdict(OneClassSettings(**budget.one_class)), "terms": budget.detector.get("terms", "e")}
