"""The command `stadx calibrate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import BAD_INPUT, ShownProgress, check_not_read, fail, listing, say, show, write_json
from .opening import apply_region, open_model
from .options import (
    ModelFile,
    Region,
    ScoringDevice,
    Stride,
    category_argument,
    images_option,
    json_option,
    number,
    refused,
    share_option,
)
from .setting_options import built
from .tables import calibration_table
from .validation import by_validation

if TYPE_CHECKING:
    from stadx.evaluation.calibration_curve import Goal

_DEFECT_RATE = 0.01
_RATE = f"{_DEFECT_RATE}"
_BESIDE = "beside --out, its name with -calibration.png"


def calibrate(
    model: ModelFile,
    data: Annotated[Path | None, category_argument("--good and --defects")] = None,
    *,
    out: Annotated[Path, typer.Option(help="Model file to write: the same model with the threshold.")],
    good: Annotated[
        list[str] | None,
        images_option("Good images that the model did not learn from: a file, a folder or, in quotes, a pattern"),
    ] = None,
    defects: Annotated[list[str] | None, images_option("Images with defects, likewise; masks are not needed")] = None,
    from_validation: Annotated[
        bool,
        typer.Option(
            "--from-validation",
            help="Set the pixel threshold by --target-fpr and the image threshold by --image-fpr from the good "
            "validation images of DATA, as MVTec AD 2 and MVTec LOCO AD have them; no defects are needed.",
        ),
    ] = False,
    target_fpr: Annotated[
        float | None,
        share_option(
            "For --from-validation: flag at most this share of the pixels of the validation images.", "the model's own"
        ),
    ] = None,
    recall: Annotated[
        float | None,
        share_option(
            "Find at least this share of the defects, and flag as few good images as possible.",
            "0.95, where no other goal is given",
        ),
    ] = None,
    image_fpr: Annotated[
        float | None,
        share_option(
            "Flag at most this share of the good images, and find as many defects as possible; with --from-validation "
            "the share of the next good images, by default the model's own."
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(metavar="FN:FP", help="Lowest cost, where miss and false alarm cost as FN to FP, such as 20:1."),
    ] = None,
    defect_rate: Annotated[
        float | None,
        share_option("For --cost: how many of the parts on the line, not of the images, are defective.", _RATE),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture (PNG) to write: defects found against good images flagged.", show_default=_BESIDE),
    ] = None,
    json_file: Annotated[Path | None, json_option("figures, scores and the curve")] = None,
    roi: Region = None,
    stride: Stride = None,
    device: ScoringDevice = "cpu",
) -> None:
    """Set a model's image threshold by known good and known defective images; nothing is trained on them.

    With --from-validation both thresholds, by the good validation images of a set: stadx calibrate can.safetensors
    mvtec_ad_2/can --from-validation --out line.safetensors.

    Predict and evaluate with the same --stride afterwards; --image-fpr there goes back to the share of good images.
    """
    from stadx.core.files import is_written_through
    from stadx.core.version import versions

    if from_validation:
        others = {"good": good, "defects": defects, "recall": recall, "cost": cost, "defect_rate": defect_rate}
        for name, value in {**others, "plot": plot, "stride": stride}.items():
            if value is not None:
                raise refused(name, "means nothing with --from-validation; leave it out")
        by_validation(model, data, out, target_fpr, image_fpr, json_file, roi, device)
        return
    if target_fpr is not None:
        raise refused("target_fpr", "is for --from-validation; stadx predict has it for the training images")
    goal = _goal(recall, image_fpr, cost, defect_rate)
    with listing():
        images = _images(data, good or (), defects or ())
    plot = out.with_name(f"{out.stem}-calibration.png") if plot is None and not is_written_through(out) else plot
    check_not_read(model, [path for paths in images.values() for path in paths], out, plot, json_file)
    from stadx.data.pages import entry_of
    from stadx.evaluation.calibration import choose_threshold
    from stadx.evaluation.image_scores import score_files
    from stadx.evaluation.report.calibration_plot import write_calibration_plot

    detector = open_model(model, device, None, None)
    chosen: dict[str, Any] = {"stride": number(stride), "roi": apply_region(detector, roi)}
    scores: dict[str, dict[Path, float]] = {}
    failures = []
    with ShownProgress() as progress:
        for kind, paths in images.items():
            stage = f"Images, {kind}"
            scores[kind], failed = score_files(detector, paths, **chosen, stage=stage, progress=progress)
            failures += failed
    for failure in failures:
        fail(failure.message)
    calibration = choose_threshold(list(scores["good"].values()), list(scores["defect"].values()), goal)
    previous = detector.image_threshold(number(stride))
    detector.set_image_threshold(calibration.threshold, number(stride))
    default = (
        ""
        if any(option is not None for option in (recall, image_fpr, cost))
        else " (the default; see --recall, --image-fpr and --cost)"
    )
    say(f"Goal: {goal}{default}")
    show(calibration_table(calibration, previous))
    notes = calibration.notes()
    if calibration.threshold < detector.threshold_:
        notes.append(
            f"The pixel threshold of {detector.threshold_:.4g} is higher, so an image can be anomalous and its mask "
            "empty; a higher --target-fpr of predict lowers it."
        )
    if stride is not None and int(stride) != detector.stride:
        notes.append(f"Score with --stride {stride}: at another the threshold is shifted by an estimate.")
    for note in notes:
        say(note)
    if plot is not None:
        write_calibration_plot(plot, calibration, previous)
        say(f"Plot: {plot}")
    if json_file is not None:
        found, flagged = calibration.at(previous)
        listed = {kind: [{**entry_of(p), "score": s} for p, s in of_kind.items()] for kind, of_kind in scores.items()}
        before = {"threshold": previous, "found": found.to_json(), "flagged": flagged.to_json()}
        content = {
            "model": str(model),
            "stride": number(stride) or detector.stride,
            **calibration.to_json(),
            "notes": notes,
            "pixel_threshold": detector.threshold_,
            "previous": before,
            "images": listed,
            "failures": [{**entry_of(failure.path), "error": failure.message} for failure in failures],
            "versions": versions(),
        }
        write_json(json_file, content)
    detector.save(out)
    say(f"Model: {out} (image threshold {calibration.threshold:.4g}, before {previous:.4g})")
    if failures:
        total = sum(map(len, images.values()))
        fail(f"{len(failures)} of {total} images could not be scored; the others chose the threshold")
        raise typer.Exit(BAD_INPUT)


def _goal(recall: float | None, image_fpr: float | None, cost: str | None, defect_rate: float | None) -> Goal:
    """The one goal that the options name."""
    from stadx.evaluation.calibration_curve import Cost, ImageFpr, Recall

    if sum(option is not None for option in (recall, image_fpr, cost)) > 1:
        raise typer.BadParameter("these are several goals; give one", param_hint="--recall, --image-fpr, --cost")
    if defect_rate is not None and cost is None:
        raise refused("defect_rate", "means nothing without --cost; leave it out")
    if image_fpr is not None:
        return ImageFpr(image_fpr)
    if cost is None:
        return Recall(0.95 if recall is None else recall)
    number = r"(\d+(?:\.\d+)?)"
    read = re.fullmatch(f"{number}:{number}", cost.replace(" ", ""))
    if read is None or not float(read[1]) or not float(read[2]):
        raise refused("cost", f"{cost!r} is not like 20:1, two positive numbers")
    rate = _DEFECT_RATE if defect_rate is None else defect_rate
    return built(Cost, {"miss": float(read[1]), "alarm": float(read[2]), "defect_rate": rate})


def _images(data: Path | None, good: Sequence[str], defects: Sequence[str]) -> dict[str, list[Path]]:
    """The image files by kind, good first."""
    from stadx.core.errors import DataError
    from stadx.data.layouts import open_category
    from stadx.data.layouts.patterns import named_images
    from stadx.data.pages import page_of
    from stadx.evaluation.prediction import collect_images

    if data is not None:
        if good or defects:
            raise typer.BadParameter(
                "give either a category, or --good and --defects with patterns in quotes", param_hint="DATA"
            )
        test = open_category(data).test
        images = {
            "good": [image.path for image in test if image.is_good],
            "defect": [image.path for image in test if not image.is_good],
        }
        for kind, paths in images.items():
            if not paths:
                raise DataError(f"{data}: has no {kind} test images; give some of both kinds by --good and --defects")
        return images
    if not good or not defects:
        without = "; without defects the training set sets the threshold, see --image-fpr of stadx predict"
        raise typer.BadParameter(f"give both, or a category{without}", param_hint="--good and --defects")
    images = {kind: collect_images(named_images(names)) for kind, names in (("good", good), ("defect", defects))}
    known_good = {(path.resolve(), page_of(path)) for path in images["good"]}
    if both := [path for path in images["defect"] if (path.resolve(), page_of(path)) in known_good]:
        raise DataError(
            f"{both[0]}: {len(both)} images are both good and defective, this is the first; make --good or --defects "
            "narrower"
        )
    return images
