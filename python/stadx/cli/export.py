"""The command `stadx export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import ShownProgress, check_outputs, say
from .options import ModelFile, images_option, refused


def export(
    model: ModelFile,
    *,
    out: Annotated[Path, typer.Option(help="File to write; what it says of itself goes into FILE.json beside it.")],
    to: Annotated[
        Literal["onnx", "torch", "openvino"],
        typer.Option(help="Format: ONNX; PyTorch's exported program (.pt2); OpenVINO (.xml, and .bin beside it)."),
    ] = "onnx",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="H,W",
            help="Height and width of the images that it will be given, such as your camera's.",
            show_default="the model's image size",
        ),
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"],
        typer.Option(
            help="What OpenVINO is to compute in: bfloat16 is several times as fast on processors that have it, and "
            "rounds."
        ),
    ] = "float32",
    check: Annotated[
        list[Path] | None,
        images_option(
            "Real images of that size, files or folders, that the export is compared on with the model",
            "drawn ones, which tell less",
        ),
    ] = None,
) -> None:
    """Write a model as one graph that runs without stadx, if its results are the model's.

    It takes images [B, H, W, 3], bytes or values of the model's own range, and gives maps, image scores, masks and
    verdicts at the model's thresholds, which may be changed without a new export. Nothing is written where a map
    differs by a thousandth of its standard deviation, in bfloat16 a half, or a verdict is another.
    """
    from stadx.core.errors import OutputError
    from stadx.detectors.export import export_detector
    from stadx.detectors.registry import load_model
    from stadx.evaluation.prediction import collect_images

    wanted = None if size is None else _size(size)
    check_outputs(out)
    images = None if not check else collect_images(check)
    read = {model.resolve(), *(path.resolve() for path in images or ())}
    for file in (out, out.with_name(f"{out.name}.json"), out.with_suffix(".bin")):
        if file.resolve() in read:
            raise OutputError(f"{file}: is a file that is read; choose another name")
    detector = load_model(model)
    with ShownProgress() as progress:
        exported = export_detector(detector, out, to, size=wanted, check=images, precision=precision, progress=progress)
    parity = exported.parity.sentence()
    say(f"Compared: {parity}.")
    if images is None:
        say("Real images were not compared; give some with --check.")
    say(f"Export: {', '.join(map(str, exported.files))}")


def _size(text: str) -> tuple[int, int]:
    """Read "700,900" as height and width."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise refused("size", f"{text!r} is not like 700,900: height and width in pixels")
    return int(parts[0]), int(parts[1])
