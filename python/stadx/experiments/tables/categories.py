"""AU-PRO of a system on a category: a cell of Tables 1 and 3."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from stadx.core.errors import DataError
from stadx.core.files import file_hash
from stadx.core.progress import Progress
from stadx.core.version import versions
from stadx.data.layouts import categories, open_category, training_images
from stadx.data.masks import region_files
from stadx.data.source import ImageSource, fingerprint
from stadx.detectors.baselines import METHODS, Baseline, DescriptorBaseline
from stadx.detectors.student_teacher.calibration import calibrate, unseen_errors
from stadx.detectors.student_teacher.detector import Detector
from stadx.detectors.student_teacher.division import Division
from stadx.evaluation.measured_detector import MeasuredDetector
from stadx.evaluation.of_detector import evaluate
from stadx.evaluation.spro import SPRO_LIMIT
from stadx.teachers.teacher_files import shipped_teacher

from ..panels import write_extremes
from ..request import Budget, Request

SCALES = {"Ours p = 65": (65,), "p = 17": (17,), "p = 33": (33,), "p = 65": (65,), "Multiscale": (17, 33, 65)}
"""The columns that are the paper's own system, and their receptive fields."""

BASELINES = {method.paper_name: name for name, method in METHODS.items()}
"""The columns that are baselines, and what `METHODS` calls them."""


def named_categories(data: Path) -> dict[str, Path]:
    """Folders by the names that the paper's tables have."""
    folders = categories(data)
    if not folders:
        raise DataError(f"{data}: is no category, nor a folder of such; give one of the two")
    return {p.resolve().name.replace("_", " ").capitalize(): p for p in folders}


def all_categories(places: Sequence[Path]) -> dict[str, Path]:
    """The categories of several folders.

    Raises:
        DataError: for a folder without any, or two of the same name.
    """
    found: dict[str, Path] = {}
    for place in places:
        for name, folder in named_categories(place).items():
            if name in found:
                raise DataError(f"{folder}: there is a category {name} already, {found[name]}; rename one, or omit it")
            found[name] = folder
    return found


def check_extras(columns: Iterable[str]) -> None:
    """Raise `MissingExtraError` now if one of these systems could not be run later, after long work."""
    for column in columns:
        if column in BASELINES:
            METHODS[BASELINES[column]].check_extras()


def content_hashes(places: Mapping[str, Path], progress: Progress) -> tuple[dict[str, str], dict[str, str]]:
    """Of each category its hash; or, where it cannot be used, why, in a dictionary of its own."""
    hashes, broken = dict[str, str](), dict[str, str]()
    for row, folder in places.items():
        try:
            hashes[row] = content_hash(folder, progress)
        except DataError as error:
            broken[row] = str(error)
    return hashes, broken


def content_hash(folder: Path, progress: Progress) -> str:
    """SHA-256 over names and contents of a category's training and test images and masks."""
    category = open_category(folder)
    masks = [image.mask for image in category.test if image.mask is not None]
    files = [file for mask in masks for file in (region_files(mask) if os.path.isdir(mask) else [mask])]
    paths = [*category.train, *(image.path for image in category.test), *files]
    if category.defects_config is not None:
        paths.append(category.defects_config)
    digest = hashlib.sha256()
    for done, path in enumerate(paths, 1):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); copy it anew") from error
        name = Path(os.path.relpath(path, folder)).as_posix().encode("utf-8", "surrogateescape")
        digest.update(name + b"\0" + hashlib.sha256(content).digest())
        progress(f"Hash of {category.name}", done, len(paths), {})
    return digest.hexdigest()


