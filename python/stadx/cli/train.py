"""The command `stadx train`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .console import ShownProgress, move, say


def train(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of good images, a pattern such as 'photos/ok_*.png', or category (MVTec AD, MPDD, BTAD, VisA)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Model file to write.")],
    method: Annotated[
        Literal[
            "student-teacher",
            "knn",
            "kmeans",
            "ocsvm",
            "l2-ae",
            "vae",
            "ssim-ae",
            "anogan",
            "feature-dictionary",
            "ocgan",
        ],
        typer.Option(
            help="What models the good images: the students, or one of the systems that the paper compares them with, "
            "in its settings. Those take --image-size, --target-fpr, --image-fpr, --held-out and --seed; on the "
            "teacher's descriptors (knn to vae) --scales (one; feature-dictionary too) and --teacher; from pixels "
            "(ssim-ae and on) --device and, but for ocgan, --texture."
        ),
    ] = "student-teacher",
    preset: Annotated[
        Literal["default", "paper"],
        typer.Option(
            help="Where options that are not given come from. paper: 100 epochs of whole images one by one, every "
            "pixel of them, Adam at 1e-4 throughout, error and variance, no level taken out. For l2-ae and vae: all "
            "descriptors instead of 500,000. The other methods have the paper's settings by default."
        ),
    ] = "default",
    scales: Annotated[
        str | None,
        typer.Option(
            help="Receptive fields in pixels, e.g. 33 or 17,33,65.", show_default="33; 65 for the other methods"
        ),
    ] = None,
    students: Annotated[int, typer.Option(min=1, help="Students per scale.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps per scale.")] = 1500,
    batch: Annotated[int, typer.Option(min=1, help="Images per step; 1 in the paper.")] = 3,
    crop: Annotated[
        int,
        typer.Option(
            min=0, help="Side in pixels of the part of an image that a step sees, half of it for p = 17; 0: all."
        ),
    ] = 64,
    focus: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of these parts that lie where the loss is high; 0 in the paper."),
    ] = 0.8,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Side in pixels that images are resized to; 0 keeps them as they are.",
            show_default="256; 128 for anogan, 61 for ocgan; 512 with --texture",
        ),
    ] = None,
    target_fpr: Annotated[
        float, typer.Option(min=0, max=1, help="Share of good pixels that the threshold may flag.")
    ] = 0.001,
    image_fpr: Annotated[
        float, typer.Option(min=0, max=1, help="Share of good images that may count as anomalous.")
    ] = 0.05,
    held_out: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=0.99,
            help="Share of the images, at least one, set aside for thresholds: none learns from them.",
        ),
    ] = 0.1,
    optimizer: Annotated[
        Literal["muon", "adam"], typer.Option(help="Adam in the paper; Muon gets further in as many steps.")
    ] = "muon",
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest learning rate.", show_default="0.002 for muon, 0.001 for adam")
    ] = None,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of the optimiser.")] = 1e-5,
    schedule: Annotated[
        Literal["cosine", "constant"],
        typer.Option(help="Course of the learning rate; constant in the paper."),
    ] = "cosine",
    dense: Annotated[
        bool, typer.Option("--dense/--no-dense", help="Train on every pixel, as in the paper: 6 to 10 times slower.")
    ] = False,
    patience: Annotated[
        int,
        typer.Option(min=0, help="Stop after so many of 20 looks at held-out images without progress; 0: never."),
    ] = 0,
    terms: Annotated[
        Literal["both", "e", "v"],
        typer.Option(help="The score: error alone, which found more; variance alone; or both as in the paper."),
    ] = "e",
    smoothing: Annotated[
        float, typer.Option(min=0, help="Smooth the maps by a Gaussian of so many pixels; 0 in the paper.")
    ] = 0.0,
    level: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="How much of an image's own level of error is taken out: images differ in light; 0 in the paper.",
        ),
    ] = 0.5,
    padding: Annotated[
        Literal["reflect", "zeros", "replicate"] | None,
        typer.Option(help="How networks continue an image beyond its border.", show_default="the teacher's: reflect"),
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(
            help="Of training; auto: bfloat16 where the processor has it. On a CPU scoring is always float32."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of every random choice.")] = 0,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="Teacher file, instead of the one that comes with stadx; once per scale."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of l2-ae, vae, ssim-ae, anogan and ocgan: how often they see each sample.",
            show_default="100, 100, 200, 50 and 201",
        ),
    ] = None,
    texture: Annotated[
        bool,
        typer.Option(
            "--texture",
            help="Of ssim-ae, anogan and feature-dictionary: their papers' settings for textures, not objects; the "
            "first two work on parts of the image.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, …")] = "cpu",
) -> None:
    """Train a detector on good images. A stopped run resumes when the same command is run again."""
    if scales is None:
        scales = "33" if method == "student-teacher" else "65"
    sizes = patch_sizes(scales)
    _check_options(context, method, sizes)
    from stadx.core.files import check_writable
    from stadx.data.layouts import training_images

    images = training_images(data)
    check_writable(out)
    if method != "student-teacher":
        _train_baseline(context, method, sizes, images, out)
        return
    from stadx.detectors.student_teacher.detector import Detector

    settings: dict[str, Any] = {
        "steps": steps,
        "batch": batch,
        "crop": crop or None,
        "focus": focus,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "dense": dense,
        "terms": terms,
        "level": level,
    }
    if preset == "paper":
        from stadx.experiments.request import BUDGETS

        papers, given = BUDGETS["paper"].detector_settings(len(images)), given_options(context)
        settings |= {name: value for name, value in papers.items() if name not in given}
    detector = Detector(
        sizes,
        students,
        (256 if image_size is None else image_size) or None,
        target_fpr,
        image_fpr=image_fpr,
        held_out=held_out,
        padding=padding,
        precision=precision,
        patience=patience,
        smoothing=smoothing,
        teachers=teacher or (),
        seed=seed,
        **settings,
    )
    move(detector, device)
    with ShownProgress() as progress:
        detector.fit(images, progress=progress, checkpoint=f"{out}.part")
    detector.save(out)
    say(f"Model: {out} (threshold {detector.threshold_:.4g})")


# options of the compared systems, by the settings they stand for
_SETTINGS = {
    "patch_size": "scales",
    "image_size": "image_size",
    "target_fpr": "target_fpr",
    "image_fpr": "image_fpr",
    "held_out": "held_out",
    "epochs": "epochs",
    "seed": "seed",
    "teacher": "teacher",
}
_ALWAYS = {"data", "out", "method", "device"}


def given_options(context: typer.Context) -> list[str]:
    """The options that the command line names."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def _check_options(context: typer.Context, method: str, sizes: tuple[int, ...]) -> None:
    """Refuse options that would do nothing."""
    if method == "student-teacher":
        known = set(context.params) - {"epochs", "texture"}
    else:
        from stadx.detectors.baselines import METHODS
        from stadx.experiments.request import BUDGETS

        settings = inspect.signature(METHODS[method]).parameters
        known = _ALWAYS | {option for setting, option in _SETTINGS.items() if setting in settings}
        if METHODS[method].texture_settings:
            known.add("texture")
        if BUDGETS["paper"].baseline_settings(METHODS[method]):
            known.add("preset")
    for name in given_options(context):
        if name not in known:
            option = f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"means nothing to --method {method}; leave it out", param_hint=option)
    if method != "student-teacher" and len(sizes) > 1:
        raise typer.BadParameter(f"--method {method} takes one scale", param_hint="--scales")


