"""Small images with a class each: MNIST as IDX files, CIFAR-10 as its archives or as image files in class folders."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import pickle
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stadx.core.errors import DataError
from stadx.core.progress import Progress, silent

from .decode import UInt8Array, decode_opened, to_rgb

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_MNIST_FILES = {"train": ("train-images", "train-labels"), "test": ("t10k-images", "t10k-labels")}
_IMAGE = re.compile(r"(?:^|/)(train|test)/([^/]+)/[^/]+\.(?:jpe?g|png)$", re.IGNORECASE)
_BATCH = re.compile(r"(?:^|/)(data|test)_batch(?:_\d+)?(\.bin)?$")
_JPEG = (".jpg", ".jpeg")
_JPEG_NOTE = "The images were stored as JPEG, which loses detail; the paper's were not."
_RECORD = 1 + 3 * 32 * 32  # bytes of CIFAR-10's binary version: the class, then red, green and blue


class Labeled(NamedTuple):
    """Images uint8 [N, 3, H, W], and the class of each, int64 [N]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class LabeledSet:
    """A data set for classification.

    Attributes:
        classes: names, by label.
        train, test: its two parts.
        note: a sentence that belongs beside every figure from them; empty where they are as published.
    """

    classes: tuple[str, ...]
    train: Labeled
    test: Labeled
    note: str = ""


def read_labeled(place: str | os.PathLike[str], progress: Progress = silent) -> LabeledSet:
    """Read MNIST or CIFAR-10, whichever is there.

    Args:
        place: a folder with MNIST's four IDX files (.gz or not); or CIFAR-10: its archive (Python or binary version) or
            that unpacked; or train/CLASS/*.jpg and test/CLASS/*.jpg (or .png), in an archive or a folder. A folder may
            also hold the archive.
        progress: told of files read.

    Raises:
        DataError: naming what is missing, damaged or of another kind.
    """
    place = Path(place)
    if os.path.isdir(place) and any(place.glob("*idx3-ubyte*")):
        parts = {part: Labeled(*_mnist(place, part, progress)) for part in _MNIST_FILES}
        return LabeledSet(tuple(str(digit) for digit in range(10)), parts["train"], parts["test"])
    if os.path.isdir(place) and not any(_is_part(p.relative_to(place).as_posix()) for p in _files(place)):
        archives = [p for p in sorted(place.iterdir()) if ".tar" in p.name or p.suffix == ".tgz"]
        if len(archives) != 1:
            raise DataError(f"{place}: holds neither MNIST's IDX files nor CIFAR-10; give the folder or archive of one")
        place = archives[0]
    elif not os.path.exists(place):
        raise DataError(f"{place}: there is no such folder or archive; check the name")
    return _cifar(place, progress)


def _mnist(folder: Path, part: str, progress: Progress) -> tuple[Tensor, Tensor]:
    arrays = []
    for done, (name, axes) in enumerate(zip(_MNIST_FILES[part], (3, 1), strict=True), 1):
        found = sorted(folder.glob(f"{name}?idx{axes}-ubyte*"))
        if not found:
            raise DataError(f"{folder}: lacks {name}-idx{axes}-ubyte; copy all four of MNIST's files there")
        arrays.append(_idx(found[0], axes))
        progress(f"MNIST, {part}", done, 2, {})
    images, labels = arrays
    if len(images) != len(labels) or not len(labels) or labels.max() > 9:
        raise DataError(
            f"{folder}: {len(images)} images and {len(labels)} labels do not belong together; copy them anew"
        )
    return torch.from_numpy(images)[:, None].repeat(1, 3, 1, 1), torch.from_numpy(labels.astype(np.int64))


