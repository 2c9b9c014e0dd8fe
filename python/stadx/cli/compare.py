"""The command `stadx compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import ShownProgress, check_outputs, say, show, write_json
from .opening import apply_region, open_model, open_test_images
from .options import (
    DefectPattern,
    GoodPattern,
    MaskPattern,
    Region,
    ScoringDevice,
    Stride,
    category_argument,
    json_option,
    number,
)
from .tables import changes_table, models_table

_LISTED = 20  # images on the terminal


def compare(
    a: Annotated[Path, typer.Argument(help="One model file, such as the one before an update.")],
    b: Annotated[Path, typer.Argument(help="The other.")],
    data: Annotated[Path | None, category_argument("--good, --defects and --masks")] = None,
    good: GoodPattern = None,
    defects: DefectPattern = None,
    masks: MaskPattern = None,
    json_file: Annotated[Path | None, json_option("metrics, differences and all images whose verdict changes")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures of these images to this file.")] = None,
    replicates: Annotated[int, typer.Option(min=2, help="Of the bootstrap over images.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of its draws.")] = 0,
    roi: Region = None,
    stride: Stride = None,
    device: ScoringDevice = "cpu",
) -> None:
    """Measure two models on the same test images: how sure their difference is, and which verdicts change.

    A paired bootstrap: both are measured on the same images, drawn again and again.
    """
    category = open_test_images(data, good, defects, masks)
    check_outputs(json_file, html)
    from stadx.evaluation.compare_models import compare_models
    from stadx.evaluation.of_detector import evaluate

    evaluations = []
    detectors = [open_model(file, device, None, None) for file in (a, b)]
    with ShownProgress() as progress:
        for name, detector in zip("AB", detectors, strict=True):

            def told(stage: str, done: int, total: int, figures: Any, name: str = name) -> None:
                progress(f"{name}: {stage}", done, total, figures)

            region = apply_region(detector, roi)
            evaluations.append(evaluate(detector, category, stride=number(stride), roi=region, progress=told))
    comparison = compare_models(*evaluations, replicates=replicates, seed=seed)
    show(models_table(comparison))
    for name, evaluation in zip("AB", evaluations, strict=True):
        say(f"{name}: {evaluation.flagged_sentence()}")
    for note in dict.fromkeys(note for evaluation in evaluations for note in evaluation.notes):
        say(note)
    if comparison.changes:
        show(changes_table(comparison, _LISTED))
    told_counts = ", ".join(f"{count} {name}" for name, count in comparison.counts().items())
    say(f"Verdicts that change from A to B: {told_counts or 'none'}.")
    if len(comparison.changes) > _LISTED:
        say(f"{len(comparison.changes) - _LISTED} more images, see --json.")
    if json_file is not None:
        write_json(json_file, {"a": str(a), "b": str(b), **comparison.to_json()})
    if html is not None:
        from stadx.evaluation.report.compare_page import write_comparison

        write_comparison(html, comparison, (str(a), str(b)))
        say(f"Page: {html.resolve()}")
