"""Score image files one by one and write what was found beside each other into a folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from stadx.core.errors import DataError, OutputError
from stadx.core.files import check_writable, growing
from stadx.core.memory import keep_freed_memory
from stadx.core.progress import Progress, silent
from stadx.data.folders import list_images, pages_of
from stadx.data.globbing import is_pattern, literal
from stadx.data.images import read_image, write_image, write_map
from stadx.data.layouts.patterns import matching_images
from stadx.data.pages import entry_of, page_of
from stadx.data.roi import Roi
from stadx.data.strips import open_rows
from stadx.data.tensors import ImageSize
from stadx.metrics.image_score import image_scores

from .looked_at import region_for, roi_argument
from .measured_detector import MeasuredDetector, stride_of, top_share_of
from .prediction_strips import BandScorer, Found, check_finite, predict_rows
from .region_exports import EXPORTS, ScoredImage
from .regions import RegionFinder, RegionSettings
from .report.overlay import Box, Scale, overlay, scale_for

SCORES_FILE = "scores.jsonl"
ALL_REGIONS = RegionSettings()


class Predicted(Protocol):
    """What a detector's prediction holds, for B = 1 image."""

    @property
    def maps(self) -> torch.Tensor: ...

    @property
    def masks(self) -> torch.Tensor: ...


class Predictor(MeasuredDetector, BandScorer, Protocol):
    """What this module needs of a detector."""

    @property
    def image_size(self) -> ImageSize: ...

    def predict(self, images: torch.Tensor, *, stride: int = 1) -> Predicted: ...


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


def output_names(paths: Sequence[Path]) -> list[str]:
    """Give each image a name for its outputs that no other has, upper and lower case being the same.

    The name is the file's own without its ending; where several share it, the folder's name goes before it,
    and where that is not enough a number after it.
    """
    shared = Counter(path.stem.casefold() for path in paths)
    names: list[str] = []
    taken = {path.stem.casefold() for path in paths if shared[path.stem.casefold()] == 1}
    for path in paths:
        name = path.stem
        if shared[name.casefold()] > 1:
            base = f"{path.resolve().parent.name}_{name}"
            name, number = base, 2
            while name.casefold() in taken:
                name, number = f"{base}_{number}", number + 1
            taken.add(name.casefold())
        names.append(name)
    return names


