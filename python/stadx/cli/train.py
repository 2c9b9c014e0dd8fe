"""The command `stadx train`."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stadx.detectors.registry import STUDENT_TEACHER, detector_class, detector_names
from stadx.detectors.student_teacher.settings import PRESETS, DetectorSettings, PresetName, for_images

from .console import ShownProgress, listing, say
from .opening import move, open_region
from .options import KNOWN_SETS, Device, refused
from .setting_options import (
    MEMORY,
    RANGE,
    SCALES,
    TEACHERS,
    Given,
    Written,
    built,
    duration,
    given_options,
    image_size,
    settings_options,
)

Budget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        show_default="as long as all steps take",
        help="Be done after about this time, such as 5min or 1h: a trial of seconds tells how many steps fit, and how "
        "many images may judge. Students only.",
    ),
]
if TYPE_CHECKING:
    from stadx.core.progress import Progress
    from stadx.detectors.base import Calibrated

_ALWAYS = {"data", "out", "method", "device"}
_SHARED = {"scales", "image_size", "target_fpr", "image_fpr", "held_out", "border", "epochs", "seed", "teacher"}
_SHARED |= {"range"}
_NAMES = {"scales": "patch_size", "teachers": "teacher"}  # what the compared systems, which have one, call them
_FIELDS = {**_NAMES, "range": "value_range"}  # options by the settings that they give


def known_method(name: str) -> str:
    """`name` if a detector has it. Raises `typer.BadParameter`."""
    if name not in detector_names():
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, detector_names()))}.")
    return name


WRITTEN: dict[str, Written] = {
    "scales": replace(SCALES, default=None, shown="33; 65 for the other methods"),
    "image_size": Written(
        kind=str,
        default="256",
        read=image_size,
        help="Side in pixels of the square that images are resized to, or height and width such as 192,256, which keep "
        "the shape of 4:3 images; 0 keeps them as they are.",
        shown="256, or the method's own",
    ),
    "held_out": Written(at_least=0.01, at_most=0.99),
    "teachers": TEACHERS,
    "value_range": RANGE,
    "memory_bytes": MEMORY,
    "penalty": Written(kind=Path, read=str),
}
"""How the settings of a training are options."""


@settings_options(DetectorSettings, (), **WRITTEN)
def train(
    *,
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(help=f"Folder of good images, a pattern such as 'photos/ok_*.png', or category ({KNOWN_SETS})."),
    ],
    out: Annotated[Path, typer.Option(help="Model file to write.")],
    method: Annotated[
        str,
        typer.Option(
            callback=known_method,
            metavar=f"[{'|'.join(detector_names())}]",
            help="What models the good images: the students, or one of the systems that the paper compares them with, "
            "in its settings, or another package's. Those take --image-size, --target-fpr, --image-fpr, --held-out, "
            "--range and --seed; and --scales (one), --teacher, --border, --epochs, --texture and --device where they "
            "have such a setting.",
        ),
    ] = STUDENT_TEACHER,
    preset: Annotated[
        PresetName,
        typer.Option(
            help="Where options that are not given come from. paper: 100 epochs of whole images one by one, every "
            "pixel of them, Adam at 1e-4 throughout, error and variance, no level taken out, all channels and scales "
            "alike. Other methods have the paper's settings by default, but that its autoencoders of descriptors see "
            "them all."
        ),
    ] = "default",
    settings: Given,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of methods that train by epochs: how often they see each sample.",
            show_default="the method's own",
        ),
    ] = None,
    texture: Annotated[
        bool,
        typer.Option(
            "--texture",
            help="Of methods whose papers have settings for textures as for objects: take those.",
        ),
    ] = False,
    roi: Annotated[
        str | None,
        typer.Option(
            "--roi",
            metavar="MASK",
            help="Learn, and set thresholds, only where this mask is white: an image for all, which the model keeps, "
            "or a folder with NAME.png or NAME_mask.png for every image NAME. Students only.",
            show_default="everywhere",
        ),
    ] = None,
    budget: Budget = None,
    device: Device = "cpu",
) -> None:
    """Train a detector on good images. A stopped run resumes when the same command is run again."""
    seconds = None if budget is None else duration(budget)
    _check_options(context, method, settings.get("scales", ()))
    from stadx.core.files import check_writable, is_written_through
    from stadx.data.images import stretched
    from stadx.data.layouts import training_images

    with listing():
        images = training_images(data)
    check_writable(out)
    checkpoint = None if is_written_through(out) else f"{out}.part"
    chosen = detector_class(method)
    if method == STUDENT_TEACHER:
        settings = {**for_images(PRESETS[preset], len(images)), **settings}
    else:
        settings = _of_baseline(chosen, settings, preset, epochs, texture)
    detector = built(chosen, settings)
    if told := stretched(images[0], detector.working_size):
        say(told)
    move(detector, device)
    region = {} if (found := open_region(roi)) is None else {"roi": found}
    planned = None if checkpoint is None else Path(f"{checkpoint}-budget")
    from stadx.core.progress import silent
    from stadx.teachers.distributed import is_first, process_group

    with process_group(), ShownProgress() as shown:
        progress = shown if is_first() else silent
        if seconds is not None:
            settings |= _within(seconds, settings, images, planned, progress, device=device, **region)
            detector = built(chosen, settings)
            move(detector, device)
        detector.fit(images, progress=progress, checkpoint=checkpoint, **region)
        if not is_first():
            return
    detector.save(out)
    if planned is not None:
        planned.unlink(missing_ok=True)
    say(f"Model: {out} (threshold of a pixel {detector.threshold_:.4g}, of an image {detector.image_threshold():.4g})")
    if detector.value_range_ is not None and not detector.value_range_.is_plain:
        say(f"Values of the images: {detector.value_range_.sentence()}")
    say(detector.false_alarms().sentence())


def _within(
    seconds: float, settings: Given, images: Sequence[Path], planned: Path | None, progress: Progress, **fitted: Any
) -> dict[str, Any]:
    """Steps and judges that fit into the time; those of a run that goes on are in the file `planned`."""
    from stadx.core.files import write_bytes
    from stadx.detectors.student_teacher.budget import plan
    from stadx.teachers.distributed import is_first

    asked = repr((seconds, sorted(settings.items()), [str(path) for path in images], sorted(fitted)))
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):  # none, or damaged: planned anew
        if planned is not None:
            found = json.loads(planned.read_text())
    if isinstance(found, dict) and found.get("asked") == asked:
        say(f"Budget: goes on with {found['steps']:,} steps of each scale.")
        return {name: found[name] for name in ("steps", "judges")}
    fits = plan(settings, images, seconds, progress=progress, **fitted)
    found = {"steps": fits.steps, "judges": fits.judges}
    if not is_first():
        return found
    if planned is not None:
        write_bytes(planned, json.dumps({"asked": asked, **found}).encode("ascii"))
    say(
        f"Budget: {fits.steps:,} steps of each scale, {fits.judges:,} of {len(images):,} images judge; "
        f"about {fits.seconds / 60:.1f} minutes in all."
    )
    return found


def _check_options(context: typer.Context, method: str, scales: Sequence[int]) -> None:
    """Refuse options that would do nothing."""
    if method == STUDENT_TEACHER:
        known = set(context.params) - {"epochs", "texture"}
    else:
        chosen = detector_class(method)
        taken = inspect.signature(chosen).parameters
        known = _ALWAYS | {option for option in _SHARED if _FIELDS.get(option, option) in taken}
        known |= {"texture"} if chosen.texture_settings else set()
        known |= {"preset"} if chosen.paper_settings else set()
        known |= {"roi"} if "roi" in inspect.signature(chosen.fit).parameters else set()
    for name in given_options(context):
        if name not in known:
            raise refused(name, f"means nothing to --method {method}; leave it out")
    if method != STUDENT_TEACHER and len(scales) > 1:
        raise refused("scales", f"--method {method} takes one scale")


def _of_baseline(
    chosen: type[Calibrated], given: Given, preset: PresetName, epochs: int | None, texture: bool
) -> dict[str, Any]:
    """The settings of one of the compared systems."""
    settings = {**(chosen.texture_settings if texture else {}), **(chosen.paper_settings if preset == "paper" else {})}
    settings |= {_NAMES.get(name, name): value[0] if name in _NAMES else value for name, value in given.items()}
    if epochs is not None:
        settings["epochs"] = epochs
    if settings.get("image_size", 0) is None and "patch" in inspect.signature(chosen).parameters.keys() - settings:
        or_parts = ", or add --texture for parts of the image" if chosen.texture_settings else ""
        why = f"--method {chosen.method} takes images as a whole: give their side in pixels, not 0{or_parts}"
        raise refused("image_size", why)
    return settings
