"""The hash by which an image is known again, whatever its file is called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from .strips import RowReader, open_rows
from .value_range import ValueRange, read_in_range

_ROWS = 256  # read at a time


def image_hash(image: Tensor) -> str:
    """SHA-256 of the values of an image [3, H, W] uint8 or floating, with their type and shape."""
    digest = hashlib.sha256(_kind(image.dtype, list(image.shape)))
    digest.update(_content(image))
    return digest.hexdigest()


def hash_of_file(path: Path, value_range: ValueRange) -> str:
    """`image_hash` of an image file as a detector reads it; one that is large is read by strips.

    Raises:
        DataError: as `read_in_range`.
    """
    return size_and_hash_of_file(path, value_range)[1]


def size_and_hash_of_file(path: Path, value_range: ValueRange) -> tuple[tuple[int, int], str]:
    """Height and width of an image file, and its `hash_of_file`.

    Raises:
        DataError: as `read_in_range`.
    """
    reader = open_rows(path, value_range)
    if reader is None:
        pixels = read_in_range(path, value_range)
        return (pixels.shape[0], pixels.shape[1]), image_hash(torch.from_numpy(pixels).permute(2, 0, 1))
    with reader:
        return (reader.height, reader.width), hash_of_rows(reader)


def hash_of_rows(reader: RowReader) -> str:
    """`image_hash` of an image that is read by strips."""
    digest = hashlib.sha256(_kind(reader.rows(0, 1).dtype, [3, reader.height, reader.width]))
    for colour in range(3):  # one plane comes after the other, as in the tensor
        for start in range(0, reader.height, _ROWS):
            digest.update(_content(reader.rows(start, min(reader.height, start + _ROWS))[colour]))
    return digest.hexdigest()


def _kind(dtype: torch.dtype, shape: list[int]) -> bytes:
    return f"{dtype} {shape}".encode()


def _content(values: Tensor) -> bytes:
    return values.contiguous().cpu().view(torch.uint8).numpy().tobytes()
