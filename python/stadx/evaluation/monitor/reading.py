"""The image scores of one model in files scores.jsonl, in their order."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stadx.core.errors import DataError

from ..looked_at import region_for
from ..measured_detector import MeasuredDetector, stride_of
from ..prediction import ALL_REGIONS, run_of
from ..score_lines import SCORES_FILE, read_lines

_STRIDES = (1, 2, 4, 8)


class _Of(NamedTuple):
    """What lines of a model have, at one stride."""

    image_threshold: float
    pixel_threshold: float
    run: str

    def has(self, line: Mapping[str, Any]) -> bool:
        own, told = self[:2], (line["image_threshold"], line["pixel_threshold"])
        return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in zip(own, told, strict=True))


@dataclass(frozen=True)
class ReadScores:
    """What was read.

    Attributes:
        names: of the images, as messages name them; paths are as `predict` was given them.
        scores: float64 [n].
        others: lines of other models or settings that were left out.
        again: lines of an image that has one already, likewise.
        failed: lines of images that could not be scored.
    """

    names: list[str]
    scores: NDArray[np.float64]
    others: int
    again: int
    failed: int

    def notes(self) -> list[str]:
        """Say in a sentence each what was left out."""
        said = [
            (self.others, "of another model or other settings"),
            (self.again, "of images that have one already"),
            (self.failed, "of images that could not be scored"),
        ]
        return [f"Left out: {count} line{'s' * (count > 1)} {what}." for count, what in said if count]


def read_scores(
    files: Sequence[Path], detector: MeasuredDetector, *, stride: int, model: str = "", by_time: bool = False
) -> ReadScores:
    """Read the lines that `stadx predict` wrote with a model; a last line that is cut is passed over.

    Args:
        files: scores.jsonl, or folders with one, in the order in which they were written.
        detector: the model, with the thresholds that `predict` had.
        stride: that the images were scored with.
        model: the hash of its file, which tells its lines from those of another stride; "" if unknown.
        by_time: images in the order of their files' time instead of that of the lines.

    Raises:
        DataError: a file cannot be read, has no such lines, or none of this model at this stride.
        ValueError: for a stride finer than the model's own, at which the images that judged have no score.
    """
    if stride < stride_of(detector, None):
        raise ValueError(
            f"the scores of the images that judged are not known at stride {stride}, finer than the model's"
        )
    own = _kinds(detector, model)
    names: list[str] = []
    scores: list[float] = []
    times: list[int] = []
    seen: set[tuple[object, ...]] = set()
    strides: Counter[int | None] = Counter()
    again = failed = 0
    strange: Mapping[str, Any] = {}
    for file in map(_file, files):
        count = 0
        for line in _lines(file):
            count += 1
            if "error" in line:
                failed += 1
                continue
            name, score = _name(line), float(line["image_score"])
            if (found := _stride_of(line, own, stride)) != stride:
                strides[found] += 1
                strange = line
                continue
            if not math.isfinite(score):
                raise DataError(f"{file}: the score of {name} is {score}; score it again with stadx predict")
            if by_time and not isinstance(line.get("modified_ns"), int):
                raise DataError(f"{file}: {name} has no time; leave out --order time")
            # An image that was scored again says nothing new; another one may have its name.
            image = (line["path"], line.get("page"), line.get("bytes"), line.get("modified_ns"), score)
            if image in seen:
                again += 1
                continue
            seen.add(image)
            names.append(name)
            scores.append(score)
            times.append(line.get("modified_ns", 0))
        if not count:
            raise DataError(f"{file}: has no lines of stadx predict; name the scores.jsonl that it wrote")
    if not names:
        raise DataError(_none(files, strides, strange, own, stride, stride_of(detector, None)))
    order = np.argsort(times, kind="stable") if by_time else np.arange(len(names))
    return ReadScores([names[i] for i in order], np.array(scores)[order], sum(strides.values()), again, failed)


def _kinds(detector: MeasuredDetector, model: str) -> dict[int, _Of]:
    roi = region_for(detector, None)
    return {
        s: _Of(
            float(detector.image_threshold(s)), float(detector.threshold_), run_of(detector, s, ALL_REGIONS, roi, model)
        )
        for s in _STRIDES
    }


def _file(path: Path) -> Path:
    if os.path.isdir(path):
        if not os.path.isfile(path / SCORES_FILE):
            raise DataError(f"{path}: holds no {SCORES_FILE}; name the folder that stadx predict wrote into")
        return path / SCORES_FILE
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file or folder; check the name")
    return path


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """Those that `predict` writes, of scored images and of others."""
    try:
        yield from filter(_is_ours, read_lines(file))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error}); check that it is a file") from error


def _is_ours(line: Mapping[str, Any]) -> bool:
    if not isinstance(line.get("path"), str):
        return False
    figures = (line.get(name) for name in ("image_score", "image_threshold", "pixel_threshold"))
    return isinstance(line.get("error"), str) or all(
        isinstance(figure, int | float) and not isinstance(figure, bool) for figure in figures
    )


def _name(line: Mapping[str, Any]) -> str:
    return f"{line['path']}, page {line['page']}" if line.get("page") else str(line["path"])


def _stride_of(line: Mapping[str, Any], own: Mapping[int, _Of], wanted: int) -> int | None:
    """The stride that a line of the model was made with; None: it is none of the model's."""
    if run := line.get("run"):
        for stride, kind in own.items():
            if kind.run == run:
                return stride
    # --min-area and the like make another run of the same scores: thresholds tell, which may be those of two strides.
    return next((stride for stride in (wanted, *own) if own[stride].has(line)), None)


def _none(
    files: Sequence[Path],
    strides: Counter[int | None],
    line: Mapping[str, Any],
    own: Mapping[int, _Of],
    wanted: int,
    models: int,
) -> str:
    """Why no line could be taken."""
    named = ", ".join(map(str, files))
    if not strides:
        return f"{named}: no image could be scored; see the errors in the lines"
    (stride, _), *_ = strides.most_common(1)
    if stride is not None and stride < models:
        return (
            f"{named}: the lines were made with --stride {stride}, finer than the model's own, at which the scores of "
            f"the images that judged are not known; predict with --stride {models}"
        )
    if stride is not None:
        return f"{named}: the lines were made with --stride {stride}; give --stride {stride}"
    return (
        f"{named}: no line is of this model: its thresholds of image and pixel are {own[wanted].image_threshold:.6g}, "
        f"{own[wanted].pixel_threshold:.6g}, those of the last line {line['image_threshold']:.6g}, "
        f"{line['pixel_threshold']:.6g}; give the model that the images were scored with, and --image-fpr and "
        "--target-fpr if predict had them"
    )
