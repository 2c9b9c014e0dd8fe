"""The command `stadx evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .cluster import Cluster, Workers, each_of
from .console import ShownProgress, check_outputs, printable, say, show, write_json
from .opening import apply_region, open_model, open_test_images
from .options import (
    DefectPattern,
    GoodPattern,
    IgnoreValue,
    MaskPattern,
    ModelFile,
    OtherImageFpr,
    OtherTargetFpr,
    Region,
    ScoringDevice,
    Stride,
    category_argument,
    json_option,
    number,
    refused,
)
from .tables import metrics_table, spro_table


def evaluate(
    model: ModelFile,
    data: Annotated[Path | None, category_argument("--good, --defects and --masks")] = None,
    good: GoodPattern = None,
    defects: DefectPattern = None,
    masks: MaskPattern = None,
    json_file: Annotated[Path | None, json_option("metrics and image scores")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report to this file.")] = None,
    worst: Annotated[
        Path | None, typer.Option(help="Write a picture (PNG) of the defects that are found worst to this file.")
    ] = None,
    at: Annotated[
        Literal["original", "model"],
        typer.Option(help="Size to compare maps and masks at: the images' own, or the model's --image-size."),
    ] = "original",
    fpr_limit: Annotated[
        float | None,
        typer.Option(help="False-positive rate up to which AU-PRO is taken.", show_default="the set's, 0.3 for most"),
    ] = None,
    target_fpr: OtherTargetFpr = None,
    image_fpr: OtherImageFpr = None,
    ignore_value: IgnoreValue = None,
    roi: Region = None,
    stride: Stride = None,
    device: ScoringDevice = "cpu",
    cluster: Cluster = None,
    workers: Workers = None,
) -> None:
    """Measure image AUROC, pixel AUROC and AU-PRO on the test images, overall and per defect type."""
    if fpr_limit is not None and not 0 < fpr_limit <= 1:
        raise refused("fpr_limit", f"is {fpr_limit:g}; give a number above 0, at most 1")
    category = open_test_images(data, good, defects, masks)
    check_outputs(json_file, report, worst)
    from stadx.evaluation.of_detector import evaluate

    detector = open_model(model, device if cluster is None else "cpu", target_fpr, image_fpr)
    given: dict[str, Any] = {"roi": apply_region(detector, roi), "ignore_value": ignore_value, "fpr_limit": fpr_limit}
    with each_of(cluster, workers, detector, device) as each, ShownProgress() as progress:
        evaluation = evaluate(detector, category, stride=number(stride), at=at, **given, progress=progress, each=each)
    show(metrics_table([evaluation]))
    if evaluation.spro is not None:
        show(spro_table(evaluation.spro))
    of_spro = [] if evaluation.spro is None else evaluation.spro.notes
    said = (*evaluation.notes, *of_spro, *evaluation.f1_sentences(), evaluation.flagged_sentence(), evaluation.promise)
    for note in filter(None, said):
        say(note)
    if json_file is not None:
        write_json(json_file, evaluation.to_json())
    if report is not None:
        from stadx.evaluation.report.html import write_report

        write_report(report, [evaluation], title=f"stadx: {printable(evaluation.name)}")
        say(f"Report: {report.resolve()}")
    if worst is not None:
        from stadx.evaluation.report.worst import write_worst

        write_worst(worst, evaluation)
        say(f"Worst regions: {worst}")