@keep_freed_memory()
def predict_files(
    detector: Predictor,
    paths: Sequence[Path],
    out: Path,
    *,
    stride: int | None = None,
    regions: RegionSettings = ALL_REGIONS,
    roi: Roi | None = None,
    progress: Progress = silent,
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Score the images `paths` and write into the folder `out`, for each image NAME:

    NAME_overlay.png (the image with its anomaly map), NAME_map.tiff (the scores, 32-bit float), NAME_mask.png
    (255 where the score is above the threshold), and one line of JSON in scores.jsonl, which lists the connected
    regions of the mask. An image that cannot be read gets a line with "error" and does not stop the others. Even
    when interrupted, scores.jsonl holds a line for everything done so far.

    `regions` says which regions are left out of mask, overlay and list, and to which other files they are written.
    `roi` says which pixels are looked at, by default the detector's own `roi_`; the overlay shows the others dark.

    A TIFF of more than 2**24 pixels that the detector scores at its own size (`image_size` None) is read, scored
    and written by strips, whatever its size: its mask is NAME_mask.tiff, its overlay has at most 2048 pixels a side,
    and `progress` is told of its rows. `stride` goes to the detector's `predict` and `score_bands`.

    Returns:
        The lines of the scored images, and the failures.

    Raises:
        OutputError: `out` cannot be written, or holds an image to score that an output would replace, or, with
            LabelMe's files, any image to score.
    """
    stride = stride_of(detector, stride)
    check_writable(out / SCORES_FILE)
    if "labelme" in regions.exports and out.resolve() in {path.resolve().parent for path in paths}:
        raise OutputError(
            f"{out}: holds images to score, and files of LabelMe beside them would be replaced; choose another folder "
            "for the output"
        )
    names = output_names(paths)
    inputs = {path.resolve() for path in paths}
    for name in names:
        for file in {*_file_names(name).values(), *_file_names(name, huge=detector.image_size is None).values()}:
            if (out / file).resolve() in inputs:
                raise OutputError(f"{out / file}: is an image to score; choose another folder for the output")
    scale = scale_for(detector.threshold_)
    roi = region_for(detector, roi)
    scored: list[dict[str, Any]] = []
    failures: list[Failure] = []
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(growing(out / SCORES_FILE))
        exports = [stack.enter_context(EXPORTS[name](out, regions)) for name in dict.fromkeys(regions.exports)]
        progress("Images", 0, len(paths), {})
        for done, (path, name) in enumerate(zip(paths, names, strict=True), start=1):
            try:
                found, files = _predict_file(
                    detector, path, out, name, scale, stride, regions.min_pixels, roi, progress
                )
                line = _line(detector, path, found, files, stride, regions)
                scored.append(line)
            except DataError as error:
                failures.append(Failure(path, str(error)))
                line = {**entry_of(path), "error": str(error)}
            else:
                for export in exports:
                    export(ScoredImage(path, name, found.regions))
            write((json.dumps(line) + "\n").encode("ascii"))
            progress("Images", done, len(paths), {})
    return scored, failures


def _predict_file(
    detector: Predictor,
    path: Path,
    out: Path,
    name: str,
    scale: Scale,
    stride: int,
    min_pixels: int,
    roi: Roi | None,
    progress: Progress,
) -> tuple[Found, dict[str, str]]:
    """Write the pictures of one image; what was found, and their file names by kind."""
    huge = open_rows(path) if detector.image_size is None else None
    if huge is not None:
        files = _file_names(name, huge=True)
        with huge:
            settings: dict[str, Any] = {"stride": stride, "min_pixels": min_pixels, "roi": roi, "progress": progress}
            found = predict_rows(detector, huge, path, out, files, scale, **settings)
        return found, files
    pixels = read_image(path)
    inside = None if roi is None else roi.of(path, pixels.shape[:2])
    image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
    prediction = detector.predict(image, stride=stride, **roi_argument(inside))
    scores = prediction.maps[0].float().cpu().numpy()
    check_finite(scores, path)
    finder = RegionFinder()
    finder.add(prediction.masks[0].cpu().numpy(), scores)
    regions = finder.finish(min_pixels)
    mask = next(regions.bands()) > 0
    boxes = [region.box for region in regions.found]
    looked_at = None if inside is None else torch.from_numpy(inside)[None]
    score = float(image_scores(prediction.maps[:1].float().cpu(), top_share_of(detector), looked_at))
    return Found(score, regions), write_pictures(out, name, pixels, scores, mask, scale, boxes, inside)


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


def write_pictures(
    out: Path,
    name: str,
    pixels: NDArray[np.uint8],
    scores: NDArray[np.float32],
    mask: NDArray[np.bool_],
    scale: Scale,
    boxes: Iterable[Box] = (),
    inside: NDArray[np.bool_] | None = None,
) -> dict[str, str]:
    """Write overlay, map and mask of one image (all [H, W]) into `out`; return their file names by kind."""
    files = _file_names(name)
    picture = overlay(pixels, scores, scale, predicted=mask, boxes=boxes, inside=inside)
    write_image(out / files["overlay"], picture)
    write_map(out / files["map"], scores)
    write_image(out / files["mask"], mask.astype(np.uint8) * 255)
    return files


def _file_names(name: str, *, huge: bool = False) -> dict[str, str]:
    mask = f"{name}_mask.tiff" if huge else f"{name}_mask.png"  # a PNG cannot be written by strips
    return {"overlay": f"{name}_overlay.png", "map": f"{name}_map.tiff", "mask": mask}
