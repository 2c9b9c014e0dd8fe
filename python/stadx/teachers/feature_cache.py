"""P's features of each batch, kept in memory or on disk, so that P runs once per patch and not once per training."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stadx.core.errors import ModelFileError, StadxError
from stadx.core.files import replacement, writing_to

_MAGIC = b"stadx features 1"
_HEADER = 4096  # bytes: the magic words, then the key as JSON


class FeatureCache:
    """Features of numbered batches as float16: computed when first asked for, and kept.

    On disk it is one file per key: a header, and for every batch a checksum (0: not there yet) and the features. The
    file is given its full size when it is opened, and grows when more batches are asked for later. A batch that does
    not fit its checksum is computed anew.

    Args:
        folder: where the file goes; None keeps the features in memory.
        key: everything that they depend on, JSON-serialisable.
        batches: how many there are; their numbers are 0, …, batches - 1.
        shape: (patches, dim of P) of each.

    Raises:
        ModelFileError: if the file is there but not one of this key.
        OutputError: if it cannot be written at its full size.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None, key: Mapping[str, Any], batches: int, shape: tuple[int, int]
    ) -> None:
        self.path: Path | None = None
        self._kept: dict[int, npt.NDArray[np.float16]] = {}
        if folder is None:
            return
        content = json.dumps({**key, "shape": shape}, sort_keys=True, allow_nan=False)
        digest = hashlib.sha256(content.encode()).hexdigest()[:20]
        self.path = Path(folder) / f"{digest}.features"
        record = np.dtype([("check", "<u4"), ("features", "<f2", shape)])
        header = (_MAGIC + content.encode("ascii")).ljust(_HEADER, b"\n")
        if not self.path.exists():
            with replacement(self.path) as file, writing_to(self.path):
                file.write(header)
        with writing_to(self.path), self.path.open("r+b") as file:
            if file.read(_HEADER) != header:
                raise ModelFileError(f"{self.path}: is no feature cache of this training; delete it, or name a folder")
            size = _HEADER + batches * record.itemsize
            # a file with holes would end the process where the disk is full when they are filled
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif file.seek(0, os.SEEK_END) < size:
                file.truncate(size)
            self._records: npt.NDArray[Any] = np.memmap(file, record, "r+", _HEADER, (batches,))

    def get(self, number: int, compute: Callable[[], Tensor]) -> Tensor:
        """The features of a batch, float32 [patches, dim] on the CPU: the same, rounded to float16, computed or read.

        Raises:
            StadxError: if a feature is beyond the range of float16.
        """
        found = self._read(number)
        if found is None:
            with np.errstate(over="ignore"):  # told below
                found = compute().cpu().numpy().astype(np.float16)
            if not np.isfinite(found).all():
                raise StadxError(
                    "a feature of the pretrained network is no number or beyond 65,504, the end of the cache's "
                    "float16; train without a feature cache and with distinct_batches = 0"
                )
            self._write(number, found)
        return torch.from_numpy(found.astype(np.float32))

    def _read(self, number: int) -> npt.NDArray[np.float16] | None:
        if self.path is None:
            return self._kept.get(number)
        record = self._records[number]
        features: npt.NDArray[np.float16] = np.array(record["features"])
        return features if record["check"] and record["check"] == _check(features) else None

    def _write(self, number: int, features: npt.NDArray[np.float16]) -> None:
        if self.path is None:
            self._kept[number] = features
            return
        self._records[number]["features"] = features
        self._records[number]["check"] = _check(features)


def _check(features: npt.NDArray[np.float16]) -> int:
    return zlib.crc32(features.tobytes()) or 1  # 0 says that there is nothing
