"""Export of a detector: the graph is built, compared with the detector on images, and only then written."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stadx.core.errors import DataError
from stadx.core.files import check_writable, is_written_through, write_bytes
from stadx.core.progress import Progress, silent
from stadx.core.torch_state import usual_torch
from stadx.core.version import package_version
from stadx.data.value_range import BYTES
from stadx.detectors.base import Calibrated
from stadx.detectors.student_teacher.detector import Detector

from .formats import FORMATS, FormatName, as_openvino
from .graph import ExportedDetector
from .parity import LIMITS, Checked, ExportPrecision, Parity, compare
from .sealing import write_sidecar
from .thresholds import Thresholds

_VERSION = 1  # of the description


class Exported(NamedTuple):
    """What was written.

    Attributes:
        files: the export, of OpenVINO its two files; then the JSON beside it.
        parity: how far it is from the detector.
        description: what the export says of itself.
    """

    files: list[Path]
    parity: Parity
    description: dict[str, Any]


@usual_torch()
def export_detector(
    detector: Calibrated,
    path: str | os.PathLike[str],
    to: FormatName = "onnx",
    *,
    size: tuple[int, int] | None = None,
    check: Checked | None = None,
    precision: ExportPrecision = "float32",
    progress: Progress = silent,
) -> Exported:
    """Write a detector as one graph, from a camera's image to map, score, mask and verdict, if it is the detector.

    Args:
        detector: a fitted `Detector`.
        path: the file; OpenVINO's ends in .xml, its weights go into the .bin beside it.
        to: "onnx", "torch" or "openvino".
        size: height and width of the images that it will be given; None: the detector's own image size.
        check: images of that size, files or arrays [H, W, 3], that the graph is compared on with `Detector.predict`;
            of the values that it takes: uint8, or of the depth of the model's own images. None: drawn ones, which tell
            less.
        precision: what OpenVINO is to compute in: "bfloat16" is faster where a processor has it, and rounds; see
            `LIMITS`.
        progress: told how many images are compared.

    Raises:
        DataError: for another detector, a precision that format or processor does not have, or that no image is
            compared in, no size, or an image of another size or depth.
        MissingExtraError: if a package for this format is not installed.
        ParityError: if the graph's results are not the detector's; nothing is written.
        OutputError: if the file cannot be written.
    """
    if to not in FORMATS:
        raise ValueError(f"{to!r} is no format of exports; choose one of {tuple(FORMATS)}")
    if precision not in LIMITS:
        raise ValueError(f"precision {precision!r} is none of exports; choose one of {tuple(LIMITS)}")
    if precision != "float32" and to != "openvino":
        raise DataError(f"exports in {precision} are for OpenVINO alone: --to openvino; or leave out --precision")
    if precision != "float32" and check is None:
        raise DataError(f"what {precision} changes depends on the images; give real ones to compare (--check)")
    if not isinstance(detector, Detector):
        raise DataError(f"{detector.method} cannot be exported; the student-teacher detector alone can")
    detector.check_fitted()
    size = _size_of(detector, size)
    file = Path(path)
    _check_name(file, to)
    thresholds = Thresholds.of(detector)
    detector = copy.copy(detector).to("cpu")  # a GPU's own rounding would be compared
    graph = ExportedDetector(detector, size)
    if precision == "float32":
        built = FORMATS[to](graph, size, thresholds)
    else:
        built = as_openvino(graph, size, thresholds, precision)
    parity = compare(detector, built.run, size, check, progress, precision)
    description = {
        "kind": "stadx export",
        "version": _VERSION,
        "stadx": package_version(),
        "input": {"height": size[0], "width": size[1], "colours": "rgb", "dtype": graph.taken.depth}
        | ({} if graph.taken is BYTES else {"low": graph.taken.low, "high": graph.taken.high}),
        "inference_precision": precision,
        "thresholds": thresholds._asdict(),
        "parity": parity.to_json(),
        "model": _told_of(detector),
    }
    files = {file.with_suffix(end) if end else file: content for end, content in built.files(description).items()}
    for name, content in files.items():
        write_bytes(name, content)
    sidecar = write_sidecar(file, list(files), description)
    return Exported([*files, sidecar], parity, description)


def _size_of(detector: Detector, size: Sequence[int] | None) -> tuple[int, int]:
    chosen = detector.image_size if size is None else tuple(size)
    if chosen is None:
        raise DataError("the model takes images of any size, a graph of one; say which height and width (--size H,W)")
    height, width = (chosen, chosen) if isinstance(chosen, int) else chosen
    if height < 1 or width < 1:
        raise DataError(f"the size is {height},{width}; give a height and a width of at least 1")
    return int(height), int(width)


def _check_name(file: Path, to: FormatName) -> None:
    """Refuse names that the format, or the file beside, cannot have, before any work."""
    if is_written_through(file):
        raise DataError(f"{file}: is no regular file, and an export has another file beside it; name a new file")
    if to == "openvino" and file.suffix != ".xml":
        raise DataError(f"{file}: OpenVINO reads the weights from the .bin beside an .xml; name it {file.stem}.xml")
    check_writable(file)


def _told_of(detector: Detector) -> dict[str, Any]:
    """The detector's figures, without folders of the machine that it was trained on."""
    figures = detector.figures()
    settings = dict(figures["settings"])
    settings["teachers"] = [Path(name).name for name in settings["teachers"]]
    settings["penalty"] = None if settings["penalty"] is None else Path(settings["penalty"]).name
    return {**figures, "settings": settings}
