"""The command line: one thin function per command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stadx.core.version import package_version

from .console import RESUMABLE, ShownProgress, fail, metrics_table, move, printable, reported, say, show
from .data import DefectPattern, GoodPattern, MaskPattern, data_app
from .experiments import ablate, one_class, reproduce
from .pretrain import pretrain
from .train import train

# What a command needs is imported inside it: torch takes seconds, and help should not.

DEMO_FOLDER = Path("stadx-demo")
OtherTargetFpr = Annotated[
    float | None, typer.Option(min=0, max=1, help="Use another threshold than the model's, for this share.")
]
OtherImageFpr = Annotated[
    float | None, typer.Option(min=0, max=1, help="Let this share of good images count as anomalous, not the model's.")
]
Device = Annotated[
    str, typer.Option(help="Where to score: cpu, cuda, cuda:1, … Images read by strips are scored on the CPU.")
]
Stride = Annotated[
    Literal["1", "2", "4", "8"],
    typer.Option(help="Score every n-th pixel and interpolate; 4 is five times as fast for p = 33."),
]

app = typer.Typer(
    name="stadx",
    help="Find defects in images, pixel by pixel, from good examples alone.",
    epilog="Start with: [bold]stadx demo[/bold]",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stadx {package_version()}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None: ...


@app.command(epilog="Example: [bold]stadx demo --out stadx-demo[/bold]")
@reported()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for images, models, maps and the report.")] = DEMO_FOLDER,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds, not minutes, and worse results.")] = False,
) -> None:
    """Make a small data set with defects, train on its good images, evaluate, and write a report."""
    from stadx.core.files import check_writable

    check_writable(out / "report.html")
    from stadx.experiments.demo import FULL, QUICK, REPORT, run_demo

    with ShownProgress() as progress:
        evaluations = run_demo(out, QUICK if quick else FULL, progress=progress)
    show(metrics_table(evaluations))
    say(f"Report: {(out / REPORT).resolve()}")


app.command(epilog="Example: [bold]stadx pretrain photos --patch-size 33 --out teacher33.safetensors[/bold]")(
    reported(RESUMABLE, "use a smaller --batch or --pretrained-input, or fewer --workers")(pretrain)
)
app.command("one-class", epilog="Example: [bold]stadx one-class mnist/ --normal 3 --out three.json[/bold]")(
    reported(RESUMABLE)(one_class)
)
app.command(epilog="Example: [bold]stadx reproduce table3 --data mvtec_ad --row Bottle --budget quick[/bold]")(
    reported(RESUMABLE)(reproduce)
)
app.command(epilog="Example: [bold]stadx ablate scales mvtec_ad/bottle --out ablations[/bold]")(
    reported(RESUMABLE)(ablate)
)
app.command(epilog="Example: [bold]stadx train mvtec_ad/bottle --out bottle.safetensors[/bold]")(
    reported(RESUMABLE)(train)
)


@app.command(epilog="Example: [bold]stadx predict bottle.safetensors photos/ new.png --out found[/bold]")
@reported("stopped; the images scored so far are in the output folder")
def predict(
    model: Annotated[Path, typer.Argument(help="Model file from `stadx train`.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for overlays, maps, masks and scores.jsonl.")],
    target_fpr: OtherTargetFpr = None,
    image_fpr: OtherImageFpr = None,
    stride: Stride = "1",
    device: Device = "cpu",
) -> None:
    """Score images: a heat-map overlay, the raw map, the mask and a line in scores.jsonl for each."""
    from stadx.detectors.registry import load_model
    from stadx.evaluation.prediction import SCORES_FILE, collect_images, predict_files

    paths = collect_images(images)
    detector = load_model(model)
    move(detector, device)
    if target_fpr is not None:
        detector.set_target_fpr(target_fpr)
    if image_fpr is not None:
        detector.set_image_fpr(image_fpr)
    with ShownProgress() as progress:
        lines, failures = predict_files(detector, paths, out, stride=int(stride), progress=progress)
    above = sum(line["is_anomalous"] for line in lines)
    say(f"{above} of {len(lines)} images are anomalous.")
    say(f"Scores: {out / SCORES_FILE}")
    if failures:
        for failure in failures:
            fail(failure.message)
        fail(f"{len(failures)} of {len(paths)} images could not be scored; the others are done")
        raise typer.Exit(2)


@app.command(epilog="Example: [bold]stadx evaluate bottle.safetensors mvtec_ad/bottle --report b.html[/bold]")
@reported()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file from `stadx train`.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="Category (MVTec AD, MPDD, BTAD, VisA); or give --good, --defects and --masks."),
    ] = None,
    good: GoodPattern = None,
    defects: DefectPattern = None,
    masks: MaskPattern = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write metrics and image scores to this file."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write an HTML report to this file."),
    ] = None,
    worst: Annotated[
        Path | None,
        typer.Option(help="Write a picture (PNG) of the defects that are found worst to this file."),
    ] = None,
    at: Annotated[
        Literal["original", "model"],
        typer.Option(help="Size to compare maps and masks at: the images' own, or the model's --image-size."),
    ] = "original",
    target_fpr: OtherTargetFpr = None,
    image_fpr: OtherImageFpr = None,
    stride: Stride = "1",
    device: Device = "cpu",
) -> None:
    """Measure image AUROC, pixel AUROC and AU-PRO on the test images, overall and per defect type."""
    import json

    from stadx.core.files import check_writable, write_bytes
    from stadx.data.layouts import open_category
    from stadx.data.layouts.patterns import list_patterns

    patterns = any(pattern is not None for pattern in (good, defects, masks))
    if patterns == (data is not None):
        raise typer.BadParameter("give either a category, or --good, --defects and --masks", param_hint="DATA")
    category = list_patterns(good, defects, masks).for_testing() if data is None else open_category(data)
    for file in (json_file, report, worst):
        if file is not None:
            check_writable(file)
    from stadx.detectors.registry import load_model
    from stadx.evaluation.of_detector import evaluate

    detector = load_model(model)
    move(detector, device)
    if target_fpr is not None:
        detector.set_target_fpr(target_fpr)
    if image_fpr is not None:
        detector.set_image_fpr(image_fpr)
    with ShownProgress() as progress:
        evaluation = evaluate(detector, category, stride=int(stride), at=at, progress=progress)
    show(metrics_table([evaluation]))
    for note in (*evaluation.notes, evaluation.flagged_sentence()):
        say(note)
    if json_file is not None:
        write_bytes(json_file, (json.dumps(evaluation.to_json(), indent=2) + "\n").encode("ascii"))
        say(f"JSON: {json_file}")
    if report is not None:
        from stadx.evaluation.report.html import write_report

        write_report(report, [evaluation], title=f"stadx: {printable(evaluation.name)}")
        say(f"Report: {report.resolve()}")
    if worst is not None:
        from stadx.evaluation.report.worst import write_worst

        write_worst(worst, evaluation)
        say(f"Worst regions: {worst}")


@app.command(epilog="Example: [bold]stadx evaluate-maps maps/ mvtec_ad/bottle/ground_truth --compare[/bold]")
@reported()
def evaluate_maps(
    maps: Annotated[Path, typer.Argument(help="Folder of maps (TIFF, NPY, PNG), or one .npy stack [N, H, W].")],
    masks: Annotated[
        Path, typer.Argument(help="Folder of masks with the same sub-folders and names, or one .npy stack.")
    ],
    limits: Annotated[str, typer.Option(help="False-positive rates up to which AU-PRO is taken.")] = "0.3,0.05",
    compare: Annotated[
        bool, typer.Option("--compare", help="Also print what common shortcuts report on the same maps.")
    ] = False,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Replicates of a bootstrap over images, for a 95 % interval; 0 for none.")
    ] = 0,
    connectivity: Annotated[
        Literal["8", "4"], typer.Option(help="Neighbours that make defect pixels one region.")
    ] = "8",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the metrics to this file.")] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Write a CSV line for every region: area, overlap, AU-PRO of its own.")
    ] = None,
) -> None:
    """Measure anomaly maps of any tool: exact AU-PRO, AUROC, AUPR, F1, AUPIMO.

    A map DEFECT/NAME.tiff belongs to the mask DEFECT/NAME_mask.png; maps in a folder "good" have none. Maps from
    `stadx predict` fit if it was run for each folder of test images with its own --out.
    """
    import json

    from stadx.core.files import check_writable, write_bytes

    for file in (json_file, regions):
        if file is not None:
            check_writable(file)
    from stadx.evaluation.of_maps import evaluate_map_files, read_limits

    from .console import maps_table

    numbers = read_limits(limits)
    with ShownProgress() as progress:
        evaluation = evaluate_map_files(
            maps,
            masks,
            limits=numbers,
            connectivity=int(connectivity),
            compare=compare,
            replicates=bootstrap,
            progress=progress,
        )
    show(maps_table(evaluation))
    if json_file is not None:
        write_bytes(json_file, (json.dumps(evaluation.to_json(), indent=2) + "\n").encode("ascii"))
        say(f"JSON: {json_file}")
    if regions is not None:
        write_bytes(regions, evaluation.regions_csv().encode("utf-8", "replace"))
        say(f"Regions: {regions}")


@app.command(epilog="Example: [bold]stadx info[/bold]")
@reported()
def info() -> None:
    """Print versions, the instruction set in use, compiled CUDA architectures, and devices."""
    from stadx.core.devices import facts

    from .console import facts_table

    show(facts_table(facts()))
