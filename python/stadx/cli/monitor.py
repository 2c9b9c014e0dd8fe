"""The command `stadx monitor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import check_outputs, say, show, write_json
from .opening import open_model
from .options import ModelFile, OtherImageFpr, OtherTargetFpr, Stride, json_option, number, refused
from .tables import monitoring_table


def monitor(
    model: ModelFile,
    scores: Annotated[
        list[Path], typer.Argument(help="scores.jsonl from `stadx predict`, or its folder; several in their order.")
    ],
    alpha: Annotated[
        float, typer.Option(help="Without a drift say one with at most this probability, over all time.")
    ] = 0.01,
    window: Annotated[int, typer.Option(min=1, help="So many of the last images count as now.")] = 50,
    baseline: Annotated[
        int,
        typer.Option(
            min=0,
            help="Compare with this many of the line's first images, known to be of a good time.",
            show_default="0: with the images that judged",
        ),
    ] = 0,
    group: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Count so many images that follow each other as one, such as the photos of one part.",
            show_default="1, or found from the images that judged",
        ),
    ] = None,
    defect_rate: Annotated[float, typer.Option(min=0, help="Share of defective images that is no change.")] = 0.01,
    order: Annotated[
        Literal["lines", "time"], typer.Option(help="Images in the order of the lines, or of their files' time.")
    ] = "lines",
    seed: Annotated[int, typer.Option(min=0, help="Of the order of equal scores.")] = 0,
    json_file: Annotated[Path | None, json_option("verdict and figures")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures over time to this file.")] = None,
    target_fpr: OtherTargetFpr = None,
    image_fpr: OtherImageFpr = None,
    stride: Stride = None,
) -> None:
    """Tell whether a line has drifted: whether its images still score as those that judged when the model was made.

    Reads what `stadx predict` wrote, as often as you like. Give --stride, --image-fpr and --target-fpr as there. Ends
    with 1 if images score otherwise.
    """
    if not 0 < alpha < 1:
        raise refused("alpha", f"{alpha} must lie between 0 and 1")
    if not defect_rate < 0.5:
        raise refused("defect_rate", f"{defect_rate} must be below 0.5")
    from stadx.evaluation.score_lines import SCORES_FILE

    _check_outputs([model, *(path / SCORES_FILE if path.is_dir() else path for path in scores)], json_file, html)
    from stadx.core.files import file_hash
    from stadx.core.version import versions
    from stadx.evaluation.monitor.monitoring import monitor as monitor_scores
    from stadx.evaluation.monitor.reading import read_scores

    detector = open_model(model, "cpu", target_fpr, image_fpr)
    step = number(stride) or detector.stride
    if step < detector.stride:
        raise refused("stride", f"{step} is finer than {detector.stride}, the model's own, at which good images judged")
    read = read_scores(scores, detector, stride=step, model=file_hash(model), by_time=order == "time")
    found = monitor_scores(
        read.names,
        read.scores,
        detector.judged_scores(step),
        detector.image_threshold(step),
        alpha=alpha,
        window=window,
        baseline=baseline,
        group=group,
        defect_rate=defect_rate,
        seed=seed,
    )
    show(monitoring_table(found))
    for line in (found.sentence(), found.advice(), *found.notes, *read.notes()):
        say(line)
    if json_file is not None:
        content = {"model": str(model), "scores": scores, "stride": step, **found.to_json()}
        left_out = {"others": read.others, "again": read.again, "failed": read.failed}
        write_json(json_file, {**content, "left_out": left_out, "versions": versions()})
    if html is not None:
        from stadx.evaluation.report.monitor_page import write_monitoring

        write_monitoring(html, found, f"{model.stem}: the line")
        say(f"Page: {html.resolve()}")
    if found.state.verdict != "none":
        raise typer.Exit(1)


def _check_outputs(read: list[Path], *outputs: Path | None) -> None:
    """Raise `OutputError` for a file that could not be written, or that is read."""
    from stadx.core.errors import OutputError
    from stadx.core.files import is_written_through

    check_outputs(*outputs)
    taken = {path.resolve() for path in read}
    for file in outputs:
        if file is not None and not is_written_through(file):
            if file.resolve() in taken:
                raise OutputError(f"{file}: is a file that is read, or written already; choose another name")
            taken.add(file.resolve())