def _train_baseline(
    context: typer.Context, method: str, sizes: tuple[int, ...], images: Sequence[Path], out: Path
) -> None:
    from stadx.detectors.baselines import METHODS, PatchBaseline
    from stadx.experiments.request import BUDGETS

    options, given = context.params, given_options(context)
    settings: dict[str, Any] = dict(METHODS[method].texture_settings) if options["texture"] else {}
    if options["preset"] == "paper":
        settings |= BUDGETS["paper"].baseline_settings(METHODS[method])
    settings |= {setting: options[option] for setting, option in _SETTINGS.items() if option in given}
    if "image_size" in settings:
        settings["image_size"] = settings["image_size"] or None
        if settings["image_size"] is None and issubclass(METHODS[method], PatchBaseline) and "patch" not in settings:
            or_parts = ", or add --texture for parts of the image" if METHODS[method].texture_settings else ""
            hint = f"--method {method} takes images as a whole: give their side in pixels, not 0{or_parts}"
            raise typer.BadParameter(hint, param_hint="--image-size")
    if "patch_size" in settings:
        settings["patch_size"] = sizes[0]
    if "teacher" in settings:
        settings["teacher"] = settings["teacher"][0]
    try:
        baseline = METHODS[method](**settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    move(baseline, options["device"])
    with ShownProgress() as progress:
        baseline.fit(images, progress=progress, checkpoint=f"{out}.part")
    baseline.save(out)
    say(f"Model: {out} (threshold {baseline.threshold_:.4g})")


def patch_sizes(text: str) -> tuple[int, ...]:
    """Read "17,33,65" as patch sizes."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or len(set(sizes)) < len(sizes) or not set(sizes) <= {17, 33, 65}:
        hint = "give one or more of 17, 33 and 65, separated by commas and none twice"
        raise typer.BadParameter(hint, param_hint="--scales")
    return sizes
