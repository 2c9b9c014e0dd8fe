"""Draw a small anomaly set, a woven texture and a metal washer, in MVTec AD layout."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from stadx.core.errors import DataError, OutputError

from ..images import write_image
from . import washer, weave
from .drawing import OVERSAMPLING, Bool, UInt8, finish

MARKER = "demo.json"
_CATEGORIES: tuple[ModuleType, ...] = (weave, washer)
_DRAWING_VERSION = 1  # raise it when the drawings change, so that older sets are drawn anew
_MIN_SIZE = 48  # below it a washer's holes and a weave's threads blur away
_SPLITS = ("train", "test_good", "test_defect")


@dataclass(frozen=True)
class DemoSettings:
    """What decides the content of a demo category; kept beside it, in the file demo.json."""

    category: str
    size: int
    train: int
    test_good: int
    test_defect: int
    seed: int
    version: int = _DRAWING_VERSION


def write_demo_set(
    folder: str | os.PathLike[str],
    *,
    size: int = 128,
    train: int = 20,
    test_good: int = 6,
    test_defect: int = 10,
    seed: int = 0,
) -> list[Path]:
    """Draw the demo categories into `folder` and return their folders, `folder`/weave and `folder`/washer.

    Each holds `train` good images, `test_good` good test images and `test_defect` images with defects of
    three kinds in turn, size x size pixels, with masks of exactly the changed pixels; equal settings give
    equal images. A category that is already there is kept if it was drawn with the same settings, and
    replaced if with others.

    Raises:
        DataError: for a size below 48, a count below 1 (`test_defect` may be 0) or a negative seed.
        OutputError: if `folder` cannot be written, or a category's folder holds anything else.
    """
    if size < _MIN_SIZE:
        raise DataError(f"demo image size {size}: choose at least {_MIN_SIZE} pixels")
    if train < 1 or test_good < 1 or test_defect < 0 or seed < 0:
        raise DataError("demo set: train and test_good must be at least 1, test_defect and seed at least 0")
    root = Path(folder)
    written = []
    for module in _CATEGORIES:
        settings = DemoSettings(module.NAME, size, train, test_good, test_defect, seed)
        target = root / module.NAME
        if not _is_drawn(target, settings):
            _draw_category(target, module, settings)
        written.append(target)
    return written


def draw_images(module: ModuleType, settings: DemoSettings) -> Iterator[tuple[str, str | None, UInt8, Bool]]:
    """Draw a category, yielding of each image the relative path, the mask's path or None for a good image,
    the image uint8 [S, S, 3] and the mask bool [S, S]."""
    plan = _plan(settings, module.DEFECTS)
    for (image_path, mask_path, defect), key in zip(plan, _keys(settings), strict=True):
        # One generator an image: image i of a split is the same whatever the counts.
        rng = np.random.default_rng([settings.seed, _CATEGORIES.index(module), *key])
        drawing = module.draw(settings.size * OVERSAMPLING, rng, defect)
        image, mask = finish(drawing, module.GRAIN, rng)
        yield image_path, mask_path, image, mask


def _plan(settings: DemoSettings, defects: tuple[str, ...]) -> Iterator[tuple[str, str | None, str | None]]:
    """Relative image path, mask path and defect of every image."""
    for i in range(settings.train):
        yield f"train/good/{i:03}.png", None, None
    for i in range(settings.test_good):
        yield f"test/good/{i:03}.png", None, None
    for i in range(settings.test_defect):
        defect, name = defects[i % len(defects)], f"{i // len(defects):03}"
        yield f"test/{defect}/{name}.png", f"ground_truth/{defect}/{name}_mask.png", defect


def _keys(settings: DemoSettings) -> Iterator[tuple[int, int]]:
    for split, name in enumerate(_SPLITS):
        for i in range(getattr(settings, name)):
            yield split, i


def _files(settings: DemoSettings, defects: tuple[str, ...]) -> set[str]:
    """Relative paths of all files of a category."""
    planned = _plan(settings, defects)
    return {MARKER} | {path for image, mask, _ in planned for path in (image, mask) if path is not None}


def _is_drawn(target: Path, settings: DemoSettings) -> bool:
    """Whether `target` holds this very category; `OutputError` if it holds something that is not ours."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        found = DemoSettings(**json.loads((target / MARKER).read_text("utf-8")))
        drawn = _files(found, _module(found.category).DEFECTS)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{target}: exists and is not a demo set; name another folder, or move this one away"
        ) from error
    here = {p.relative_to(target).as_posix() for p in target.rglob("*") if not p.is_dir()}
    if found == settings and here == drawn:
        return True
    strangers = sorted(here - drawn)
    if strangers:
        raise OutputError(
            f"{target}: holds files that are not of the demo set ({', '.join(strangers[:3])}); "
            "name another folder, or move them away"
        )
    return False


def _module(category: str) -> ModuleType:
    return {m.NAME: m for m in _CATEGORIES}[category]


def _draw_category(target: Path, module: ModuleType, settings: DemoSettings) -> None:
    """Draw into a temporary folder beside `target`, then put it in its place."""
    temporary, old = (target.parent / f".{uuid.uuid4().hex}.part" for _ in range(2))
    try:
        temporary.mkdir(parents=True)
        for image_path, mask_path, image, mask in draw_images(module, settings):
            write_image(temporary / image_path, image, durable=False)  # drawn again if it is lost
            if mask_path is not None:
                write_image(temporary / mask_path, mask.astype(np.uint8) * np.uint8(255), durable=False)
        (temporary / MARKER).write_text(json.dumps(asdict(settings), indent=1) + "\n", "utf-8")
        _exchange(temporary, target, old)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{target}: cannot be written ({reason}); choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, target: Path, old: Path) -> None:
    """Put the folder `new` at `target`; what was there goes to `old` on the way, and back if that fails."""
    if not target.is_dir():
        os.rename(new, target)
        return
    os.rename(target, old)
    try:
        os.rename(new, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