def measure_category(request: Request, folder: Path, row: str, column: str, seed: int, progress: Progress) -> float:
    """What `metric_of` says, of a system; for the first seed also a picture of the defects found worst and best."""

    def shown(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        progress(f"{request.label(row, column, seed)}: {stage}", done, total, figures)

    images, category = training_images(folder), replace(open_category(folder), validation=())
    if not category.has_defects:  # found out before anything is trained
        raise DataError(f"{folder}: has no defects to measure AU-PRO on")
    detector: MeasuredDetector
    if column in SCALES:
        detector = train_detector(SCALES[column], images, request, seed, row, shown)
    else:
        detector = train_baseline(column, images, fingerprint(images), request, seed, row, shown)
    evaluation = evaluate(detector, category, stride=request.budget.stride, at=request.compared_at, progress=shown)
    if evaluation.au_pro is None:
        raise DataError(f"{folder}: AU-PRO is undefined. {' '.join(evaluation.notes)}")
    if seed == 0:
        write_extremes(picture_file(request, row, column), evaluation)
    figure = evaluation.au_pro if evaluation.spro is None else evaluation.spro.mean[SPRO_LIMIT]
    return round(figure, 6)


def metric_of(row: str, folder: Path) -> str:
    """What is measured of a category, in a sentence; empty for AU-PRO up to 0.3."""
    category = open_category(folder)
    if category.defects_config is not None:
        kinds = " and ".join(kind.replace("_", " ") for kind in category.defects)
        return f"{row}: AU-sPRO up to {SPRO_LIMIT:g}, the mean of {kinds}, as the set's authors take it."
    if category.fpr_limit is not None:
        return f"{row}: AU-PRO up to {category.fpr_limit:g}, as the set's authors take it."
    return ""


def picture_file(request: Request, row: str, column: str) -> Path:
    """Where `measure_category` puts its picture: another file for other settings, as their figures are others."""
    settings = json.dumps(settings_of(column, request, row), sort_keys=True, default=str)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    return request.out / "pictures" / f"{row}, {column}, {digest}.png"


def train_detector(
    scales: tuple[int, ...], images: Sequence[Path], request: Request, seed: int, row: str, progress: Progress
) -> Detector:
    """A detector of these scales, each trained once and kept: every scale is the same alone and with others."""
    parts = [Detector.load(file) for file in _train(scales, images, request, seed, row, progress)]
    if len(parts) == 1:
        return parts[0].to(request.device)
    whole = Detector(scales, seed=seed, **request.budget.detector_settings(len(images))).to(request.device)
    source, ensembles = ImageSource(images, whole.image_size), [part.ensembles_[0] for part in parts]
    errors = unseen_errors(ensembles, source, Division.of(whole, len(source)), whole.stride, progress, whole.device)
    together = Detector.from_parts(whole.settings, ensembles, *calibrate(errors, whole, ensembles))
    together.value_range_ = source.value_range
    return together.to(request.device)


def _train(
    scales: tuple[int, ...], images: Sequence[Path], request: Request, seed: int, row: str, progress: Progress
) -> list[Path]:
    """The files of detectors of one scale each, trained where they are not there yet."""
    files = []
    for p in scales:
        settings = request.budget.detector_settings(len(images))
        if p == 65 and settings.get("border", "inside") == "inside":
            settings["border"] = "reflect"  # as beside other scales, see `DetectorSettings.is_inside`
        own = {**Detector((p,), **settings).settings, "teacher": file_hash(shipped_teacher(p))}
        file = _model_file(request, row, f"p{p}", seed, fingerprint(images), own)
        if not file.exists():
            part = Detector((p,), seed=seed, **settings).to(request.device)
            part.fit(images, progress=progress, checkpoint=f"{file}.part").save(file)
        files.append(file)
    return files


def train_baseline(
    column: str,
    data: Sequence[Path] | Tensor,
    content: str,
    request: Request,
    seed: int,
    row: str,
    progress: Progress,
) -> Baseline:
    """A baseline, trained once on `data`, whose hash is `content`, and kept."""
    detector = make_baseline(column, request.budget, seed, row)
    device = request.device if detector.on_gpu else "cpu"
    own = dict(detector.settings)
    if isinstance(detector, DescriptorBaseline):
        own["teacher"] = file_hash(detector.teacher or shipped_teacher(detector.patch_size))
    file = _model_file(request, row, detector.method, seed, content, own)
    if not file.exists():
        detector.to(device).fit(data, progress=progress, checkpoint=f"{file}.part").save(file)
    return Baseline.load(file).to(device)


def _model_file(request: Request, row: str, system: str, seed: int, content: str, settings: Mapping[str, Any]) -> Path:
    depends_on = content, versions()["stadx"], sorted(settings.items(), key=str)
    digest = hashlib.sha256(str(depends_on).encode()).hexdigest()[:12]
    return request.out / "models" / f"{row.replace(' ', '_')}-{system}-seed{seed}-{digest}.safetensors"


def make_baseline(column: str, budget: Budget, seed: int, row: str = "", **more: Any) -> Baseline:
    """An untrained baseline with the budget's settings, those for textures where the row is one, and `more`.

    Settings that it does not have are left out.
    """
    method = METHODS[BASELINES[column]]
    own = method(seed=seed).settings
    given = budget.baseline_settings(method)
    texture = method.texture_settings if budget.is_texture(row) else {}
    return method(seed=seed, **{**texture, **given, **{k: v for k, v in more.items() if k in own}})


def settings_of(column: str, request: Request, row: str | None = None) -> dict[str, Any]:
    """All settings of a system of Tables 1 and 3 but the seed: on a row; on all, those for textures apart."""
    budget, shared = request.budget, {"stride": request.budget.stride, "compared_at": request.compared_at}
    if column in SCALES:
        settings = {**Detector(SCALES[column], **budget.detector_settings(1)).settings, **shared}
        if "epochs" in budget.detector:
            settings["steps"] = f"{budget.detector['epochs']} epochs"
    else:
        settings = {**make_baseline(column, budget, 0, row or "").settings, **shared}
        if settings.get("samples", 0) is None:
            settings["samples"] = "all"
        texture = METHODS[BASELINES[column]].texture_settings
        if row is None and texture:
            settings |= {"for textures": dict(texture), "textures": ", ".join(budget.textures)}
    settings.pop("seed")
    return settings


def teachers_of(column: str) -> dict[str, str]:
    """SHA-256 of the teachers that a system of Tables 1 and 3 takes."""
    return teacher_hashes(scales_of(column))


def teacher_hashes(scales: Iterable[int]) -> dict[str, str]:
    """SHA-256 of teachers that come with stadx."""
    return {f"teacher p = {p}": file_hash(shipped_teacher(p)) for p in scales}


def scales_of(column: str) -> tuple[int, ...]:
    """Of the teachers that a system takes; none for one that reads pixels."""
    if column in SCALES:
        return SCALES[column]
    method = METHODS[BASELINES[column]]
    return (method().patch_size,) if issubclass(method, DescriptorBaseline) else ()


def device_of(column: str, device: str) -> str:
    """Where a system works if it can work on `device`."""
    return device if column not in BASELINES or METHODS[BASELINES[column]].on_gpu else "cpu"
