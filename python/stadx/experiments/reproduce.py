"""The paper's tables run anew: on categories in MVTec AD layout (1 and 3), on MNIST and CIFAR-10 (6 and 7)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..baselines import METHODS, Baseline
from ..data.labeled import LabeledSet, read_labeled
from ..data.layouts import categories, open_category, training_images
from ..data.source import ImageSource, fingerprint
from ..detector import Detector
from ..errors import DataError
from ..evaluation import evaluate
from ..files import check_writable, write_bytes
from ..metrics import auroc
from ..networks import normalize_images
from ..progress import Progress, silent
from ..teacher import load_teachers
from ..version import versions
from ..winograd import run_layers
from .one_class import OneClassEnsemble, OneClassSettings, fingerprint_labeled, zoomed
from .published_tables import PublishedTable, Reproduction
from .variants import HeldOut

_SHALLOW = {"1-NN": "knn", "OC-SVM": "ocsvm", "K-Means": "kmeans", "ℓ2-AE": "l2-ae", "VAE": "vae"}
_SCALES = {"Ours p = 65": (65,), "p = 17": (17,), "p = 33": (33,), "p = 65": (65,), "Multiscale": (17, 33, 65)}
_MEND = "delete it, or name another folder"
_OURS = "Ours (1, 0, 1)"  # the teachers that come with stadx have no triplets


@dataclass(frozen=True)
class Budget:
    """How much work a table is given.

    Attributes:
        says: what the table's header says of it.
        detector: arguments of `Detector`; "epochs" instead of "steps" counts them by images.
        baseline: arguments of every baseline; those of autoencoders where they have them.
        one_class: arguments of `OneClassSettings`.
        stride: of scoring.
    """

    says: str
    detector: Mapping[str, Any]
    baseline: Mapping[str, Any]
    one_class: Mapping[str, Any]
    stride: int = 1


BUDGETS = {
    "quick": Budget(
        "quick budget: 300 steps of 3 students (paper: 100 epochs), error alone, every 4th pixel; baselines on at most "
        "10,000 descriptors, 20 epochs; MNIST and CIFAR-10: 150 steps of 2 students",
        {"steps": 300},
        {"samples": 10_000, "epochs": 20},
        {"students": 2, "steps": 150},
        4,
    ),
    "default": Budget(
        "stadx's own settings: 2,000 steps of 3 students (paper: 100 epochs), error alone; baselines as in the paper; "
        "MNIST and CIFAR-10: 500 steps of 5 students",
        {},
        {},
        {},
    ),
    "paper": Budget(
        "the paper's settings: 100 epochs of whole images, Adam at 1e-4, error and variance",
        {
            "epochs": 100,
            "batch": 1,
            "crop": None,
            "focus": 0.0,
            "optimizer": "adam",
            "learning_rate": 1e-4,
            "schedule": "constant",
            "dense": True,
            "terms": "both",
        },
        {},
        {"steps": 10_000, "optimizer": "adam", "learning_rate": 1e-4},
    ),
}


@dataclass(frozen=True)
class Request:
    """What to run of a table.

    Attributes:
        data: folder of categories in MVTec AD layout or one of them; for tables 6 and 7 what `read_labeled` takes.
        out: folder for results and detectors; a run that was stopped goes on from there.
        budget: one of `BUDGETS`.
        rows, columns: categories or classes, and systems; empty for all that can be run.
        seeds: how many, from 0.
        device: where students train and score.
    """

    data: Path
    out: Path
    budget: str = "default"
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    seeds: int = 1
    device: str = "cpu"


def reproduce(name: str, request: Request, progress: Progress = silent) -> Reproduction:
    """Run a table as far as the data allow, and write NAME.md, NAME.csv, NAME.tex and NAME.json into `request.out`.

    Raises:
        DataError, MissingExtraError, ModelFileError, OutputError, StadxError: as their messages say.
    """
    table, budget = PublishedTable.of(name), BUDGETS[request.budget]
    check_writable(request.out / f"{name}.json")
    if name in ("table1", "table3"):
        run, rows, known = partial(_of_category, request, budget, progress), _categories(request.data), [*_SCALES]
        content = {row: fingerprint(training_images(folder)) for row, folder in rows.items()}
    else:
        data = read_labeled(request.data, progress)
        if set(data.classes) != set(table.rows):
            raise DataError(f"{request.data}: is not the data of {table.title}; its classes are {data.classes}")
        run = partial(_of_class, request, budget, data, {}, progress)
        rows, known = {c: request.data for c in data.classes}, [_OURS]
        content = {table.title: fingerprint_labeled(data)}
    settings = {"budget": request.budget, "stadx": versions()["stadx"], "data": content}
    store = _Store(request.out / f"{name}.json", settings)
    columns = [c for c in table.columns if c in known or c in _SHALLOW]
    columns = _chosen(request.columns, columns, "system")
    measured: dict[str, dict[str, tuple[float, ...]]] = {}
    for row in _chosen(request.rows, list(rows), "row"):
        measured[row] = {}
        for column in columns:
            compute = [partial(run, rows[row], row, column, seed) for seed in range(request.seeds)]
            figures = [store.get(f"{row} | {column} | seed {seed}", c) for seed, c in enumerate(compute)]
            measured[row][column] = tuple(figures)
    version = ", ".join(f"{name} {number}" for name, number in versions().items())
    header = [
        f"Here: {budget.says}.",
        "Teachers: those that come with stadx, distilled from EfficientNet-Lite0 (paper: ResNet-18).",
        f"Seeds: {request.seeds}. {version}.",
    ]
    result = Reproduction(table, columns, measured, header)
    for ending, text in (("md", result.markdown()), ("csv", result.csv()), ("tex", result.latex())):
        write_bytes(request.out / f"{name}.{ending}", text.encode())
    return result


def _chosen(wanted: Sequence[str], known: Sequence[str], what: str) -> list[str]:
    for name in wanted:
        if name not in known:
            raise DataError(f"{name}: there is no such {what} here; there are {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]


class _Store:
    """Figures in a JSON file, each written when it is known."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.content = path, {"settings": settings, "figures": dict[str, float]()}
        if path.exists():
            try:
                found = json.loads(path.read_bytes())
                other = found["settings"] != settings
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}: is no file of figures ({error}); {_MEND}") from error
            if other:
                raise DataError(f"{path}: holds figures of another budget, data or version; {_MEND}")
            self.content = found

    def get(self, key: str, compute: Callable[[], float]) -> float:
        figures: Any = self.content["figures"]
        if key not in figures:
            figures[key] = round(compute(), 6)
            write_bytes(self.path, (json.dumps(self.content, indent=1, ensure_ascii=False) + "\n").encode())
        return float(figures[key])


