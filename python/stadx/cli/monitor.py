"""The command `stadx monitor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stadx.evaluation.monitor_settings import MonitorSettings

from .console import check_outputs, say, show, write_json
from .opening import open_model
from .options import ModelFile, OtherImageFpr, OtherTargetFpr, Stride, json_option, number, refused
from .setting_options import Given, built, settings_options
from .tables import monitoring_table


@settings_options(MonitorSettings)
def monitor(
    model: ModelFile,
    scores: Annotated[
        list[Path], typer.Argument(help="scores.jsonl from `stadx predict`, or its folder; several in their order.")
    ],
    *,
    settings: Given,
    order: Annotated[
        Literal["lines", "time"], typer.Option(help="Images in the order of the lines, or of their files' time.")
    ] = "lines",
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
    asked = built(MonitorSettings, settings)
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
        asked,
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
