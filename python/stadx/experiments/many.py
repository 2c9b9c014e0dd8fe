"""Train a detector for each of many categories, and measure it: each goes on where it was stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stadx.core.errors import DataError, OutputError, StadxError
from stadx.core.files import write_bytes
from stadx.core.progress import Progress
from stadx.core.version import package_version
from stadx.data.folders import subfolders
from stadx.data.layouts import categories, open_category, training_images
from stadx.data.source import fingerprint
from stadx.detectors.student_teacher.detector import Detector
from stadx.detectors.student_teacher.settings import for_images
from stadx.evaluation.of_detector import evaluate
from stadx.evaluation.spro import SPRO_LIMIT


@dataclass(frozen=True)
class Trained:
    """What became of a category; `error` says why, where nothing did.

    Attributes:
        name: of the category.
        model: the file.
        images: number of training images.
        threshold, image_threshold: of the model.
        metrics: image AUROC, pixel AUROC and AU-PRO, of MVTec LOCO AD AU-sPRO too; None where undefined, or there are
            no test images.
        seconds: that training and measuring took, since they were last started.
        kept: whether a previous run had done it.
    """

    name: str
    model: str
    images: int = 0
    threshold: float | None = None
    image_threshold: float | None = None
    metrics: Mapping[str, float | None] | None = None
    seconds: float = 0.0
    kept: bool = False
    error: str = ""


@dataclass(frozen=True)
class CategoryTask:
    """The training of one category; may travel to another process.

    Attributes:
        data: folder of the category, or of good images.
        out: folder of NAME.safetensors and NAME.json, what is known of it.
        settings: of `Detector`; "epochs" stands for "steps".
        device: where to train and score.
    """

    data: Path
    out: Path
    settings: Mapping[str, Any]
    device: str = "cpu"

    def __call__(self, progress: Progress) -> Trained:
        """Train and measure, or take what a previous run made of the same images with the same settings."""
        name = self.data.resolve().name

        def told(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
            progress(f"{name}: {stage}", done, total, figures)

        try:
            return self._trained(name, told)
        except OutputError:
            raise  # nothing of the others could be written either
        except StadxError as error:
            return Trained(name, os.fspath(self._model(name)), error=str(error))

    def _model(self, name: str) -> Path:
        return self.out / f"{name}.safetensors"

    def _trained(self, name: str, progress: Progress) -> Trained:
        images, model, record = training_images(self.data), self._model(name), self.out / f"{name}.json"
        detector = Detector(**for_images(self.settings, len(images))).to(self.device)
        made = {"stadx": package_version(), "images": fingerprint(images), "settings": detector.settings}
        made = json.loads(json.dumps(made, default=str))
        before = _read(record)
        if model.is_file() and before.get("made_of") == made:
            return replace(Trained(**before["trained"]), kept=True)
        begin = time.perf_counter()
        detector.fit(images, progress=progress, checkpoint=f"{model}.part")
        metrics = None
        try:
            category = open_category(self.data)
        except DataError:  # a folder of good images
            category = None
        if category is not None:
            found = evaluate(detector, category, progress=progress)
            metrics = {"image_auroc": found.image_auroc, "pixel_auroc": found.pixel_auroc, "au_pro": found.au_pro}
            if found.spro is not None:
                metrics["au_spro"] = found.spro.mean[SPRO_LIMIT]
        thresholds = float(detector.threshold_), float(detector.image_threshold())
        seconds = time.perf_counter() - begin
        trained = Trained(name, os.fspath(model), len(images), *thresholds, metrics, seconds)
        detector.save(model)  # the checkpoint goes
        write_bytes(record, (json.dumps({"made_of": made, "trained": asdict(trained)}, indent=2) + "\n").encode())
        return trained


def tasks_of(folder: Path, out: Path, settings: Mapping[str, Any], device: str = "cpu") -> list[CategoryTask]:
    """A task for each category in a folder, or where there is none for each sub-folder with images.

    Raises:
        DataError: if there is neither.
    """
    places: Sequence[Path] = categories(folder) or subfolders(folder)
    if not places:
        raise DataError(f"{folder}: holds no categories and no folders of good images; check the name")
    return [CategoryTask(place, out, settings, device) for place in places]


def _read(record: Path) -> dict[str, Any]:
    try:
        found = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