def _categories(data: Path) -> dict[str, Path]:
    """Folders by the names that the paper's tables have."""
    folders = categories(data)
    if not folders:
        raise DataError(f"{data}: is no category, nor a folder of such; give one of the two")
    return {p.resolve().name.replace("_", " ").capitalize(): p for p in folders}


def _of_category(
    request: Request, budget: Budget, progress: Progress, folder: Path, row: str, column: str, seed: int
) -> float:
    """AU-PRO of a system on a category."""
    label = f"{row}, {column}"

    def shown(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        progress(f"{label}: {stage}", done, total, figures)

    images = training_images(folder)
    detector: Detector | Baseline
    if column in _SCALES:
        detector = _ours(_SCALES[column], images, request, budget, seed, row, shown).to(request.device)
    else:
        detector = _baseline(_SHALLOW[column], budget, seed).fit(images, progress=shown)
    figure = evaluate(detector, open_category(folder), stride=budget.stride, progress=shown).au_pro
    if figure is None:
        raise DataError(f"{folder}: has no defects to measure AU-PRO on")
    return figure


def _ours(
    scales: tuple[int, ...],
    images: Sequence[Path],
    request: Request,
    budget: Budget,
    seed: int,
    row: str,
    progress: Progress,
) -> Detector:
    """A detector of these scales, each trained once and kept: every scale is the same alone and with others."""
    settings = dict(budget.detector)
    if (epochs := settings.pop("epochs", None)) is not None:
        settings["steps"] = epochs * len(images)
    parts = []
    for p in scales:
        digest = hashlib.sha256(f"{fingerprint(images)} {sorted(settings.items(), key=str)}".encode()).hexdigest()[:12]
        file = request.out / "models" / f"{row.replace(' ', '_')}-p{p}-seed{seed}-{digest}.safetensors"
        if not file.exists():
            part = Detector((p,), seed=seed, **settings).to(request.device)
            part.fit(images, progress=progress, checkpoint=f"{file}.part").save(file)
        parts.append(Detector.load(file))
    if len(parts) == 1:
        return parts[0]
    whole = Detector(scales, seed=seed, **settings)
    whole.ensembles_ = [part.ensembles_[0] for part in parts]
    return HeldOut(whole, ImageSource(images, whole.image_size), progress).variant()


def _baseline(method: str, budget: Budget, seed: int, **more: Any) -> Baseline:
    detector = METHODS[method]
    own = detector(seed=seed).settings
    given = {k: v for k, v in budget.baseline.items() if k in own}
    if "samples" in given:
        given["samples"] = min(given["samples"], own["samples"])
    return detector(seed=seed, **{**given, **{k: v for k, v in more.items() if k in own}})


def _of_class(
    request: Request,
    budget: Budget,
    data: LabeledSet,
    kept: dict[str, Any],
    progress: Progress,
    folder: Path,
    row: str,
    column: str,
    seed: int,
) -> float:
    """AUROC of a system with one class as good."""
    label = data.classes.index(row)
    others = (data.test.labels != label).numpy()
    mine = data.train.labels == label
    if not kept:
        kept["test"] = zoomed(data.test.images, 33)
        kept["train"] = zoomed(data.train.images, 33)

    def shown(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        progress(f"{row}, {column}: {stage}", done, total, figures)

    if column == _OURS:
        (teacher,) = load_teachers((33,), [])
        settings = OneClassSettings(seed=seed, **budget.one_class)
        ensemble = OneClassEnsemble(teacher, settings, torch.device(request.device))
        ensemble.fit(kept["train"][mine], shown)
        e, v = ensemble.error_and_variance(kept["test"])
        scores = ensemble.normalization.score(e, v) if request.budget == "paper" else e
        return auroc(scores.numpy(), others)
    if "descriptors" not in kept:
        kept["descriptors"] = {part: _described(kept[part], part, shown) for part in ("train", "test")}
    # the paper: 1-NN keeps every vector; the autoencoders have a learning rate of 1e-2 and batches of 64
    detector = _baseline(_SHALLOW[column], budget, seed, learning_rate=1e-2, batch=64)
    return auroc(
        detector.fit_descriptors(kept["descriptors"]["train"][mine], progress=shown)
        .score_descriptors(kept["descriptors"]["test"])
        .numpy(),
        others,
    )


@torch.no_grad()
def _described(patches: Tensor, part: str, progress: Progress) -> Tensor:
    """The teacher's descriptors [N, d] of patches uint8 [N, 3, p, p]."""
    (teacher,) = load_teachers((patches.shape[-1],), [])
    found = []
    pieces = torch.split(patches, 256)
    for done, piece in enumerate(pieces, 1):
        x = normalize_images(piece).contiguous(memory_format=torch.channels_last)
        found.append(run_layers(teacher.layers, x).flatten(1))
        progress(f"descriptors, {part}", done, len(pieces), {})
    return torch.cat(found)
