"""The command `stadx train-many`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stadx.detectors.student_teacher.settings import PRESETS, DetectorSettings, PresetName

from .cluster import Cluster, Workers, tasks_on
from .console import BAD_INPUT, ShownProgress, check_outputs, fail, listing, say, show, write_json
from .options import Device, json_option, refused
from .setting_options import Given, built, given_options, settings_options
from .train import WRITTEN


@settings_options(DetectorSettings, (), **WRITTEN)
def train_many(
    *,
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Data set: a folder of categories, or of folders of good images.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.safetensors and NAME.json of each category NAME.")],
    preset: Annotated[
        PresetName, typer.Option(help="Where options that are not given come from, as in stadx train.")
    ] = "default",
    settings: Given,
    jobs: Annotated[
        int, typer.Option(min=1, help="Categories at a time, in a process of one thread each; not with --cluster.")
    ] = 1,
    json_file: Annotated[Path | None, json_option("models, thresholds and metrics of all categories")] = None,
    device: Device = "cpu",
    cluster: Cluster = None,
    workers: Workers = None,
) -> None:
    """Train a detector for each category of a data set, and measure those that have test images.

    A stopped run resumes when the same command is run again: a category that is done is kept, one that was begun goes
    on from its checkpoint.
    """
    from stadx.experiments.many import tasks_of
    from stadx.experiments.parallel import run_tasks

    if cluster is not None and "jobs" in given_options(context):
        raise refused("jobs", "means nothing with --cluster; give --workers")
    chosen = {**PRESETS[preset], **settings}
    built(DetectorSettings, {name: value for name, value in chosen.items() if name != "epochs"})
    check_outputs(json_file, out / "models.json")
    with listing():
        tasks = tasks_of(data, out, chosen, device)
    with tasks_on(cluster, workers, device), ShownProgress() as progress:
        trained = run_tasks(tasks, jobs, progress)
    from .tables import trained_table

    show(trained_table(trained))
    kept = sum(one.kept for one in trained)
    if kept:
        say(f"{kept} of {len(trained)} categories were done by a previous run.")
    say(f"Models: {out}")
    if json_file is not None:
        write_json(json_file, [asdict(one) for one in trained])
    if failed := [one for one in trained if one.error]:
        for one in failed:
            fail(one.error)
        fail(f"{len(failed)} of {len(trained)} categories could not be trained; the others are done")
        raise typer.Exit(BAD_INPUT)
