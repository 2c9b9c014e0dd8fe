"""The demonstration: a small data set of its own, a detector per category, and a report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stadx.core.files import check_writable
from stadx.core.progress import Progress, silent
from stadx.data.demo.demo_set import write_demo_set
from stadx.data.images import read_image
from stadx.data.layouts import open_category
from stadx.detectors.student_teacher.detector import Detector
from stadx.evaluation.of_detector import Evaluation, evaluate
from stadx.evaluation.pictures import write_pictures
from stadx.evaluation.report.html import write_report
from stadx.evaluation.report.overlay import scale_for

PATCH_SIZE = 33
IMAGE_SIZE = 128
IMAGE_FPR = 0.02  # 60 good images can promise that; at 5 % half of all demos would flag one of twelve good ones
REPORT = "report.html"


@dataclass(frozen=True)
class DemoSettings:
    """How much work the demonstration does, images per category and training, and what its report says of that."""

    train: int
    test_good: int
    test_defect: int
    students: int
    steps: int
    note: str = ""


FULL = DemoSettings(train=60, test_good=6, test_defect=9, students=3, steps=250)
QUICK = DemoSettings(
    train=8,
    test_good=2,
    test_defect=3,
    students=1,
    steps=20,
    note="Quick: few images, one student and few steps, to see that everything runs. What the method can do, "
    "stadx demo without --quick shows.",
)


def run_demo(
    out: str | os.PathLike[str], settings: DemoSettings = FULL, *, progress: Progress = silent
) -> list[Evaluation]:
    """Write the demo set into `out`, train, evaluate, and write models, maps and report.html beside it.

    Raises OutputError when `out` cannot be written.
    """
    out = Path(out)
    check_writable(out / REPORT)
    folders = write_demo_set(
        out / "data",
        size=IMAGE_SIZE,
        train=settings.train,
        test_good=settings.test_good,
        test_defect=settings.test_defect,
    )
    evaluations = []
    for folder in folders:
        category = open_category(folder)
        detector = Detector((PATCH_SIZE,), settings.students, IMAGE_SIZE, image_fpr=IMAGE_FPR, steps=settings.steps)
        detector.fit(category.train, progress=_named(progress, category.name))
        detector.save(out / f"{category.name}.safetensors")
        evaluation = evaluate(detector, category, progress=_named(progress, category.name))
        _write_maps(out / "maps" / category.name, evaluation)
        evaluations.append(evaluation)
    write_report(
        out / REPORT,
        evaluations,
        title="stadx demo",
        intro="Each detector learned from good images alone; these defects are the first that it sees. "
        f"{settings.note}".rstrip(),
    )
    return evaluations


def _named(progress: Progress, category: str) -> Progress:
    return lambda stage, done, total, figures: progress(f"{category}: {stage}", done, total, figures)


def _write_maps(folder: Path, evaluation: Evaluation) -> None:
    scale = scale_for(evaluation.threshold)
    for image in evaluation.images:
        name = f"{image.defect}_{image.path.stem}"
        mask = image.map > evaluation.threshold
        write_pictures(folder, name, read_image(image.path), image.map, mask, scale)
