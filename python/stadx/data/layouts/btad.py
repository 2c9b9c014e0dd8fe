"""Categories in the layout of BTAD: MVTec AD's, but good folders are called "ok", and masks are named as images are."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from . import mvtec
from .category import GOOD, Layout

OK = "ok"


def is_category(root: Path) -> bool:
    """Whether a folder has this layout: good images lie in train/ok or test/ok."""

    def has(name: str) -> bool:
        return any(os.path.isdir(root / part / name) for part in ("train", "test"))

    return has(OK) and not has(GOOD)


LAYOUT = Layout(
    is_category,
    partial(mvtec.list_category, good=OK, mask_ending=""),
    partial(mvtec.training_images, good=OK),
    good_folder=OK,
)
