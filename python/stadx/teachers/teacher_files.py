"""Teacher files: reading them, and the ones that come with stadx. `pretraining` makes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stadx.core.errors import DataError, ModelFileError
from stadx.core.files import read_model
from stadx.networks.patch_network import PatchNetwork, loaded_network

TEACHER_VERSION = 1
_SHIPPED = Path(__file__).parent / "weights"


def load_teacher(path: str | os.PathLike[str]) -> PatchNetwork:
    """Read a teacher file: the network, frozen, in float32.

    Raises:
        ModelFileError: if it is not a whole teacher file of this version.
    """
    header, tensors = read_model(path, "teacher", TEACHER_VERSION)
    try:
        weights = {k: v.float() for k, v in tensors.items()}
        return loaded_network(lambda: PatchNetwork(**header["network"]), weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: lacks a part of a teacher ({error}); copy or train it again") from error


def shipped_teacher(patch_size: int) -> Path:
    """The teacher file for p that comes with stadx.

    Raises:
        DataError: if there is none for this patch size yet.
    """
    path = _SHIPPED / f"p{patch_size}.safetensors"
    if not path.is_file():
        have = sorted(f.stem for f in _SHIPPED.glob("p*.safetensors"))
        raise DataError(
            f"no teacher for p = {patch_size} comes with stadx (it has {', '.join(have) or 'none'}); "
            f"train one with `stadx pretrain PHOTOS --patch-size {patch_size} --out FILE` and name it as teacher"
        )
    return path


def load_teachers(scales: Sequence[int], files: Sequence[str | os.PathLike[str]]) -> list[PatchNetwork]:
    """The teacher of each scale: from one of `files`, or the one that comes with stadx.

    Raises:
        DataError: if a file is for another scale, or a scale has no teacher.
        ModelFileError: if a file is no whole teacher.
    """
    given = {}
    for path in files:
        teacher = load_teacher(path)
        if teacher.patch_size not in scales:
            raise DataError(f"{path}: is a teacher for p = {teacher.patch_size}, the scales are {tuple(scales)}")
        given[teacher.patch_size] = teacher
    return [given[p] if p in given else load_teacher(shipped_teacher(p)) for p in scales]
