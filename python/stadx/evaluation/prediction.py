"""Score image files one by one and write what was found beside each other into a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stadx.core.errors import DataError, OutputError
from stadx.core.files import check_writable, growing
from stadx.core.files import write_bytes as write_bytes
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.data.folders import list_images, pages_of
from stadx.data.globbing import is_pattern, literal
from stadx.data.layouts.patterns import matching_images
from stadx.data.pages import entry_of, page_of
from stadx.data.roi import Roi
from stadx.networks.engine import watched_weights

from .coco_document import alone_in
from .looked_at import region_for
from .measured_detector import MeasuredDetector, stride_of
from .output_names import check_no_image_is_replaced, longest_name
from .output_names import output_names as output_names
from .output_settings import OutputSettings
from .overlapping import Seconds, overlapping
from .prediction_stages import ImageStages, Predictor, failing_alone
from .prediction_strips import Found
from .region_exports import EXPORTS, Place, ScoredImage
from .regions import RegionSettings
from .report.overlay import scale_for
from .score_lines import SCORES_FILE as SCORES_FILE
from .score_lines import Counts, Lines, Previous, ScoredLines, as_line, is_line, run_name
from .score_tables import TABLES

ALL_REGIONS = RegionSettings()
ALL_OUTPUTS = OutputSettings()


@dataclass(frozen=True)
class Failure:
    """An image that could not be scored, and why."""

    path: Path
    message: str


def collect_images(inputs: Iterable[Path], *, recursive: bool = False, without: Collection[Path] = ()) -> list[Path]:
    """List the images that `inputs` name, none twice: files, the images in folders, and those that patterns match.

    Args:
        inputs: files, folders and patterns. A file with several pages stands for as many images.
        recursive: also the images in sub-folders.
        without: folders that are passed over, such as that of the outputs.

    Raises:
        DataError: a path does not exist, a pattern matches nothing, or a folder holds no images.
    """
    found: dict[tuple[Path, int | None], Path] = {}
    for path in inputs:
        place = literal(path)
        if os.path.isdir(place):
            files = list_images(place, recursive=recursive, without=without)
        elif os.path.exists(place):
            files = pages_of(place)
        elif is_pattern(os.fspath(path)):
            files = matching_images(os.fspath(path))
        else:
            raise DataError(f"{path}: no such file or folder; check the name")
        for file in files:
            found.setdefault((file.resolve(), page_of(file)), file)
    return list(found.values())


@keep_freed_memory()
@watched_weights()
def predict_files(
    detector: Predictor,
    paths: Sequence[Path],
    out: Path,
    *,
    stride: int | None = None,
    regions: RegionSettings = ALL_REGIONS,
    roi: Roi | None = None,
    outputs: OutputSettings = ALL_OUTPUTS,
    progress: Progress = silent,
    seconds: Seconds | None = None,
) -> tuple[ScoredLines, Sequence[Failure]]:
    """Score the images `paths` and write into the folder `out`, for each image NAME:

    NAME_overlay.png (the image with its anomaly map), NAME_map.tiff (the scores, 32-bit float), NAME_mask.png
    (255 where the score is above the threshold), and one line of JSON in scores.jsonl, which lists the connected
    regions of the mask. An image that cannot be read, or whose name no output can have, gets a line with "error" and
    does not stop the others. Even when interrupted, scores.jsonl holds a line for everything done so far; lines that
    it has already stay, and images of theirs keep their names. Outputs of previous runs are no images to score.

    `regions` says which regions are left out of mask, overlay and list, and to which other files they are written.
    `roi` says which pixels are looked at, by default the detector's own `roi_`; the overlay shows the others dark.
    `outputs` says which of these files are written, and whether to go on with a run that was stopped.

    A TIFF of more than 2**24 pixels that the detector scores at its own size (`image_size` None) is read, scored
    and written by strips, whatever its size: its mask is NAME_mask.tiff, its overlay has at most 2048 pixels a side,
    and `progress` is told of its rows. `stride` goes to the detector's `predict` and `score_bands`.

    While an image is scored the next is read and the last is written; `seconds` is told how long these stages took.

    Returns:
        The lines of the images that were scored now, and the failures; both are read from scores.jsonl when looked at.

    Raises:
        OutputError: `out` cannot be written, or holds an image to score that an output would replace, or, with
            LabelMe's files, any image to score; or another run is writing COCO's document there.
    """
    stride = stride_of(detector, stride)
    roi = region_for(detector, roi)
    if os.path.exists(out) and not os.path.isdir(out):
        raise OutputError(f"{out}: is a file; name a folder for the output")
    check_writable(out / SCORES_FILE)
    run = run_of(detector, stride, regions, roi, outputs.model)
    inside = os.path.realpath(out)
    beside = any(os.path.realpath(path.parent) == inside for path in paths)
    previous = Previous(out)
    if not outputs.overwrite:
        previous = Previous.read(out, resumed=run if outputs.resume else "", with_files=beside)
    if beside:
        paths = [p for p in paths if p.name not in previous.files or os.path.realpath(p.parent) != inside]
    if "labelme" in regions.exports and any(os.path.realpath(path.parent) == inside for path in paths):
        raise OutputError(
            f"{out}: holds images to score, and files of LabelMe beside them would be replaced; choose another folder "
            "for the output"
        )
    named = list(zip(paths, output_names(paths, previous.owners, longest_name(out)), strict=True))
    check_no_image_is_replaced(named, out, outputs.pictures, huge=detector.image_size is None)
    if outputs.resume:
        kinds = outputs.pictures, outputs.only_anomalous
        named = [(path, name) for path, name in named if not previous.is_done(path, *kinds)]
    total, skipped = len(paths), len(paths) - len(named)
    scale = scale_for(detector.threshold_)
    anomalous = failed = 0
    file = out / SCORES_FILE
    again = frozenset((os.fspath(path), page_of(path)) for path, _ in named)
    place = Place(out, outputs.overwrite, again, outputs.only_anomalous)
    image_threshold = float(detector.image_threshold(stride))
    with contextlib.ExitStack() as stack:
        if "coco" in regions.exports:
            stack.enter_context(alone_in(out))  # before any file begins anew
        write = stack.enter_context(growing(file, anew=outputs.overwrite, is_whole=is_line))
        start = _size(file)
        adders = [stack.enter_context(TABLES[name](out, outputs.overwrite)) for name in dict.fromkeys(outputs.tables)]
        exports = [stack.enter_context(EXPORTS[name](place, regions)) for name in dict.fromkeys(regions.exports)]
        progress("Images", skipped, total, {})
        stages = ImageStages(detector, out, scale, stride, regions.min_pixels, roi, outputs, bool(run), progress)
        outcomes = overlapping(named, stages.read, stages.score, stages.write, seconds)
        stack.enter_context(contextlib.closing(outcomes))  # no thread outlives an error
        for done, ((path, name), outcome) in enumerate(outcomes, start=skipped + 1):
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                found, files, stamp = outcome
                told = {"run": run, **stamp} if run else {}
                with failing_alone(path):
                    for export in exports:
                        export(ScoredImage(path, name, found.regions, found.score > image_threshold))
                line = {**_line(detector, path, found, files, stride, regions), **told}
                anomalous += line["is_anomalous"]
            except DataError as error:
                failed += 1
                line = {**entry_of(path), "error": str(error)}
            for add in adders:
                add(line)
            write(as_line(line))
            progress("Images", done, total, {})
        stop = _size(file)
    has_others = previous.run not in (None, run)
    counts = Counts(len(named) - failed, anomalous, failed, skipped, run, has_others)
    return ScoredLines(file, start, stop, counts), Lines(file, start, stop, failed, _failure)


def _size(file: Path) -> int:
    """Of a regular file; a pipe, into which lines may go too, is not read again."""
    return os.path.getsize(file) if os.path.isfile(file) else 0


def _failure(line: dict[str, Any]) -> Failure | None:
    return Failure(Path(line["path"]), line["error"]) if "error" in line else None


def run_of(detector: MeasuredDetector, stride: int, regions: RegionSettings, roi: Roi | None, model: str) -> str:
    """The name of the run: another for all that makes a line another. `model` as in `OutputSettings`."""
    thresholds = [float(detector.threshold_), float(detector.image_threshold(stride))]
    settings = {"stride": stride, "thresholds": thresholds, "regions": vars(regions)}
    return run_name(model, roi, settings)


def _line(
    detector: Predictor,
    path: Path,
    found: Found,
    files: Mapping[str, str],
    stride: int,
    settings: RegionSettings,
) -> dict[str, Any]:
    """What scores.jsonl says of one image."""
    threshold = float(detector.image_threshold(stride))
    regions = found.regions
    return {
        **entry_of(path),
        "image_score": found.score,
        "image_threshold": threshold,
        "is_anomalous": found.score > threshold,
        "pixel_threshold": float(detector.threshold_),
        "anomalous_pixels": regions.area,
        "pixels": regions.height * regions.width,
        **files,
        "regions": [settings.line(region) for region in regions.found],
    }
