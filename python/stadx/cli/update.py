"""The command `stadx update`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import ShownProgress, listing, say
from .opening import apply_region, move
from .options import Device, ModelFile
from .review import FROM_REVIEW, good_images, model_of
from .setting_options import MEMORY, byte_count

_IMAGES = "a folder of images, a pattern such as 'new/ok_*.png', or a category"


def update(
    model: ModelFile,
    images: Annotated[
        Path | None,
        typer.Argument(help=f"Further good images: {_IMAGES}. With --from: where the reviewed folder is now."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Model file to write; the other stays as it is.")],
    review: Annotated[Path | None, FROM_REVIEW] = None,
    old: Annotated[
        Path | None,
        typer.Option(
            help=f"Images that the model was trained on, so that it does not forget them: {_IMAGES}.",
            show_default="those that the model keeps, see --memory of train",
        ),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help=MEMORY.help, show_default="as of the model", metavar="BYTES")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Optimiser steps per scale.", show_default="a tenth of those of the training"),
    ] = None,
    roi: Annotated[
        str | None,
        typer.Option(
            "--roi",
            metavar="MASK",
            help="Where old and new images are looked at, as of train.",
            show_default="the model's own, if it has one",
        ),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Learn further good images without forgetting the old ones. A stopped run resumes when run again.

    Without old images, given or kept, the thresholds alone are set anew.
    """
    from stadx.core.errors import DataError, OutputError
    from stadx.core.files import check_writable, is_written_through
    from stadx.data.layouts import training_images
    from stadx.detectors.registry import load_model
    from stadx.detectors.student_teacher.detector import Detector

    if images is None and review is None:
        raise typer.BadParameter("name further good images, or a review by --from", param_hint="IMAGES")
    new: list[Path] = []
    with listing():
        if images is not None and review is None:
            new = training_images(images)
        replayed = None if old is None else training_images(old)
    check_writable(out)
    through = is_written_through(out)
    if not through and out.resolve() == model.resolve():
        raise OutputError(f"{out}: is the model that is updated, which stays; choose another name")
    detector = load_model(model)
    if not isinstance(detector, Detector):
        raise DataError(f"{model}: a {detector.method} model cannot learn further images; train it anew")
    if review is not None:
        new = good_images(review, images, model_of(detector, model))
    if memory is not None:
        detector.memory_bytes = byte_count(memory)
    move(detector, device)
    given: dict[str, Any] = {"old": replayed, "steps": steps, "checkpoint": None if through else f"{out}.part"}
    if roi is not None:
        given["roi"] = apply_region(detector, roi)
    with ShownProgress() as progress:
        detector.update(new, progress=progress, **given)
    detector.save(out)
    entry = detector.lineage_[-1]
    counts = entry["images"]
    learned = f"{entry['steps']} steps" if entry["steps"] else "thresholds alone"
    say(f"Images: {counts['new']} new, {counts['old']} old; {learned}.")
    for kind, found in entry["judged"].items():
        if found["images"]:
            say(f"Of the {found['images']} {kind} images that judged {found['flagged']} exceed the image threshold.")
    was, now = (entry["thresholds"][when] for when in ("before", "after"))
    say(
        f"Model: {out} (threshold of a pixel {now['pixel']:.4g}, before {was['pixel']:.4g}; of an image "
        f"{now['image']:.4g}, before {was['image']:.4g})"
    )
    say(detector.false_alarms().sentence())