def _idx(path: Path, axes: int) -> UInt8Array:
    """An IDX file of bytes."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); copy it anew") from error
    header = 4 + 4 * axes
    shape = np.frombuffer(content[4:header], ">u4").astype(np.int64) if len(content) >= header else np.zeros(1)
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) != header + int(shape.prod()):
        raise DataError(f"{path}: is no whole IDX file of {axes} axes; copy it anew")
    values: UInt8Array = np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
    return values


def _cifar(place: Path, progress: Progress) -> LabeledSet:
    found: dict[str, list[tuple[UInt8Array, list[int | str]]]] = {"train": [], "test": []}
    note = ""
    for done, (name, content) in enumerate(_parts(place), 1):
        image, batch = _IMAGE.search(name), _BATCH.search(name)
        if image is not None:
            pixels = to_rgb(decode_opened(io.BytesIO(content), place / name), place / name)
            found[image[1].lower()].append((pixels.transpose(2, 0, 1)[None], [image[2]]))
            note = _JPEG_NOTE if name.lower().endswith(_JPEG) else note
        elif batch is not None:
            read = _binary if batch[2] else _pickled
            images, labels = read(content, f"{place}/{name}")
            found["test" if batch[1] == "test" else "train"].append((images, labels))
        progress("CIFAR-10, files", done, max(done + 1, 60_000 if image is not None else 6), {})
    for part, pieces in found.items():
        if not pieces:
            raise DataError(f"{place}: has no {part} images; give the whole of CIFAR-10")
    every = [label for pieces in found.values() for _, labels in pieces for label in labels]
    classes = tuple(sorted({label for label in every if isinstance(label, str)})) or CIFAR10
    number = {name: i for i, name in enumerate(classes)}
    parts = {}
    for part, pieces in found.items():
        if len({images.shape[1:] for images, _ in pieces}) > 1:
            raise DataError(f"{place}: its images have several sizes; give all the same")
        labels = [number[x] if isinstance(x, str) else int(x) for _, ls in pieces for x in ls]
        parts[part] = Labeled(torch.from_numpy(np.concatenate([i for i, _ in pieces])), torch.tensor(labels))
    return LabeledSet(classes, parts["train"], parts["test"], note)


def _is_part(name: str) -> bool:
    return _IMAGE.search(name) is not None or _BATCH.search(name) is not None


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.rglob("*")) if p.is_file())


def _parts(place: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files that matter, in a folder or an archive."""
    if os.path.isdir(place):
        for path in _files(place):
            if _is_part(name := path.relative_to(place).as_posix()):
                yield name, _content(path)
        return
    try:
        with tarfile.open(place, "r:*") as archive:
            for entry in archive:
                if entry.isfile() and _is_part(entry.name) and (file := archive.extractfile(entry)) is not None:
                    yield entry.name, file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{place}: cannot be read as an archive ({error}); copy it anew") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions, or copy it anew") from error


def _binary(content: bytes, name: str) -> tuple[UInt8Array, list[int | str]]:
    if not content or len(content) % _RECORD:
        raise DataError(f"{name}: is no whole file of CIFAR-10's binary version; copy it anew")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    if (highest := int(records[:, 0].max())) >= len(CIFAR10):
        raise DataError(f"{name}: has a class {highest}, CIFAR-10's are 0 to 9; give CIFAR-10, or copy it anew")
    return records[:, 1:].reshape(-1, 3, 32, 32).copy(), records[:, 0].tolist()


def _pickled(content: bytes, name: str) -> tuple[UInt8Array, list[int | str]]:
    try:
        batch = _Arrays(io.BytesIO(content), encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        labels = [int(label) for label in batch[b"labels"]]
        if len(labels) != len(images) or not labels or not 0 <= min(labels) <= max(labels) < len(CIFAR10):
            raise ValueError(f"{len(labels)} labels for {len(images)} images")
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(f"{name}: is no file of CIFAR-10's Python version ({error}); copy it anew") from error
    return images, list(labels)


class _Arrays(pickle.Unpickler):
    """Reads arrays alone: an ordinary unpickler runs what a file tells it to."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}:
            return super().find_class(module, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.ndarray.__reduce__(np.zeros(0))[0]
        raise pickle.UnpicklingError(f"it holds {module}.{name}")
