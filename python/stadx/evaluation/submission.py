"""Submissions to the benchmark of MVTec AD 2: an archive of float16 maps of its private images, and its check."""

from __future__ import annotations

import io
import math
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from stadx.core.errors import DataError
from stadx.core.files import replacement, writing_to
from stadx.core.progress import Progress, silent
from stadx.data.images import image_size, list_images, write_image
from stadx.data.layouts import categories
from stadx.data.layouts.mvtec_ad2 import PRIVATE, VALIDATION

from .fixed_threshold import validation_threshold
from .measured_detector import MeasuredDetector, map_of_file, stride_of

MAPS, MASKS = "anomaly_images", "anomaly_images_thresholded"
COUNTS = {
    "can": 321,
    "fabric": 314,
    "fruit_jelly": 255,
    "rice": 277,
    "sheet_metal": 142,
    "vial": 276,
    "wallplugs": 232,
    "walnuts": 228,
}
"""Images in each private split of the set."""
_MOST = float(np.finfo(np.float16).max)
Threshold = Literal["model", "validation"]


@dataclass
class Written:
    """What is in a submission.

    Attributes:
        maps: how many.
        factors: by category, what its scores were multiplied with to fit into float16, where that is not 1.
        thresholds: by category, of the black-and-white pictures.
    """

    maps: int = 0
    factors: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Say in a sentence each what was done to scores."""
        return [
            f"{name}: scores above {_MOST:g} do not fit into float16; all of the category were multiplied by "
            f"{factor:g}, which keeps their order."
            for name, factor in self.factors.items()
        ]


def write_submission(
    out: Path,
    data: Path,
    detector_of: Callable[[str], MeasuredDetector],
    *,
    stride: int | None = None,
    thresholded: Threshold | None = None,
    progress: Progress = silent,
) -> Written:
    """Score the private images of all categories at their own size, and write the archive whole or not at all.

    Beside the archive, a temporary folder holds the maps of one category at a time.

    Args:
        out: the archive, .tar.gz.
        data: the folder of the categories, or one category.
        detector_of: gives the detector of a category by its name.
        stride: as in `evaluate`.
        thresholded: also write pictures of 0 and 255, white above the model's pixel threshold or above mean + 3 σ of
            the maps of the validation images; None: no pictures.
        progress: told of every image.

    Raises:
        DataError: there are no categories, or one has no private images, or a score is not finite.
        OutputError: the archive cannot be written.
    """
    folders = categories(data)
    if not folders or not any((folder / name).is_dir() for folder in folders for name in PRIVATE):
        raise DataError(f"{data}: has no categories with {' and '.join(PRIVATE)}; give the folder of MVTec AD 2")
    images = {folder: [(name, path) for name in PRIVATE for path in list_images(folder / name)] for folder in folders}
    written = Written()
    with replacement(out) as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for folder, paths in images.items():
            category = folder.resolve().name
            with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as made, writing_to(out):
                _write_category(
                    Path(made), folder, paths, detector_of(category), stride, thresholded, written, progress
                )
                for path in sorted(Path(made).rglob("*.*")):
                    archive.add(path, f"{path.relative_to(made)}", filter=_plain)
    return written


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of this machine in the archive."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o644
    return info


def _write_category(
    made: Path,
    folder: Path,
    paths: list[tuple[str, Path]],
    detector: MeasuredDetector,
    stride: int | None,
    thresholded: Threshold | None,
    written: Written,
    progress: Progress,
) -> None:
    category, stride = folder.resolve().name, stride_of(detector, stride)

    def score(path: Path) -> NDArray[np.float32]:
        return map_of_file(detector, path, stride, "original")

    threshold = None
    if thresholded is not None:
        validation = list_images(folder / VALIDATION) if thresholded == "validation" else []
        threshold = validation_threshold(map(score, validation)) if validation else float(detector.threshold_)
        written.thresholds[category] = threshold
    factor = 1.0
    files: list[Path] = []
    for done, (split, path) in enumerate(paths, 1):
        scores = score(path)
        file = made / MAPS / category / split / f"{path.stem}.tiff"
        file.parent.mkdir(parents=True, exist_ok=True)
        highest = float(np.abs(scores).max())
        if highest * factor > _MOST:
            # A power of 2 moves no bit, but for scores next to 0: what is written already follows exactly.
            smaller = 2.0 ** math.floor(math.log2(_MOST / highest))
            for other in files:
                before = tifffile.imread(other).astype(np.float32)
                tifffile.imwrite(other, (before * np.float32(smaller / factor)).astype(np.float16))
            factor = smaller
        tifffile.imwrite(file, (scores * np.float32(factor)).astype(np.float16))
        files.append(file)
        written.maps += 1
        if threshold is not None:
            mask = np.where(scores > threshold, np.uint8(255), np.uint8(0))
            write_image(made / MASKS / category / split / f"{path.stem}.png", mask, durable=False)
        progress(f"{category}: images", done, len(paths), {})
    if factor != 1:
        written.factors[category] = factor


def check_submission(archive: Path, data: Path | None = None, *, progress: Progress = silent) -> list[str]:
    """Everything that is wrong with an archive, a line each; none if it can be sent.

    Args:
        archive: the .tar.gz.
        data: the set, to compare names and sizes with; None: the published numbers of images are expected.
        progress: told of every file.

    Raises:
        DataError: the archive cannot be read.
    """
    expected = _expected(data)
    errors: list[str] = []
    seen: set[str] = set()
    try:
        with tarfile.open(archive, "r:gz") as opened:
            for done, member in enumerate(opened, 1):
                name = member.name.removeprefix("./")
                if member.isdir():
                    continue
                content = opened.extractfile(member) if member.isreg() else None
                if name in seen:
                    errors.append(f"{name}: is there twice; remove one")
                elif name not in expected or content is None:
                    errors.append(f"{name}: does not belong into a submission; remove it")
                else:
                    seen.add(name)
                    errors += _wrong_in(name, content.read(), expected[name])
                progress("Check", done, max(done, len(expected)), {})
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{archive}: cannot be read as .tar.gz ({error}); write it again") from error
    # black-and-white pictures may be missing, but not some of them
    for kind in (MAPS, MASKS):
        missing = sorted(name for name in expected if name.startswith(f"{kind}/") and name not in seen)
        if missing and (kind == MAPS or any(name.startswith(f"{kind}/") for name in seen)):
            errors.append(f"{missing[0]}{', …' if len(missing) > 1 else ''}: {len(missing)} files are missing")
    return errors


def _expected(data: Path | None) -> dict[str, Path | None]:
    """The files of a submission, each with its image if it is known."""
    found: dict[str, Path | None] = {}
    for category, split, stem, path in _published() if data is None else _private_images(data):
        found[f"{MAPS}/{category}/{split}/{stem}.tiff"] = path
        found[f"{MASKS}/{category}/{split}/{stem}.png"] = path
    return found


def _published() -> Iterator[tuple[str, str, str, None]]:
    for category, count in COUNTS.items():
        for split, ending in PRIVATE.items():
            for number in range(count):
                yield category, split, f"{number:03}_{ending}", None


def _private_images(data: Path) -> Iterator[tuple[str, str, str, Path]]:
    for folder in categories(data):
        for split in PRIVATE:
            for path in list_images(folder / split):
                yield folder.resolve().name, split, path.stem, path


def _wrong_in(name: str, content: bytes, image: Path | None) -> Iterator[str]:
    """What is wrong with one file."""
    is_map = name.startswith(f"{MAPS}/")
    try:
        read = io.BytesIO(content)
        # no format but the one that is meant: some of Pillow's readers start external programs
        values = tifffile.imread(read) if is_map else np.asarray(Image.open(read, formats=["PNG"]))
    except Exception as error:  # damaged files make readers raise nearly anything
        yield f"{name}: cannot be read ({error})"
        return
    if values.ndim != 2 or not values.size:
        yield f"{name}: has shape {list(values.shape)}; it must be [H, W]"
        return
    if is_map and values.dtype != np.float16:
        yield f"{name}: is {values.dtype}; it must be float16"
    elif is_map and not np.isfinite(values).all():
        yield f"{name}: has scores that are not finite; scale them down"
    elif not is_map and not np.isin(values, (0, 255)).all():
        yield f"{name}: has other values than 0 and 255"
    if image is not None and values.shape != (size := image_size(image)):
        yield f"{name}: has size {list(values.shape)} but {image} {list(size)}; write maps at their images' own size"
