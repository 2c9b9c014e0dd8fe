"""The commands `stadx review` and `stadx data from-review`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import BAD_INPUT, ShownProgress, fail, listing, say
from .opening import apply_region, open_model
from .options import ModelFile, OtherImageFpr, OtherTargetFpr, Region, ScoringDevice, Stride, number, recursive_option

if TYPE_CHECKING:
    from stadx.detectors.base import Calibrated
    from stadx.evaluation.review.format import Model

ReviewFile = Annotated[Path, typer.Argument(help="JSON that the page of `stadx review` saved.")]
FROM_REVIEW = typer.Option(
    "--from",
    metavar="REVIEW",
    help="Learn the images judged good in this JSON, saved by the page of `stadx review`.",
    show_default="none",
)


ORDER_OPTION = typer.Option(
    metavar="CSV",
    help="Show the images that this table's column path names, in its order, such as that of `stadx rank`.",
    show_default="all, the highest score first",
)


def review(
    model: ModelFile,
    folder: Annotated[Path, typer.Argument(help="Folder of images.")],
    out: Annotated[Path, typer.Option(help="Folder for review.html.")],
    recursive: Annotated[bool, recursive_option("show")] = True,
    roi: Region = None,
    stride: Stride = None,
    order: Annotated[Path | None, ORDER_OPTION] = None,
    target_fpr: OtherTargetFpr = None,
    image_fpr: OtherImageFpr = None,
    device: ScoringDevice = "cpu",
) -> None:
    """Write a page on which a person judges images: good, defect or unsure, and paints masks. It needs no server.

    Its button Save writes a JSON for `stadx update --from` and `stadx data from-review`.
    """
    from stadx.core.errors import DataError
    from stadx.evaluation.prediction import collect_images
    from stadx.evaluation.review.writing import read_order, write_review

    if folder.is_file():
        raise DataError(f"{folder}: is a file; name the folder that it is in")
    with listing():
        paths = collect_images([folder], recursive=recursive, without=[out])
    if order is not None:
        every, paths = len(paths), read_order(order, folder, paths)
        others = "; the others are left out" if len(paths) < every else ""
        say(f"{order}: names {len(paths)} of the {every} images{others}.")
    detector = open_model(model, device, target_fpr, image_fpr)
    given: dict[str, Any] = {"stride": number(stride), "roi": apply_region(detector, roi)}
    with ShownProgress() as progress:
        page, failures = write_review(
            detector,
            folder,
            paths,
            out,
            model=model_of(detector, model),
            **given,
            ordered=order is not None,
            progress=progress,
        )
    say(f"Open in a browser: {page}")
    if failures:
        for failure in failures:
            fail(failure.message)
        fail(f"{len(failures)} of {len(paths)} images could not be scored; the page has the others")
        raise typer.Exit(BAD_INPUT)


def from_review(
    review: ReviewFile,
    out: Annotated[Path, typer.Option(help="New folder for the data set.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Where the reviewed folder of images is now.", show_default="where it was"),
    ] = None,
) -> None:
    """Write reviewed images as a data set with the painted masks, for `stadx calibrate` and `stadx evaluate`."""
    from stadx.evaluation.review.data_set import write_data_set
    from stadx.evaluation.review.reading import read_review

    read = read_review(review, images)
    with ShownProgress() as progress:
        counts = write_data_set(read, out, progress)
    say(f"Data set: {out} ({counts.good} good, {counts.marked} defects with masks, {counts.unmarked} without)")
    if counts.marked and counts.unmarked:
        say(f"Defects without a mask: {out / 'unmarked'}; stadx calibrate --good … --defects … takes them too.")


def model_of(detector: Calibrated, file: Path) -> Model:
    """What a review says of a model: the same hash however often it is saved, where the method has one."""
    from stadx.core.files import file_hash
    from stadx.detectors.student_teacher.detector import Detector
    from stadx.evaluation.review.format import Model

    return Model(file.name, detector.model_hash() if isinstance(detector, Detector) else file_hash(file))


def good_images(review: Path, folder: Path | None, model: Model) -> list[Path]:
    """The images judged good, checked to be those of the review with that model.

    Raises:
        DataError: if they are not, or there are none.
    """
    from stadx.core.errors import DataError
    from stadx.evaluation.review.reading import read_review

    read = read_review(review, folder)
    read.check_model(model)
    good = read.of("good")
    if not good:
        raise DataError(f"{review}: no image is judged good ({read.counts()}), so there is nothing to learn")
    with ShownProgress() as progress:
        read.check_images(good, progress)
    say(f"Review: {read.counts()}; the good ones are the new images.")
    return [image.path for image in good]
