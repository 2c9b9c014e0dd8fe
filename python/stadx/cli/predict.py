"""The command `stadx predict`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cluster import (
    Cluster,
    ClusterMaps,
    Partition,
    Workers,
    local_paths,
    predict_on_cluster,
    refuse_on_cluster,
    refuse_without_cluster,
)
from .console import BAD_INPUT, ShownProgress, check_outputs, fail, listing, say, write_json
from .opening import apply_region, open_model
from .options import (
    ModelFile,
    OtherImageFpr,
    OtherTargetFpr,
    Region,
    ScoringDevice,
    Stride,
    formats_option,
    json_option,
    number,
    recursive_option,
)
from .setting_options import built, given_options

if TYPE_CHECKING:
    from stadx.evaluation.score_lines import Counts

_CLUSTER_ALONE = {"workers", "partition", "maps"}
_ON_CLUSTER = _CLUSTER_ALONE | {"cluster", "model", "images", "out", "recursive", "target_fpr", "image_fpr", "roi"}
_ON_CLUSTER |= {"stride", "min_area", "pixel_size", "resume", "overwrite", "device"}


def predict(
    context: typer.Context,
    model: ModelFile,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders of them, and patterns in quotes; with --cluster URIs too, such as s3://…, and "
            "WebDataset tars."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="Folder for overlays, maps, masks and scores.jsonl, which grows; with --cluster for Parquet, or a URI."
        ),
    ],
    recursive: Annotated[bool, recursive_option("score")] = True,
    target_fpr: OtherTargetFpr = None,
    image_fpr: OtherImageFpr = None,
    roi: Region = None,
    stride: Stride = None,
    min_area: Annotated[
        float, typer.Option(min=0, help="Drop regions of the mask with a smaller area: pixels, with --pixel-size mm².")
    ] = 0,
    pixel_size: Annotated[
        float | None, typer.Option(metavar="MM", help="Edge of a pixel in millimetres, to tell areas in mm².")
    ] = None,
    export: Annotated[
        str,
        formats_option("Write the regions as csv, coco or labelme too, or as several of them, such as csv,coco."),
    ] = "",
    overlay: Annotated[bool, typer.Option(help="Write NAME_overlay.png.")] = True,
    map_file: Annotated[bool, typer.Option("--map/--no-map", help="Write NAME_map.tiff.")] = True,
    mask: Annotated[bool, typer.Option(help="Write NAME_mask.png.")] = True,
    only_anomalous: Annotated[
        bool,
        typer.Option("--only-anomalous", help="Write those three, and LabelMe's files, for anomalous images alone."),
    ] = False,
    scores: Annotated[
        str, formats_option("Write the lines of scores.jsonl as a table too: csv, parquet, or csv,parquet.")
    ] = "",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Leave out images that this model has scored into --out with the same settings."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin scores.jsonl and exported files anew, instead of adding to them.")
    ] = False,
    json_file: Annotated[Path | None, json_option("how many images were scored and are anomalous")] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Tell how long reading, scoring and writing took, and their shares.")
    ] = False,
    device: ScoringDevice = "cpu",
    cluster: Cluster = None,
    workers: Workers = None,
    partition: Partition = 64,
    maps: ClusterMaps = "none",
) -> None:
    """Score images: a heat-map overlay, the raw map, the mask and a line in scores.jsonl for each.

    The line lists the connected regions of the mask, the largest peak first. Lines of previous runs stay.

    With --cluster the images are shared out to the workers of a Ray cluster, and the lines are rows of Parquet.
    """
    from stadx.evaluation.regions import RegionSettings

    given = given_options(context)
    chosen = {"min_area": min_area, "pixel_size": pixel_size, "exports": tuple(filter(None, export.split(",")))}
    regions = built(RegionSettings, chosen)
    if cluster is not None:
        refuse_on_cluster(given, but=_ON_CLUSTER)
        detector = open_model(model, "cpu", target_fpr, image_fpr)
        told: dict[str, Any] = {
            "roi": apply_region(detector, roi),
            "stride": number(stride),
            "regions": regions,
            "maps": maps,
        }
        told |= {"model": _hash(model), "partition": partition, "recursive": recursive, "overwrite": overwrite}
        predict_on_cluster(cluster, workers, detector, images, out, {**told, "device": device})
        return
    refuse_without_cluster(given, only=_CLUSTER_ALONE)
    from stadx.evaluation.output_settings import OutputSettings
    from stadx.evaluation.prediction import SCORES_FILE, collect_images, predict_files

    inputs, folder = local_paths(images), local_paths([out])[0]
    written = {"overlay": overlay, "map": map_file, "mask": mask}
    check_outputs(json_file)
    outputs = built(
        OutputSettings,
        {
            "pictures": tuple(kind for kind, wanted in written.items() if wanted),
            "only_anomalous": only_anomalous,
            "tables": tuple(filter(None, scores.split(","))),
            "model": _hash(model),
            "resume": resume,
            "overwrite": overwrite,
        },
    )
    with listing():
        paths = collect_images(inputs, recursive=recursive, without=[folder])
    detector = open_model(model, device, target_fpr, image_fpr)
    looked_at: dict[str, Any] = {"stride": number(stride), "roi": apply_region(detector, roi)}
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    with ShownProgress() as progress:
        lines, failures = predict_files(
            detector, paths, folder, **looked_at, regions=regions, outputs=outputs, progress=progress, seconds=seconds
        )
    seconds = {**seconds, "all": time.perf_counter() - begin}
    _tell(lines.counts, folder / SCORES_FILE)
    if profile:
        _tell_times(seconds, lines.counts.scored)
    if json_file is not None:
        write_json(json_file, {**asdict(lines.counts), "out": str(folder), "scores": str(folder / SCORES_FILE)})
    if failures:
        for failure in failures:
            fail(failure.message)
        fail(f"{len(failures)} of {len(lines) + len(failures)} images could not be scored; the others are done")
        raise typer.Exit(BAD_INPUT)


def _hash(model: Path) -> str:
    """Of the model's file; one that cannot be read is told when it is opened."""
    from stadx.core.errors import ModelFileError
    from stadx.core.files import file_hash

    try:
        return file_hash(model)
    except ModelFileError:
        return "unknown"


def _tell_times(seconds: dict[str, float], images: int) -> None:
    """What the stages took; reading and writing go on while an image is scored."""
    if not images:
        return
    whole = seconds["all"]
    say(f"{images} images in {whole:.1f} s, {images / whole:.2f} a second.")
    for name, stage in (("read", "Reading"), ("work", "Scoring"), ("write", "Writing")):
        took = seconds.get(name, 0.0)
        say(f"{stage}: {took:.1f} s, {took / whole:.0%} of that time.")


def _tell(counts: Counts, file: Path) -> None:
    """What was done."""
    say(f"{counts.anomalous} of {counts.scored} images are anomalous.")
    if counts.skipped:
        say(f"{counts.skipped} more were scored by a previous run and left out.")
    if counts.has_others:
        say(f"Lines of another model or other settings stand before those of this run, {counts.run}.")
    say(f"Scores: {file}")
