"""Training images that a model file keeps, so that students can go on learning without forgetting them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from stadx.data.source import ImageSource

_OF_EACH = 48  # bytes beside the PNG: hash, and where it ends
_HALVES = "stadx", "16 bits: high bytes above low bytes"


class Memory(NamedTuple):
    """A random sample of all images that a detector has seen.

    Attributes:
        files: PNG of each, at the size and in the range that the detector has; floating-point images with 16 bits.
        hashes: of each, see `KnownImages`.
    """

    files: tuple[bytes, ...] = ()
    hashes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """What it takes in the model file."""
        return sum(map(len, self.files)) + _OF_EACH * len(self.files)

    def images(self) -> list[Tensor]:
        """The images [3, H, W], uint8, or float32 in [0, 1]."""
        return [_decoded(file) for file in self.files]

    @staticmethod
    def of(source: ImageSource, hashes: Sequence[str], learned: Sequence[bool], most_bytes: int) -> Memory:
        """As many images of a source as fit.

        Those of the lowest hashes are kept: a uniform sample of all images there ever were, whichever were in the
        memory before. Images that students learn from take turns with those that only judge.
        """
        if not most_bytes:
            return Memory()
        order = sorted(range(len(hashes)), key=hashes.__getitem__)
        turns = zip_longest([i for i in order if learned[i]], [i for i in order if not learned[i]])
        files: dict[str, bytes] = {}
        used = 0
        for index in (index for turn in turns for index in turn if index is not None):
            if hashes[index] in files:
                continue
            file = _encoded(source[index])
            used += len(file) + _OF_EACH
            if used > most_bytes:  # to go on with smaller files would prefer simple images
                break
            files[hashes[index]] = file
        return Memory(tuple(files.values()), tuple(files))

    def tensors(self) -> dict[str, Tensor]:
        """As a model file has them, by name."""
        if not self.files:
            return {}
        digests = np.frombuffer(bytes.fromhex("".join(self.hashes)), np.uint8).reshape(len(self.files), -1)
        return {
            "memory.files": torch.from_numpy(np.frombuffer(b"".join(self.files), np.uint8).copy()),
            "memory.ends": torch.tensor(np.cumsum([len(file) for file in self.files])),
            "memory.sha256": torch.from_numpy(digests.copy()),
        }

    @staticmethod
    def of_tensors(tensors: Mapping[str, Tensor]) -> Memory:
        """Undo `tensors`; of a file without a memory an empty one."""
        if "memory.files" not in tensors:
            return Memory()
        content, ends = tensors["memory.files"].numpy().tobytes(), tensors["memory.ends"].tolist()
        files = tuple(content[begin:end] for begin, end in zip([0, *ends], ends, strict=False))
        return Memory(files, tuple(row.tobytes().hex() for row in tensors["memory.sha256"].numpy()))


def _encoded(image: Tensor) -> bytes:
    """PNG of an image [3, H, W]; of one that is not uint8 the high bytes of 16 bits, below them the low ones."""
    pixels = image.permute(1, 2, 0).numpy()
    if image.dtype != torch.uint8:
        values = (pixels.astype(np.float64) * 65535).round().astype(np.uint16)
        pixels = np.concatenate([(values >> 8).astype(np.uint8), (values & 255).astype(np.uint8)])
    grey = bool((pixels == pixels[..., :1]).all())
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))
    file = io.BytesIO()
    note = PngInfo()
    if image.dtype != torch.uint8:
        note.add_text(*_HALVES)
    picture.save(file, format="PNG", pnginfo=note)
    return file.getvalue()


def _decoded(file: bytes) -> Tensor:
    """Undo `_encoded`."""
    with Image.open(io.BytesIO(file)) as picture:
        halves = _HALVES[0] in picture.info
        pixels = np.array(picture.convert("RGB"))
    if halves:
        high, low = np.split(pixels.astype(np.uint16), 2)
        pixels = ((high << 8 | low) / np.float64(65535)).astype(np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
