"""The command line, put together; each command has a file of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from stadx.core.version import package_version

from .ablate import ablate
from .calibrate import calibrate
from .compare import compare
from .compare_maps import compare_maps
from .console import RESUMABLE, SMALLER, STOPPED, reported
from .data import check
from .demo import demo
from .evaluate import evaluate
from .evaluate_maps import evaluate_maps
from .export import export
from .info import info
from .monitor import monitor
from .one_class import one_class
from .plot import plot
from .predict import predict
from .pretrain import pretrain
from .rank import rank
from .reproduce import reproduce
from .review import from_review, review
from .submit import ad2
from .train import train
from .train_many import train_many
from .update import update

# What a command needs is imported inside it: torch takes seconds, and help should not.

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
data_app = typer.Typer(help="Look after data sets.", no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(data_app, name="data")
submit_app = typer.Typer(help="Make submissions to benchmarks.", no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(submit_app, name="submit")


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
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Processor cores to use, for any command.", show_default="all, or OMP_NUM_THREADS"),
    ] = None,
) -> None:
    if threads is None:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch, which is not loaded yet, and other processes begin with it
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)


def _add(
    command: Callable[..., None],
    example: str,
    stopped: str = STOPPED,
    smaller: str = SMALLER,
    place: typer.Typer = app,
) -> None:
    """Add a command under its function's name, with an example at the end of its help."""
    place.command(epilog=f"Example: [bold]{example}[/bold]")(reported(stopped, smaller)(command))


_add(demo, "stadx demo --out stadx-demo")
_add(
    pretrain,
    "stadx pretrain photos --patch-size 33 --out teacher33.safetensors",
    RESUMABLE,
    "use a smaller --batch or --pretrained-input, or fewer --workers",
)
_add(one_class, "stadx one-class mnist/ --normal 3 --out three.json", RESUMABLE)
_add(reproduce, "stadx reproduce table3 --data mvtec_ad --row Bottle --budget quick", RESUMABLE)
_add(ablate, "stadx ablate scales mvtec_ad/bottle --out ablations", RESUMABLE)
_add(train, "stadx train mvtec_ad/bottle --out bottle.safetensors", RESUMABLE)
_add(train_many, "stadx train-many mvtec_ad --out models --scales 17,33", RESUMABLE)
_add(update, "stadx update bottle.safetensors new/ok --old mvtec_ad/bottle --out bottle2.safetensors", RESUMABLE)
_add(rank, "stadx rank bottle.safetensors line/today --top 20 --out review.csv")
_add(
    predict,
    "stadx predict bottle.safetensors photos/ new.png --out found --min-area 20 --export csv",
    "stopped; the images scored so far are in the output folder",
)
_add(monitor, "stadx monitor bottle.safetensors found --html line.html")
_add(review, "stadx review bottle.safetensors photos/new --out review")
_add(evaluate, "stadx evaluate bottle.safetensors mvtec_ad/bottle --report b.html")
_add(compare, "stadx compare bottle.safetensors bottle2.safetensors mvtec_ad/bottle --html changes.html")
_add(evaluate_maps, "stadx evaluate-maps maps/ mvtec_ad/bottle/ground_truth --compare")
_add(compare_maps, "stadx compare-maps ours/ theirs/ mvtec_ad/bottle/ground_truth")
_add(plot, "stadx plot ours/ theirs/ --masks mvtec_ad/bottle/ground_truth --out curves.png")
_add(
    calibrate,
    "stadx calibrate part.safetensors --good 'new/ok_*' --defects new/scratches --recall 0.95 --out line.safetensors",
)
_add(export, "stadx export bottle.safetensors --size 700,900 --check photos/good --out bottle.onnx")
_add(info, "stadx info")
_add(check, "stadx data check mvtec_ad/bottle", place=data_app)
_add(from_review, "stadx data from-review review.json --out reviewed", place=data_app)
_add(ad2, "stadx submit ad2 models/ mvtec_ad_2 --out ad2.tar.gz", place=submit_app)
