"""The commands that make submissions to benchmarks: `stadx submit ad2`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import ShownProgress, check_outputs, fail, say
from .opening import open_model
from .options import ScoringDevice, Stride, number

if TYPE_CHECKING:
    from stadx.detectors.base import Calibrated


def ad2(
    models: Annotated[
        Path | None, typer.Argument(help="Folder with a model CATEGORY.safetensors for each category.")
    ] = None,
    data: Annotated[Path | None, typer.Argument(help="Folder of MVTec AD 2, with its private images.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the archive (.tar.gz) to this file.")] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="ARCHIVE", help="Only check this archive; with DATA, sizes too.")
    ] = None,
    thresholded: Annotated[
        Literal["none", "model", "validation"],
        typer.Option(
            help="Also write black-and-white pictures: white above the model's threshold, or above mean + 3 σ of the "
            "validation maps."
        ),
    ] = "none",
    stride: Stride = None,
    device: ScoringDevice = "cpu",
) -> None:
    """Write what the benchmark of MVTec AD 2 takes, float16 maps of the private images, and check it.

    With --check nothing is scored; without DATA the published numbers of images are expected. Ends with 1 if something
    is wrong with the archive.
    """
    if check is not None:
        if out is not None:
            raise typer.BadParameter("give either --out or --check", param_hint="--check")
        _check(check, data if data is not None else models)
        return
    if models is None or data is None or out is None:
        raise typer.BadParameter("give MODELS, DATA and --out, or --check ARCHIVE", param_hint="MODELS DATA")
    if not out.name.endswith((".tar.gz", ".tgz")):
        raise typer.BadParameter(f"{out} must end in .tar.gz", param_hint="--out")
    check_outputs(out)
    from stadx.core.errors import DataError
    from stadx.data.layouts import categories
    from stadx.evaluation.submission import write_submission

    folder, names = models, [path.resolve().name for path in categories(data)]
    if missing := [name for name in names if not (folder / f"{name}.safetensors").is_file()]:
        raise DataError(f"{folder / f'{missing[0]}.safetensors'}: no such model; train one for {', '.join(missing)}")

    def model_of(name: str) -> Calibrated:
        return open_model(folder / f"{name}.safetensors", device, None, None)

    kind = None if thresholded == "none" else thresholded
    with ShownProgress() as progress:
        written = write_submission(out, data, model_of, stride=number(stride), thresholded=kind, progress=progress)
    say(f"Submission: {out}, {written.maps} maps")
    for note in written.notes():
        say(note)
    _check(out, data)


def _check(archive: Path, data: Path | None) -> None:
    from stadx.evaluation.submission import check_submission

    with ShownProgress() as progress:
        errors = check_submission(archive, data, progress=progress)
    for error in errors[:20]:
        fail(error)
    if errors:
        say(f"{archive}: {len(errors)} errors" + (", of which the first 20 are listed." if len(errors) > 20 else "."))
        raise typer.Exit(1)
    say(f"{archive}: names, numbers, types and {'sizes' if data else 'shapes'} are right.")
